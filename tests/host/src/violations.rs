// SPDX-License-Identifier: GPL-2.0

//! The record of what the guest did against the protocol. A run with any entry ends with its own exit code,
//! so a scenario that is otherwise content still fails.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Exit code of a run in which the guest broke the protocol and which would otherwise have ended well.
pub const EXIT_CODE: u8 = 20;
/// Longest list kept; a broken guest may repeat itself for ever.
const MAX_KEPT: usize = 1000;

/// All violations of this run, oldest first.
#[derive(Debug, Default)]
pub struct Violations {
    list: Mutex<Vec<String>>,
}

impl Violations {
    fn list(&self) -> MutexGuard<'_, Vec<String>> {
        // Pushing to a vector leaves nothing half done that a later reader could notice.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a violation and prints it to standard error.
    pub fn record(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("rlis-host: protocol violation: {what}");
        let mut list = self.list();
        if list.len() < MAX_KEPT {
            list.push(what);
        }
    }

    /// A copy of the list.
    pub fn all(&self) -> Vec<String> {
        self.list().clone()
    }

    /// Empties the list and returns what was in it. For scenarios that provoke a violation on purpose.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.list())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_empties_the_list() {
        let violations = Violations::default();
        violations.record("one");
        violations.record(String::from("two"));
        assert_eq!(violations.all(), ["one", "two"]);
        assert_eq!(violations.take().len(), 2);
        assert!(violations.all().is_empty());
    }
}

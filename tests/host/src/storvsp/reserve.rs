// SPDX-License-Identifier: GPL-2.0

//! Persistent reservations of a unit (SPC-4 chapters 5.13, 6.15 and 6.16): initiators register with a key each, and one of
//! them may reserve the unit, so that others can do less or nothing with it. An initiator is one of the ways to the unit.
//!
//! There are the reservations Write Exclusive and Exclusive Access, for one initiator or for all that are registered
//! (Registrants Only). Nothing outlives a run of the host.

use std::collections::BTreeMap;

use super::sense::Sense;

/// Bytes of the parameter list of PERSISTENT RESERVE OUT.
const LIST: usize = 24;

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// CHECK CONDITION with this.
    Sense(Sense),
    /// The status RESERVATION CONFLICT.
    Conflict,
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

/// The type of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Type(u8);

impl Type {
    /// What REPORT CAPABILITIES tells of the types: 1, 3, 5 and 6.
    const MASK: u8 = 0x6A;

    fn known(code: u8) -> Option<Self> {
        [1, 3, 5, 6].contains(&code).then_some(Self(code))
    }

    fn registrants_only(self) -> bool {
        self.0 >= 5
    }

    /// Others may not even read.
    fn exclusive_access(self) -> bool {
        matches!(self.0, 3 | 6)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    by: usize,
    type_: Type,
}

/// Who is to be told what, after a change.
pub type Notices = Vec<(usize, Sense)>;

/// Who is registered at a unit, and to whom it is reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    generation: u32,
    keys: BTreeMap<usize, u64>,
    held: Option<Held>,
}

impl Reservations {
    /// Whether `way` may not carry out a command with this operation code.
    pub fn forbid(&self, way: usize, opcode: u8) -> bool {
        let Some(held) = self.held else { return false };
        if held.by == way || (held.type_.registrants_only() && self.keys.contains_key(&way)) {
            return false;
        }
        match opcode {
            // WRITE, WRITE SAME, UNMAP, SYNCHRONIZE CACHE, START STOP UNIT
            0x0A | 0x2A | 0x8A | 0xAA | 0x41 | 0x93 | 0x42 | 0x35 | 0x91 | 0x1B => true,
            // READ, VERIFY
            0x08 | 0x28 | 0x88 | 0xA8 | 0x2F | 0x8F | 0xAF => held.type_.exclusive_access(),
            _ => false,
        }
    }

    /// PERSISTENT RESERVE IN: what there is.
    pub fn tell(&self, action: u8) -> Result<Vec<u8>, Sense> {
        let list: Vec<u8> = match action {
            // READ KEYS
            0 => self.keys.values().flat_map(|k| k.to_be_bytes()).collect(),
            // READ RESERVATION: key, obsolete and reserved bytes, scope (the unit) and type, two obsolete bytes.
            1 => self.held.map_or_else(Vec::new, |held| {
                let key = self.keys.get(&held.by).copied().unwrap_or(0);
                let mut list = key.to_be_bytes().to_vec();
                list.extend([0, 0, 0, 0, 0, held.type_.0, 0, 0]);
                list
            }),
            // REPORT CAPABILITIES: 8 bytes; the mask of types is valid.
            2 => return Ok(vec![0, 8, 0, 0x80, Type::MASK, 0, 0, 0]),
            _ => return Err(Sense::INVALID_FIELD),
        };
        let mut data = self.generation.to_be_bytes().to_vec();
        let len = u32::try_from(list.len()).map_err(|_| Sense::INVALID_FIELD)?;
        data.extend(len.to_be_bytes());
        data.extend(list);
        Ok(data)
    }

    /// PERSISTENT RESERVE OUT of `way`: `scope_type` is byte 2 of the command, `list` what comes with it. Returns who is to
    /// be told what.
    pub fn change(
        &mut self,
        way: usize,
        action: u8,
        scope_type: u8,
        list: &[u8],
    ) -> Result<Notices, Refusal> {
        let list: &[u8; LIST] = list
            .try_into()
            .map_err(|_| Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        let number = |at: usize| (at..at + 8).fold(0, |n, i| (n << 8) | u64::from(list[i]));
        let (key, action_key) = (number(0), number(8));
        // Keys for other ports (SPEC_I_PT, ALL_TG_PT), and what outlives a loss of power (APTPL).
        if list[20] & 0xD != 0 {
            return Err(Sense::INVALID_PARAMETER.into());
        }
        if matches!(action, 0 | 6) {
            return self.register(way, (action == 0).then_some(key), action_key);
        }
        let wanted = Type::known(scope_type & 0xF).filter(|_| scope_type >> 4 == 0);
        if self.keys.get(&way) != Some(&key) {
            return Err(Refusal::Conflict);
        }
        match action {
            1 => self.reserve(way, wanted.ok_or(Sense::INVALID_FIELD)?),
            2 => self.release(way, wanted.ok_or(Sense::INVALID_FIELD)?),
            // CLEAR
            3 => {
                self.generation = self.generation.wrapping_add(1);
                self.held = None;
                let keys = std::mem::take(&mut self.keys);
                Ok(notices(
                    keys.into_keys(),
                    way,
                    Sense::RESERVATIONS_PREEMPTED,
                ))
            }
            // PREEMPT, and AND ABORT: nothing that a test may see is in flight on another way when this is answered.
            4 | 5 => self.preempt(way, action_key, wanted),
            _ => Err(Sense::INVALID_FIELD.into()),
        }
    }

    /// REGISTER, or with no `key` REGISTER AND IGNORE EXISTING KEY.
    fn register(&mut self, way: usize, key: Option<u64>, new: u64) -> Result<Notices, Refusal> {
        if key.is_some_and(|key| self.keys.get(&way).copied().unwrap_or(0) != key) {
            return Err(Refusal::Conflict);
        }
        self.generation = self.generation.wrapping_add(1);
        if new != 0 {
            self.keys.insert(way, new);
            return Ok(Vec::new());
        }
        self.keys.remove(&way);
        Ok(match self.held.take_if(|held| held.by == way) {
            Some(held) => self.released(way, held.type_),
            None => Vec::new(),
        })
    }

    fn reserve(&mut self, way: usize, type_: Type) -> Result<Notices, Refusal> {
        let wanted = Held { by: way, type_ };
        if self.held.is_some_and(|held| held != wanted) {
            return Err(Refusal::Conflict);
        }
        self.held = Some(wanted);
        Ok(Vec::new())
    }

    fn release(&mut self, way: usize, type_: Type) -> Result<Notices, Refusal> {
        match self.held {
            Some(held) if held.by == way => {
                if held.type_ != type_ {
                    return Err(Sense::INVALID_RELEASE.into());
                }
                self.held = None;
                Ok(self.released(way, type_))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Those that had the same rights learn that they have none any more.
    fn released(&self, way: usize, type_: Type) -> Notices {
        if !type_.registrants_only() {
            return Vec::new();
        }
        notices(self.keys.keys().copied(), way, Sense::RESERVATIONS_RELEASED)
    }

    fn preempt(&mut self, way: usize, key: u64, wanted: Option<Type>) -> Result<Notices, Refusal> {
        if key == 0 {
            return Err(Sense::INVALID_PARAMETER.into());
        }
        let losers: Vec<usize> = self
            .keys
            .iter()
            .filter(|(_, k)| **k == key)
            .map(|(w, _)| *w)
            .collect();
        if losers.is_empty() {
            return Err(Refusal::Conflict);
        }
        let mut told = Vec::new();
        if let Some(held) = self.held.filter(|held| losers.contains(&held.by)) {
            let type_ = wanted.ok_or(Sense::INVALID_FIELD)?;
            self.held = Some(Held { by: way, type_ });
            if held.type_ != type_ {
                let others = self.keys.keys().copied().filter(|w| !losers.contains(w));
                told = notices(others, way, Sense::RESERVATIONS_RELEASED);
            }
        }
        self.generation = self.generation.wrapping_add(1);
        self.keys.retain(|w, _| *w == way || !losers.contains(w));
        told.extend(notices(losers, way, Sense::REGISTRATIONS_PREEMPTED));
        Ok(told)
    }
}

/// `sense` for all of `ways` but `own`.
fn notices(ways: impl IntoIterator<Item = usize>, own: usize, sense: Sense) -> Notices {
    let others = ways.into_iter().filter(|way| *way != own);
    others.map(|way| (way, sense)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const READ: u8 = 0x28;
    const WRITE: u8 = 0x2A;

    fn list(key: u64, action_key: u64) -> Vec<u8> {
        let mut list = [key.to_be_bytes(), action_key.to_be_bytes()].concat();
        list.resize(LIST, 0);
        list
    }

    /// Two initiators that are registered with 1 and 2, and a third that is not.
    fn two() -> Reservations {
        let mut all = Reservations::default();
        for way in 0..2 {
            let new = list(0, way as u64 + 1);
            assert_eq!(all.change(way, 0, 0, &new), Ok(vec![]));
        }
        all
    }

    #[test]
    fn who_registers_must_know_the_key() {
        let mut all = two();
        assert_eq!(all.tell(0).unwrap()[..8], [0, 0, 0, 2, 0, 0, 0, 16]);
        assert_eq!(all.change(0, 0, 0, &list(7, 8)), Err(Refusal::Conflict));
        assert_eq!(all.change(2, 0, 0, &list(7, 8)), Err(Refusal::Conflict));
        assert_eq!(all.change(0, 0, 0, &list(1, 8)), Ok(vec![]));
        assert_eq!(all.change(1, 6, 0, &list(99, 9)), Ok(vec![]));
        let keys = all.tell(0).unwrap();
        assert_eq!((keys[15], keys[23]), (8, 9));
        assert_eq!(all.change(1, 0, 0, &list(9, 0)), Ok(vec![]));
        assert_eq!(all.tell(0).unwrap().len(), 16);
    }

    #[test]
    fn registrants_only() {
        let mut all = two();
        assert_eq!(all.change(2, 1, 5, &list(0, 0)), Err(Refusal::Conflict));
        assert_eq!(all.change(0, 1, 5, &list(1, 0)), Ok(vec![]));
        assert_eq!(all.change(1, 1, 5, &list(2, 0)), Err(Refusal::Conflict));
        for (way, opcode, forbidden) in [
            (0, WRITE, false),
            (1, WRITE, false),
            (2, WRITE, true),
            (2, READ, false),
            (2, 0x12, false),
        ] {
            assert_eq!(all.forbid(way, opcode), forbidden, "{way} {opcode:#x}");
        }
        let held = all.tell(1).unwrap();
        assert_eq!((held[7], held[15], held[21]), (16, 1, 5));
        assert_eq!(
            all.change(0, 2, 6, &list(1, 0)),
            Err(Sense::INVALID_RELEASE.into())
        );
        // Whoever had it in common learns that it is over.
        assert_eq!(
            all.change(0, 2, 5, &list(1, 0)),
            Ok(vec![(1, Sense::RESERVATIONS_RELEASED)])
        );
        assert!(!all.forbid(2, WRITE));
    }

    #[test]
    fn for_one_alone() {
        let mut all = two();
        all.change(0, 1, 3, &list(1, 0)).unwrap();
        assert!(all.forbid(1, READ) && all.forbid(1, WRITE) && !all.forbid(0, WRITE));
        // It ends with the registration.
        assert_eq!(all.change(0, 0, 0, &list(1, 0)), Ok(vec![]));
        assert!(!all.forbid(1, WRITE));
        all.change(1, 1, 1, &list(2, 0)).unwrap();
        assert!(!all.forbid(0, READ) && all.forbid(0, WRITE));
    }

    #[test]
    fn preempting_takes_registration_and_reservation() {
        let mut all = two();
        all.change(0, 1, 5, &list(1, 0)).unwrap();
        assert_eq!(
            all.change(1, 4, 5, &list(2, 1)),
            Ok(vec![(0, Sense::REGISTRATIONS_PREEMPTED)])
        );
        assert!(all.forbid(0, WRITE) && !all.forbid(1, WRITE));
        assert_eq!(all.change(1, 4, 5, &list(2, 1)), Err(Refusal::Conflict));
        all.change(0, 0, 0, &list(0, 3)).unwrap();
        assert_eq!(
            all.change(0, 3, 0, &list(3, 0)),
            Ok(vec![(1, Sense::RESERVATIONS_PREEMPTED)])
        );
        assert_eq!(all.tell(0).unwrap().len(), 8);
        assert_eq!(all.tell(1).unwrap().len(), 8);
    }

    #[test]
    fn what_is_not_offered_is_refused() {
        let mut all = two();
        let refused = |r: Result<Notices, Refusal>, sense: Sense| assert_eq!(r, Err(sense.into()));
        refused(
            all.change(0, 0, 0, &[0; 8]),
            Sense::PARAMETER_LIST_LENGTH_ERROR,
        );
        let mut lasting = list(1, 1);
        lasting[20] = 1;
        refused(all.change(0, 0, 0, &lasting), Sense::INVALID_PARAMETER);
        for bad in [0, 2, 4, 7, 8, 0x15] {
            refused(all.change(0, 1, bad, &list(1, 0)), Sense::INVALID_FIELD);
        }
        refused(all.change(0, 9, 5, &list(1, 0)), Sense::INVALID_FIELD);
        refused(all.change(0, 4, 5, &list(1, 0)), Sense::INVALID_PARAMETER);
        assert_eq!(all.tell(3), Err(Sense::INVALID_FIELD));
    }

    proptest! {
        #[test]
        fn only_who_is_registered_holds_it_and_a_refusal_changes_nothing(
            ops in proptest::collection::vec((0usize..3, 0u8..8, 0u8..9, 0u64..4, 0u64..4), 1..60),
        ) {
            let mut all = Reservations::default();
            for (way, action, type_, key, action_key) in ops {
                let before = all.clone();
                let result = all.change(way, action, type_, &list(key, action_key));
                if result.is_err() {
                    prop_assert_eq!(&all, &before);
                }
                let told = result.unwrap_or_default();
                prop_assert!(told.iter().all(|(w, _)| *w != way));
                if let Some(held) = all.held {
                    prop_assert!(all.keys.contains_key(&held.by));
                    prop_assert!(!all.forbid(held.by, WRITE));
                }
            }
        }
    }
}

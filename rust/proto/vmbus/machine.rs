// SPDX-License-Identifier: GPL-2.0

//! Which machines a bus driver without paravisor and encryption can serve.

/// What the hypervisor and the kernel say about themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The hypervisor's interface is there and set up.
    pub hyperv: bool,
    /// The root (parent) partition, which owns the hardware.
    pub root_partition: bool,
    /// The hypervisor runs on another one.
    pub nested: bool,
    /// A paravisor stands between guest and host.
    pub paravisor: bool,
    /// Memory is encrypted by SEV-SNP.
    pub snp: bool,
    /// Memory is encrypted by TDX.
    pub tdx: bool,
}

/// What to do on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no hypervisor of this kind.
    NotHyperV,
    /// There is no bus, which is as it should be.
    NoBus,
    /// There is a bus that this driver cannot serve; the machines of which that holds.
    Unsupported(&'static str),
    /// There is a bus.
    Serve,
}

impl Machine {
    /// What to do on this machine.
    ///
    /// A paravisor and encrypted memory need other hypercalls, a second set of SynIC pages and encrypted rings. A root
    /// partition has no bus of its own; if it is nested it has that of the host below, but its SynIC pages are those that
    /// the registers name already, since the hypervisor's own driver (mshv) uses them, too.
    pub fn verdict(&self) -> Verdict {
        if !self.hyperv {
            Verdict::NotHyperV
        } else if self.root_partition && !self.nested {
            Verdict::NoBus
        } else if self.root_partition {
            Verdict::Unsupported("nested root partitions")
        } else if self.paravisor {
            Verdict::Unsupported("guests with a paravisor")
        } else if self.snp || self.tdx {
            Verdict::Unsupported("confidential guests (SEV-SNP, TDX)")
        } else {
            Verdict::Serve
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_is_told_apart() {
        let guest = Machine {
            hyperv: true,
            ..Machine::default()
        };
        assert_eq!(Machine::default().verdict(), Verdict::NotHyperV);
        assert_eq!(guest.verdict(), Verdict::Serve);
        let root = Machine {
            root_partition: true,
            ..guest
        };
        assert_eq!(root.verdict(), Verdict::NoBus);
        // A guest of a nested hypervisor sees an ordinary host.
        let nested = Machine {
            nested: true,
            ..guest
        };
        assert_eq!(nested.verdict(), Verdict::Serve);
        let nested_root = Machine {
            nested: true,
            ..root
        };
        assert_eq!(
            nested_root.verdict(),
            Verdict::Unsupported("nested root partitions")
        );
        for (machine, what) in [
            (
                Machine {
                    paravisor: true,
                    snp: true,
                    ..guest
                },
                "guests with a paravisor",
            ),
            (
                Machine { snp: true, ..guest },
                "confidential guests (SEV-SNP, TDX)",
            ),
            (
                Machine { tdx: true, ..guest },
                "confidential guests (SEV-SNP, TDX)",
            ),
        ] {
            assert_eq!(machine.verdict(), Verdict::Unsupported(what));
        }
    }
}

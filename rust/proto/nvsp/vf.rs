// SPDX-License-Identifier: GPL-2.0

//! A virtual function of a physical card beside the synthetic one, and the way that frames go.

use super::message::{body, message, MessageType, MESSAGE_SIZE};
use crate::error::ProtoError;

open_enum! {
    /// `enum nvsp_vm_datapath`.
    pub struct DataPath(u32) {
        /// Frames go through the synthetic card.
        NVSP_DATAPATH_SYNTHETIC = 0,
        /// They go through the virtual function.
        NVSP_DATAPATH_VF = 1,
    }
}

wire_struct! {
    /// `struct nvsp_4_send_vf_association`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VfAssociation {
        /// 1: there is a virtual function, and its number is valid.
        pub allocated: u32,
        /// Its serial number: the name of its PCI slot.
        pub serial: u32,
    }

    /// `struct nvsp_4_sw_datapath`, 4 bytes. The completion has no body.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SwitchDataPath {
        /// [`DataPath`].
        pub active_datapath: u32,
    }
}

impl DataPath {
    /// SWITCH_DATA_PATH to this path.
    pub fn message(self) -> [u8; MESSAGE_SIZE] {
        let switch = SwitchDataPath {
            active_datapath: self.0,
        };
        message(MessageType::NVSP_MSG4_TYPE_SWITCH_DATA_PATH, &switch)
    }

    /// Reads a SWITCH_DATA_PATH that the host sends.
    ///
    /// # Errors
    ///
    /// If it is none, or names no path.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtoError> {
        let kind = MessageType::NVSP_MSG4_TYPE_SWITCH_DATA_PATH;
        let switch: SwitchDataPath = body(payload, kind, "SWITCH_DATA_PATH")?;
        let path = Self(switch.active_datapath);
        match path.name() {
            Some(_) => Ok(path),
            None => Err(ProtoError::Unknown {
                what: "data path",
                value: u64::from(path.0),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for path in [
            DataPath::NVSP_DATAPATH_SYNTHETIC,
            DataPath::NVSP_DATAPATH_VF,
        ] {
            assert_eq!(DataPath::parse(&path.message()), Ok(path));
            assert!(DataPath::parse(&path.message()[..7]).is_err());
        }
        assert!(DataPath::parse(&DataPath(2).message()).is_err());
    }
}

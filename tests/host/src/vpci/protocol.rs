// SPDX-License-Identifier: GPL-2.0

//! Messages of the virtual PCI protocol (drivers/pci/controller/pci-hyperv.c of Linux, where they have these names
//! with PCI_ in front; microsoft/openvmm has them in vm/devices/pci/vpci_protocol). Each begins with its type. All are
//! little-endian and packed.

use anyhow::{ensure, Context, Result};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// PCI_PROTOCOL_VERSION_1_1: Windows 10.
pub const VERSION_1_1: u32 = 0x1_0001;
/// PCI_PROTOCOL_VERSION_1_2: interrupts name processors by their numbers.
pub const VERSION_1_2: u32 = 0x1_0002;
/// PCI_PROTOCOL_VERSION_1_3: bus relations tell the NUMA node.
pub const VERSION_1_3: u32 = 0x1_0003;
/// PCI_PROTOCOL_VERSION_1_4: vectors have 32 bits.
pub const VERSION_1_4: u32 = 0x1_0004;
/// Versions by their numbers on the wire, ascending, with the names they go by.
pub const VERSIONS: [(u32, &str); 4] = [
    (VERSION_1_1, "1.1"),
    (VERSION_1_2, "1.2"),
    (VERSION_1_3, "1.3"),
    (VERSION_1_4, "1.4"),
];

const BASE: u32 = 0x4249_0000;
/// The functions of the bus, from the host ([`Relations`]).
pub const BUS_RELATIONS: u32 = BASE;
/// The guest asks for them; nothing but the type.
pub const QUERY_BUS_RELATIONS: u32 = BASE + 1;
/// What the BARs of a function want ([`Child`], answered by [`Requirements`]).
pub const QUERY_RESOURCE_REQUIREMENTS: u32 = BASE + 5;
/// The bus is used from now on ([`D0Entry`]).
pub const BUS_D0ENTRY: u32 = BASE + 7;
/// It is not used any more; nothing but the type.
pub const BUS_D0EXIT: u32 = BASE + 8;
/// The host asks the guest to let go of a function ([`Child`]).
pub const EJECT: u32 = BASE + 0xB;
/// The guest has done so ([`EjectionComplete`]).
pub const EJECTION_COMPLETE: u32 = BASE + 0xF;
/// What the guest has assigned to a function, up to version 1.1 ([`ResourcesAssigned`]).
pub const RESOURCES_ASSIGNED: u32 = BASE + 0x10;
/// It takes that back ([`Child`]).
pub const RESOURCES_RELEASED: u32 = BASE + 0x11;
/// The guest proposes a version ([`VersionRequest`]); it tries others until one is taken.
pub const QUERY_PROTOCOL_VERSION: u32 = BASE + 0x13;
/// A message for an interrupt, please ([`CreateInterrupt`], answered by [`InterruptCreated`]).
pub const CREATE_INTERRUPT_MESSAGE: u32 = BASE + 0x14;
/// A message is not used any more ([`DeleteInterrupt`]).
pub const DELETE_INTERRUPT_MESSAGE: u32 = BASE + 0x15;
/// From version 1.2 on ([`ResourcesAssigned`], with more reserved bytes behind it).
pub const RESOURCES_ASSIGNED2: u32 = BASE + 0x16;
/// From version 1.2 on ([`CreateInterrupt2`]).
pub const CREATE_INTERRUPT_MESSAGE2: u32 = BASE + 0x17;
/// From version 1.3 on, instead of BUS_RELATIONS ([`Relations`]).
pub const BUS_RELATIONS2: u32 = BASE + 0x19;
/// From version 1.4 on ([`CreateInterrupt3`]).
pub const CREATE_INTERRUPT_MESSAGE3: u32 = BASE + 0x1B;

/// NTSTATUS STATUS_SUCCESS.
pub const SUCCESS: u32 = 0;
/// NTSTATUS STATUS_REVISION_MISMATCH: propose another version.
pub const REVISION_MISMATCH: u32 = 0xC000_0059;
/// NTSTATUS STATUS_BAD_DATA.
pub const BAD_DATA: u32 = 0xC000_090B;
/// NTSTATUS STATUS_NOT_SUPPORTED.
pub const NOT_SUPPORTED: u32 = 0xC000_00BB;

/// Bytes of the window through which the guest reaches configuration space (PCI_CONFIG_MMIO_LENGTH). In its first page
/// it chooses the function, the second is that function's configuration space.
pub const WINDOW: u64 = 0x2000;
/// Offset of the second page (CFG_PAGE_OFFSET).
pub const CONFIG_PAGE: u64 = 0x1000;
/// Most processors that a descriptor of an interrupt names.
pub const MAX_PROCESSORS: usize = 32;

/// struct pci_version_request.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VersionRequest {
    /// QUERY_PROTOCOL_VERSION.
    pub type_: u32,
    /// Which.
    pub version: u32,
}

/// struct pci_child_message: a message about one function.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Child {
    /// Which message.
    pub type_: u32,
    /// union win_slot_encoding: device in bits 0 to 4, function in bits 5 to 7.
    pub slot: u32,
}

/// struct pci_q_res_req_response, behind the packet's descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Requirements {
    /// NTSTATUS.
    pub status: u32,
    /// What each BAR reads after all ones were written to it.
    pub bars: [u32; 6],
}

/// struct pci_bus_d0_entry.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct D0Entry {
    /// BUS_D0ENTRY.
    pub type_: u32,
    /// Zero.
    pub reserved: u32,
    /// Guest physical address of the window to configuration space.
    pub mmio_base: u64,
}

/// struct pci_bus_relations and pci_bus_relations2 up to their lists of [`Description`] or [`Description2`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Relations {
    /// BUS_RELATIONS or BUS_RELATIONS2.
    pub type_: u32,
    /// How many follow.
    pub count: u32,
}

/// struct pci_function_description.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Description {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID, programming interface, subclass, base class.
    pub class: [u8; 4],
    /// Subsystem vendor ID in the lower half, subsystem ID in the upper.
    pub subsystem: u32,
    /// Where it is, as in [`Child`].
    pub slot: u32,
    /// Serial number.
    pub serial: u32,
}

/// struct pci_function_description2.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Description2 {
    /// What version 1 has.
    pub first: Description,
    /// Bit 0: the NUMA node is told (HV_PCI_DEVICE_FLAG_NUMA_AFFINITY).
    pub flags: u32,
    /// NUMA node.
    pub numa_node: u16,
    /// Zero.
    pub reserved: u16,
}

/// struct pci_resources_assigned, and pci_resources_assigned2 up to its longer reserved part. Linux assigns BARs by
/// writing configuration space and leaves all of this zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResourcesAssigned {
    /// RESOURCES_ASSIGNED or RESOURCES_ASSIGNED2.
    pub type_: u32,
    /// Which function.
    pub slot: u32,
    /// A descriptor of 20 bytes for each BAR.
    pub memory_ranges: [[u8; 20]; 6],
    /// How many descriptors of interrupts follow.
    pub msi_descriptors: u32,
    /// Zero.
    pub reserved: [u32; 4],
}
/// Bytes of struct pci_resources_assigned2.
pub const RESOURCES_ASSIGNED2_SIZE: usize = 202;

/// The answer to it (struct _DEVICE_TRANSLATE_REPLY of openvmm).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResourcesTranslated {
    /// NTSTATUS.
    pub status: u32,
    /// Which function.
    pub slot: u32,
    /// As in the question.
    pub memory_ranges: [[u8; 20]; 6],
    /// How many descriptors of interrupts follow.
    pub msi_descriptors: u32,
    /// Zero.
    pub reserved: u32,
}

/// struct pci_create_interrupt.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CreateInterrupt {
    /// CREATE_INTERRUPT_MESSAGE.
    pub type_: u32,
    /// Which function.
    pub slot: u32,
    /// Vector.
    pub vector: u8,
    /// Delivery mode: 0 is fixed, 1 lowest priority.
    pub delivery_mode: u8,
    /// How many vectors in a row.
    pub vector_count: u16,
    /// Zero.
    pub reserved: u32,
    /// A bit for each virtual processor.
    pub cpu_mask: u64,
}

/// struct pci_create_interrupt2.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct CreateInterrupt2 {
    /// CREATE_INTERRUPT_MESSAGE2.
    pub type_: u32,
    /// Which function.
    pub slot: u32,
    /// Vector.
    pub vector: u8,
    /// As in [`CreateInterrupt`].
    pub delivery_mode: u8,
    /// How many vectors in a row.
    pub vector_count: u16,
    /// How many of the processors count.
    pub processor_count: u16,
    /// Virtual processors.
    pub processors: [u16; MAX_PROCESSORS],
}

/// struct pci_create_interrupt3.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct CreateInterrupt3 {
    /// CREATE_INTERRUPT_MESSAGE3.
    pub type_: u32,
    /// Which function.
    pub slot: u32,
    /// Vector.
    pub vector: u32,
    /// As in [`CreateInterrupt`].
    pub delivery_mode: u8,
    /// Zero.
    pub reserved: u8,
    /// How many vectors in a row.
    pub vector_count: u16,
    /// How many of the processors count.
    pub processor_count: u16,
    /// Virtual processors.
    pub processors: [u16; MAX_PROCESSORS],
}

/// struct tran_int_desc: a message.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Translated {
    /// Zero.
    pub reserved: u16,
    /// How many vectors in a row.
    pub vector_count: u16,
    /// What the function writes.
    pub data: u32,
    /// Where to.
    pub address: u64,
}

/// struct pci_create_int_response, behind the packet's descriptor.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InterruptCreated {
    /// NTSTATUS.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
    /// The message.
    pub message: Translated,
}

/// struct pci_delete_interrupt.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DeleteInterrupt {
    /// DELETE_INTERRUPT_MESSAGE.
    pub type_: u32,
    /// Which function.
    pub slot: u32,
    /// The message.
    pub message: Translated,
}

/// struct pci_eject_response.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EjectionComplete {
    /// EJECTION_COMPLETE.
    pub type_: u32,
    /// Which function.
    pub slot: u32,
    /// NTSTATUS.
    pub status: u32,
}

/// Checks that a payload has `size` bytes and no more than the padding of the ring behind them.
pub fn check_size(payload: &[u8], size: usize) -> Result<()> {
    ensure!(
        payload.len() >= size && payload.len() < size + 8,
        "a message of {} bytes where {size} belong",
        payload.len()
    );
    Ok(())
}

/// The message in `payload`, which is a `T` and nothing else.
pub fn read<T: FromBytes>(payload: &[u8]) -> Result<T> {
    check_size(payload, size_of::<T>())?;
    let (message, _) = T::read_from_prefix(payload).ok().context("too short")?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_driver() {
        assert_eq!(size_of::<Description>(), 20);
        assert_eq!(size_of::<Description2>(), 28);
        assert_eq!(size_of::<ResourcesAssigned>(), 148);
        assert_eq!(size_of::<ResourcesTranslated>(), 136);
        assert_eq!(size_of::<CreateInterrupt>(), 24);
        assert_eq!(size_of::<CreateInterrupt2>(), 78);
        assert_eq!(size_of::<CreateInterrupt3>(), 82);
        assert_eq!(size_of::<InterruptCreated>(), 24);
        assert_eq!(size_of::<DeleteInterrupt>(), 24);
    }

    #[test]
    fn messages_have_their_size() {
        assert!(read::<D0Entry>(&[0; 16]).is_ok());
        assert!(read::<CreateInterrupt2>(&[0; 80]).is_ok());
        assert!(read::<D0Entry>(&[0; 15]).is_err());
        assert!(read::<D0Entry>(&[0; 24]).is_err());
    }
}

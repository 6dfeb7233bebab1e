// SPDX-License-Identifier: GPL-2.0

//! VMBus proper: SynIC and hypercall formats, channel messages, version negotiation, GPADLs.
//!
//! Sources: Hyper-V TLFS (chapters "Inter-Partition Communication" and "Virtual Interrupt Controller"),
//! include/linux/hyperv.h, drivers/hv/hyperv_vmbus.h, include/hyperv/hvgdk_mini.h.

pub mod gpa;
pub mod gpadl;
pub mod hypercall;
pub mod life;
pub mod machine;
pub mod message;
pub mod mmio;
pub mod monitor;
pub mod negotiate;
pub mod offer;
pub mod parse;
pub mod placement;
pub mod probe;
pub mod retarget;
pub mod synic;
pub mod version;

pub use parse::Message;
pub use version::Version;

/// Size of a page in every guest-physical page number of the protocol, whatever the guest's page size.
pub const HV_HYP_PAGE_SIZE: usize = 4096;

/// Relids are below this: one SIEF event flag each (`MAX_CHANNEL_RELIDS`).
pub const MAX_CHANNEL_RELIDS: u32 = 2048;

/// Largest channel message: the payload of one SynIC message (`MAX_SIZE_CHANNEL_MESSAGE`).
pub const MAX_SIZE_CHANNEL_MESSAGE: usize = 240;

/// Bytes of free-form data in an offer and in an open request (`MAX_USER_DEFINED_BYTES`).
pub const MAX_USER_DEFINED_BYTES: usize = 120;

/// Connection that messages go to before protocol 5.0 (`VMBUS_MESSAGE_CONNECTION_ID`).
pub const VMBUS_MESSAGE_CONNECTION_ID: u32 = 1;
/// Connection for INITIATE_CONTACT from protocol 5.0 on (`VMBUS_MESSAGE_CONNECTION_ID_4`).
pub const VMBUS_MESSAGE_CONNECTION_ID_4: u32 = 4;
/// Connection that a VTL2 guest tries first (`VMBUS_MESSAGE_CONNECTION_ID_REDIRECT`).
pub const VMBUS_MESSAGE_CONNECTION_ID_REDIRECT: u32 = 0x0080_0074;
/// Connection for events before channels had one each (`VMBUS_EVENT_CONNECTION_ID`).
pub const VMBUS_EVENT_CONNECTION_ID: u32 = 2;
/// Connection of the monitor pages (`VMBUS_MONITOR_CONNECTION_ID`).
pub const VMBUS_MONITOR_CONNECTION_ID: u32 = 3;
/// The SINT that carries channel messages and channel interrupts (`VMBUS_MESSAGE_SINT`).
pub const VMBUS_MESSAGE_SINT: u8 = 2;
/// SynIC message type of a channel message, in HvPostMessage as in the message slot.
pub const VMBUS_MESSAGE_TYPE: u32 = 1;
/// First GPADL handle that the in-tree driver hands out; handles are only required to be unique.
pub const GPADL_HANDLE_SEED: u32 = 0xE1E10;

/// INITIATE_CONTACT feature (6.0): encrypted rings and external memory are understood.
pub const VMBUS_FEATURE_FLAG_CONFIDENTIAL_CHANNELS: u32 = 0x10;

/// Offer flag: devices of the class are enumerated as interfaces.
pub const VMBUS_CHANNEL_ENUMERATE_DEVICE_INTERFACE: u16 = 0x0001;
/// Offer flag (6.0, paravisor): the ring must be in encrypted memory.
pub const VMBUS_CHANNEL_CONFIDENTIAL_RING_BUFFER: u16 = 0x0002;
/// Offer flag (6.0, paravisor): GPA-direct pages and further GPADLs must be in encrypted memory.
pub const VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY: u16 = 0x0004;
/// Offer flag: a pipe; the user data starts with the pipe mode.
pub const VMBUS_CHANNEL_NAMED_PIPE_MODE: u16 = 0x0010;
/// Offer flag: offered by the guest itself.
pub const VMBUS_CHANNEL_LOOPBACK_OFFER: u16 = 0x0100;
/// Offer flag: offered by the parent partition.
pub const VMBUS_CHANNEL_PARENT_OFFER: u16 = 0x0200;
/// Offer flag: the host wants monitored notifications.
pub const VMBUS_CHANNEL_REQUEST_MONITORED_NOTIFICATION: u16 = 0x0400;
/// Offer flag: a Hyper-V socket, not a device.
pub const VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER: u16 = 0x2000;

/// Pipe mode: a stream of bytes.
pub const VMBUS_PIPE_TYPE_BYTE: u32 = 0;
/// Pipe mode: messages.
pub const VMBUS_PIPE_TYPE_MESSAGE: u32 = 4;

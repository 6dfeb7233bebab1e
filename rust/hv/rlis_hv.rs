// SPDX-License-Identifier: GPL-2.0

//! The kernel layer: safe abstractions that the kernel crate lacks and that need no other subsystem.

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the portable tree's crate `uapi` holds: constants and structs of user space's view of the kernel.
 */

#include <uapi/asm-generic/ioctl.h>
#include <uapi/linux/eventpoll.h>

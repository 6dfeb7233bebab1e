/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the portable tree's crate `uapi` holds: constants and structs of user space's view of the kernel.
 */

#include <uapi/asm-generic/ioctl.h>
/* An inline function in it calls one that is declared elsewhere. */
#undef CONFIG_PM_SLEEP
#include <uapi/linux/eventpoll.h>

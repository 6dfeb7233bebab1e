#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# dracut reads this again and again while it waits for the root disk and udev has nothing to do.
/usr/libexec/rlis/check-disks

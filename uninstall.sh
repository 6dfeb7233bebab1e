#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Takes rlis away; the kernel's own drivers are used again.
#   ./uninstall.sh [--dry-run]
exec "$(dirname "$0")/packaging/setup" uninstall "$@"

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Puts this version of rlis in the place of the one that is installed.
#   ./upgrade.sh [--dry-run]
exec "$(dirname "$0")/packaging/setup" upgrade "$@"

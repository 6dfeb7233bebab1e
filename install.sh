#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Installs rlis from this folder, the unpacked tarball, by the distribution's packages or DKMS.
#   ./install.sh [--dry-run]
exec "$(dirname "$0")/packaging/setup" install "$@"

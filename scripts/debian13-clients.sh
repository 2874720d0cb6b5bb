#!/usr/bin/env bash
# Unpacks the NBD clients of Debian 13 (qemu-utils, libnbd-bin and the libraries that they need) into a folder, for
# apps/daemon/test/current-clients.test.ts. Nothing of it is installed, and nothing runs in it: the test starts its programs
# with its own loader. Needs debootstrap, root, and the Debian mirror that apt uses here.
#
#   scripts/debian13-clients.sh FOLDER && RAIDKIT_DEBIAN13=FOLDER npx vitest run apps/daemon/test/current-clients.test.ts
set -euo pipefail
folder=$1
mirror=$(apt-get indextargets --format '$(SITE)' | head -n 1)
mkdir -p "$folder"
debootstrap --download-only --variant=minbase --include=qemu-utils,libnbd-bin trixie "$folder" "$mirror" >"$folder/debootstrap.out"
for package in "$folder"/var/cache/apt/archives/*.deb; do dpkg -x "$package" "$folder"; done

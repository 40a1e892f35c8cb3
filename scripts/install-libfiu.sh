#!/bin/sh
# Have libfiu, with which the tests make writes and syncs fail: from Debian's packages, where it is missing and one is root.
# Fails, and changes nothing, where it cannot be had; the tests that need it are then counted as skipped.
set -eu

for folder in /usr/lib/fiu /usr/local/lib/fiu /usr/lib64/fiu; do
    [ ! -e "$folder/fiu_posix_preload.so" ] || exit 0
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "libfiu: not there, and not to be installed without root and apt; install it to run the tests of failing disks" >&2
    exit 1
fi
echo "Installing libfiu (Debian's packages fiu-utils and libfiu0)"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends fiu-utils libfiu0 >/dev/null 2>&1 || {
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends fiu-utils libfiu0 >/dev/null
}

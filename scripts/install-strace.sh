#!/bin/sh
# Have `strace`, with which the tests record what a gateway asks of its disk: from Debian's packages, where it is missing and
# one is root. Fails, and changes nothing, where it cannot be had; the tests that need it are then counted as skipped.
set -eu

command -v strace >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "strace: not on PATH, and not to be installed without root and apt; install it to run the tests of power cuts" >&2
    exit 1
fi
echo "Installing strace (Debian's package)"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends strace >/dev/null 2>&1 || {
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends strace >/dev/null
}

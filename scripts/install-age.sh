#!/bin/sh
# Have the `age` program, which our files are held against: from Debian's packages, where it is missing and one is root.
# Fails, and changes nothing, where it cannot be had; the tests against it are then counted as skipped.
set -eu

command -v age >/dev/null 2>&1 && command -v age-keygen >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "age: not on PATH, and not to be installed without root and apt; install it to run the tests against it" >&2
    exit 1
fi
echo "Installing age (Debian's package)"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends age >/dev/null 2>&1 || {
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends age >/dev/null
}

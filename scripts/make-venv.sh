#!/bin/sh
# Make the virtual environment, or say in one sentence what the machine lacks.
# usage: make-venv.sh PYTHON FOLDER        FOLDER/.made then holds the interpreter's version, FOLDER/.place this folder.
set -eu
python=$1
venv=$2

fail() {
    printf 'rogatory: %s\n' "$@" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 || fail \
    "there is no '$python' on this machine. Rogatory needs Python 3.11 or newer." \
    "Debian, Ubuntu: apt install python3 python3-venv      Fedora: dnf install python3      macOS: brew install python" \
    "Under another name: make PYTHON=python3.12 …"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail \
    "'$python' is $("$python" -V 2>&1), and Rogatory needs Python 3.11 or newer." \
    "If there is a newer one on this machine, name it: make PYTHON=python3.12 …"

short=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
    "'$python' cannot make a virtual environment: its modules venv and ensurepip are a package of their own here." \
    "Debian, Ubuntu: apt install python$short-venv      Fedora: dnf install python3-pip      then the same command again."

version=$("$python" -V 2>&1)
place=$(pwd -P)
clear=--clear
# An environment of this version, made in this place, is kept as it is and only completed.
if [ -x "$venv/bin/python" ] && [ "$("$venv/bin/python" -V 2>&1)" = "$version" ] &&
    [ "$(cat "$venv/.place" 2>/dev/null || echo "$place")" = "$place" ]; then clear=; fi

echo "Making the environment in $venv ($version)"
"$python" -m venv $clear "$venv" || fail "making $venv failed; the lines above say why."
printf '%s\n' "$place" >"$venv/.place"
printf '%s\n' "$version" >"$venv/.made"

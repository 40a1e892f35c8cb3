#!/bin/sh
# Write requirements/*.txt from pyproject.toml: every version pinned, every file by its hashes, for all platforms and
# Pythons from 3.11. The largest lock is solved first and constrains the others, so that all agree.
# Versions younger than pyproject's `exclude-newer` are not taken.
# usage: write-locks.sh [--upgrade]
set -eu

compile() {
    output=requirements/$1.txt
    shift
    .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
        --no-annotate --custom-compile-command 'make lock' --output-file "$output" "$@"
    echo "$output: $(grep -c '^[a-z0-9]' "$output") packages"
}

compile lint pyproject.toml --group test --group lint "$@"
compile test pyproject.toml --group test --constraint requirements/lint.txt
compile runtime pyproject.toml --constraint requirements/lint.txt
compile build --group build --constraint requirements/lint.txt "$@"
compile node --group node "$@"

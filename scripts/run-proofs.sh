#!/bin/sh
# Run every long proof, whatever the ones before it said, and end with a list of those that failed.
# A proof is a file in scripts/proof (a name beginning with `_` is a helper), a test that asks for `rounds`, or a
# property that Hypothesis can search for longer.
set -u
failed=

prove() {
    name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed="$failed\n  $name"
}

for proof in scripts/proof/[!_]*.py; do
    [ ! -f "$proof" ] || prove "$proof" python "$proof"
done
for proof in scripts/proof/[!_]*.sh; do
    [ ! -f "$proof" ] || prove "$proof" bash "$proof"
done
prove "tests that repeat, 200 rounds" python -m pytest --rounds=200 --timeout=7200
prove "properties, 100 times as many examples" python -m pytest -m hypothesis --hypothesis-profile=explore --timeout=7200

if [ -n "$failed" ]; then
    printf "\nThese proofs failed:$failed\n"
    exit 1
fi
printf '\nEvery proof holds.\n'

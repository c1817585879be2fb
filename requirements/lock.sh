#!/bin/sh
# Write the locks (*.txt, with hashes) from what is asked for (*.in). Run it after editing one, then
# requirements/check_wheels.py. Versions already locked are kept; --upgrade takes the newest.
set -eu

cd -- "$(dirname -- "$(readlink -f -- "$0")")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/python" -m pip install -q uv==0.13.9

# device comes first: the others are held to its versions.
for name in device tflite-runtime dev hnsw hnsw-build; do
    "$tools/bin/uv" pip compile -q --universal --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links --python-version 3.11 "$@" "$name.in" -o "$name.txt"
done

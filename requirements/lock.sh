#!/bin/sh
# Write the locks (*.txt, with hashes) from what is asked for (*.in), and check that all of it exists
# as wheels for every machine Lethe runs on. Run it after editing a *.in file.
#
#   requirements/lock.sh                  keeps the versions already locked
#   requirements/lock.sh --upgrade        takes the newest
set -eu

cd -- "$(dirname -- "$(readlink -f -- "$0")")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/python" -m pip install -q uv==0.13.9
uv=$tools/bin/uv

compile() { # name, options
    name=$1
    shift
    "$uv" pip compile -q --universal --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links --python-version 3.11 "$@" "$name.in" -o "$name.txt"
}

compile device "$@" # first: the others are held to its versions
compile evaluate "$@" # before dev, which holds it
compile dev "$@"
compile tflite-runtime "$@"
compile models "$@"
compile fuzz "$@"
compile hil "$@" # after dev, which holds it
compile hnsw-build "$@"
compile hnsw --no-deps "$@"

# Nothing is downloaded: the index says which wheels there are. 2_36 is the C library of Debian 12.
check() { # name, Python versions
    name=$1
    shift
    for machine in x86_64 aarch64; do
        for python; do
            echo "$name: wheels for $machine, Python $python"
            "$uv" pip install -q --dry-run --no-deps --require-hashes --only-binary :all: \
                --python-platform "$machine-manylinux_2_36" --python-version "$python" \
                --target "$tools/none" -r "$name.txt"
        done
    done
}

for name in device dev models evaluate hil hnsw-build; do check "$name" 3.11 3.12 3.13; done
check tflite-runtime 3.11

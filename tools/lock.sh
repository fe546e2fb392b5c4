#!/usr/bin/env bash
# Writes requirements/*.txt and the pip section of environment.yml anew from pyproject.toml: `make lock`, then read the
# difference before it is committed.
#
# The locks hold versions and the SHA-256 of every file that may be installed. They hold no address: which registry
# the packages come from is set in pip and uv by whoever runs them.
set -euo pipefail
cd "$(dirname "$0")/.."

everything=$(mktemp)
trap 'rm -f "$everything"' EXIT

resolve() {
  # glibc 2.28 is that of RHEL 8: no wheel may ask for a newer one.
  .venv/bin/uv pip compile --quiet --no-header --no-annotate \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 "$@" > /dev/null
}
lock() {
  local name=$1
  shift
  resolve --constraint "$everything" --generate-hashes --output-file "requirements/$name.txt" "$@"
}

# Everything is solved together first, so that the locks agree wherever they share a package.
resolve --upgrade --extra ranks --group dev --group build --output-file "$everything" pyproject.toml

# Horovod's own dependencies are wheels like any other; Horovod itself is compiled by build_horovod.sh.
lock runtime --extra ranks --no-emit-package horovod pyproject.toml
# The same pins with TensorFlow's CUDA build and the libraries that it brings.
replaced=$(mktemp --directory)
trap 'rm -rf "$everything" "$replaced"' EXIT
sed 's/"tensorflow-cpu==/"tensorflow[and-cuda]==/' pyproject.toml > "$replaced/pyproject.toml"
cp README.md "$replaced"
sed -i '/^tensorflow-cpu==/d' "$everything"
lock runtime-gpu --extra ranks --no-emit-package horovod "$replaced/pyproject.toml"
lock dev --group pyproject.toml:dev
lock build --group pyproject.toml:build
lock horovod --no-deps - <<< "horovod"

# The same pins for conda, with TensorFlow's CUDA build; the pip section is the end of the file.
{
  sed '/^  - pip:$/q' environment.yml
  sed -n 's/^tensorflow-cpu==/tensorflow[and-cuda]==/; s/^\([a-z][^ ]*\).*/      - \1/p' requirements/runtime.txt
} > "$everything"
cp "$everything" environment.yml

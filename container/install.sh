#!/bin/sh
# install.sh LOCK DIR: the packages of a lock file into a directory, thinned and compiled to bytecode.
set -eu
lock=$1 directory=$2

# certificates of a network that inspects its traffic; container/README.md says when they are needed
for certificates in /build/certs/*.crt; do
  [ -e "$certificates" ] && export PIP_CERT="$certificates"
done

[ -e /build/pip ] || python3 -m venv /build/pip
/build/pip/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps --no-compile \
  --only-binary :all: --require-hashes --requirement "$lock" --target "$directory"
rm -rf "$directory/bin"
python3 /build/slim.py "$directory"
python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash "$directory"

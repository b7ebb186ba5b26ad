#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make demo`: install what is missing, build, and run Skyvol end to end (scripts/demo.py says what).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" -ne 0 ]; then
    echo "demo: the node plugin and the holder mount file systems: run this as root" >&2
    exit 1
fi
if [ ! -c /dev/fuse ]; then
    echo "demo: there is no /dev/fuse: load the kernel module (modprobe fuse), or pass the device into this container" >&2
    exit 1
fi
echo "dependencies ..."
scripts/deps.sh demo
echo "build (one to several minutes; says nothing but errors) ..."
SECONDS=0
make -s -j"$(nproc)" all
echo "built in $SECONDS s"
exec /usr/bin/python3 scripts/demo.py "$@"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build Skyvol and run its unit tests in fresh root file systems of other distributions (as root, with
# debootstrap): `make test-distributions`, or this script with the names of some of them.
#
#   scripts/test-distributions.sh [bookworm] [trixie] [noble]
#
# The roots stay in build/roots, so that a second run is quick; remove the folder to start afresh.
set -euo pipefail
cd "$(dirname "$0")/.."
roots=$PWD/build/roots
[ "$(id -u)" -eq 0 ] || { echo "test-distributions: debootstrap needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "test-distributions: apt-get install debootstrap" >&2; exit 1; }
[ $# -gt 0 ] || set -- bookworm trixie noble

make_root() { # name
    local root=$roots/$1
    [ -e "$root/.ready" ] && return
    rm -rf "$root"
    mkdir -p "$root"
    case $1 in
    noble) # Debian packages neither Ubuntu's newest script nor its keys
        local script=/usr/share/debootstrap/scripts/jammy
        debootstrap --variant=minbase --no-check-gpg --include=ca-certificates --components=main,universe \
            noble "$root" "${UBUNTU_MIRROR:-}" "$script" >"$root.log" 2>&1
        ;;
    *)
        debootstrap --variant=minbase --include=ca-certificates "$1" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} \
            >"$root.log" 2>&1
        ;;
    esac || { tail -5 "$root.log" >&2; return 1; }
    touch "$root/.ready"
}

status=0
for name in "$@"; do
    echo "== $name"
    make_root "$name"
    root=$roots/$name
    rm -rf "$root/src"
    mkdir -p "$root/src"
    git ls-files -z -co --exclude-standard | xargs -0 cp --parents -t "$root/src"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    mount -t proc proc "$root/proc"
    # libcmocka is all of the test packages that unit tests need.
    if chroot "$root" /bin/bash -ec 'cd /src && scripts/deps.sh build && apt-get install -y -qq \
        --no-install-recommends libcmocka-dev >/dev/null 2>&1 && make -s -j"$(nproc)" all unit' >"$root.build.log" 2>&1; then
        echo "   built; unit tests: $(grep -c '^ok' "$root.build.log") programs passed"
    else
        tail -30 "$root.build.log"
        status=1
    fi
    umount "$root/proc"
done
exit $status

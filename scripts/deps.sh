#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install what building and testing Skyvol needs on Debian 12, Debian 13 and Ubuntu 24.04.
#
#   scripts/deps.sh build   compilers and libraries: enough for `make`
#   scripts/deps.sh demo    also what `make demo` uses
#   scripts/deps.sh test    also what `make check` and the gates run
#   scripts/deps.sh bench   the same: what `make bench-mount` compares with is among it
#   scripts/deps.sh kubernetes   also what `make test-kubernetes` uses; Go 1.26 must be there
#
# Only what is absent is installed. Without root it prints the command that an administrator has to run.
# The suites that others wrote and no distribution packages (csi-sanity, versitygw, MinIO, pjdfstest,
# fsx) come by `go install` and `cargo install` into build/tools; where Go or cargo is missing or too
# old they are left out, and `make check` says so at its end.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-test}
case "$what" in build | demo | test | bench | kubernetes) ;; *)
    echo "usage: scripts/deps.sh build|demo|test|bench|kubernetes" >&2
    exit 2
    ;;
esac

build_packages=(build-essential pkg-config python3 ca-certificates libgrpc-dev libprotobuf-c-dev
    protobuf-c-compiler protobuf-compiler libprotobuf-dev libfuse3-dev fuse3 curl libcurl4-openssl-dev
    libssl-dev libsqlite3-dev libcjson-dev libexpat1-dev libmicrohttpd-dev uthash-dev zlib1g-dev
    libisal-dev nginx-light nginx-dev libpcre2-dev mount procps
    help2man)
demo_packages=(awscli) # or python3-boto3, where that is not packaged
test_packages=(libcmocka-dev clang clang-tidy clang-format llvm python3-venv fio s3cmd rclone
    s3fs sqlite3 attr acl git rsync stress-ng curl jq psmisc openssl)
kubernetes_packages=(containerd runc etcd-server containernetworking-plugins iptables iproute2 conntrack
    busybox-static python3-venv python3-yaml openssl fio)

missing_of() {
    local package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

# Ubuntu 24.04 packages no awscli: the demo takes boto3 there.
packaged_here() {
    local package
    while read -r package; do
        if [ "$package" = awscli ] && [[ $(apt-cache policy awscli 2>&1) == *"Candidate: (none)"* ]]; then
            package=python3-boto3
        fi
        echo "$package"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_of "$@")
    # What is installed instead is not missing; the lists may be absent yet, so ask again below.
    mapfile -t missing < <(missing_of $(printf '%s\n' "${missing[@]}" | packaged_here))
    [ "${#missing[@]}" -gt 0 ] || return 0
    if ! command -v apt-get >/dev/null; then
        echo "deps: no apt-get here: install these by your own package manager: ${missing[*]}" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "deps: as root run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "deps: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # The packages' own services must not start: tests bring up their servers on free ports.
    local guard=/usr/sbin/policy-rc.d made=
    if [ ! -e "$guard" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$guard" && chmod +x "$guard" && made=1
    fi
    apt-get update -qq || true
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | packaged_here)
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || {
        [ -z "$made" ] || rm -f "$guard"
        echo "deps: apt-get could not install all of: ${missing[*]}" >&2
        exit 1
    }
    [ -z "$made" ] || rm -f "$guard"
}

tools=$PWD/build/tools
# Built once per user and machine, linked into the tree: a clean clone need not build them again.
cache=${SKYVOL_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/skyvol-tools}

go_tool() { # name package
    [ -x "$cache/$1" ] || {
        echo "deps: building $1"
        GOBIN="$cache" GOFLAGS=-buildvcs=false go install "$2@${3:-latest}" >"$cache/$1.log" 2>&1 ||
            { echo "deps: go install $2 failed:"; tail -3 "$cache/$1.log"; return 1; }
    }
    ln -sf "$cache/$1" "$tools/$1"
}

cargo_tool() { # name
    [ -x "$cache/bin/$1" ] || {
        echo "deps: building $1"
        cargo install -q --root "$cache" "$1" >"$cache/$1.log" 2>&1 ||
            { echo "deps: cargo install $1 failed:"; tail -3 "$cache/$1.log"; return 1; }
    }
    ln -sf "$cache/bin/$1" "$tools/$1"
}

# The system's Python, so that a clone does not depend on a user's own interpreters.
make_venv() {
    build/venv/bin/python -c 'import boto3, cryptography, pytest, xdist' 2>/dev/null || {
        mkdir -p build && /usr/bin/python3 -m venv build/venv &&
            build/venv/bin/pip install -q pytest pytest-timeout pytest-xdist 'boto3[crt]' cryptography
    }
}

case "$what" in
build) install_packages "${build_packages[@]}" ;;
demo) install_packages "${build_packages[@]}" "${demo_packages[@]}" ;;
kubernetes)
    install_packages "${build_packages[@]}" "${kubernetes_packages[@]}"
    make_venv
    ;;
test | bench)
    install_packages "${build_packages[@]}" "${demo_packages[@]}" "${test_packages[@]}"
    mkdir -p "$tools" "$cache"
    left=()
    if command -v go >/dev/null; then
        go_tool csi-sanity github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity || left+=(csi-sanity)
        go_tool versitygw github.com/versity/versitygw/cmd/versitygw || left+=(versitygw)
        go_tool minio github.com/minio/minio || left+=(minio)
        go_tool grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl || left+=(grpcurl)
    else
        left+=("csi-sanity versitygw minio grpcurl (no Go here: see go.dev)")
    fi
    if command -v cargo >/dev/null; then
        cargo_tool fsx || left+=(fsx)
        cargo_tool pjdfstest || left+=(pjdfstest)
    else
        left+=("fsx pjdfstest (no cargo here: see rustup.rs)")
    fi
    make_venv || left+=("the integration tests (pip could not install pytest and boto3)")
    if [ "${#left[@]}" -gt 0 ]; then
        printf 'deps: left out: %s\n' "${left[@]}"
        [ -z "${REQUIRE_ALL:-}" ] || exit 1
    fi
    ;;
esac

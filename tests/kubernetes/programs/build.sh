#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Build what a cluster is made of from Go modules: the control plane, kubelet, kube-proxy, kubectl and
# the CSI sidecars; with "e2e" also Kubernetes' storage suite and the program that its pods run.
#
#   build.sh [e2e]     prints the directory that holds the programs
#
# They lie in the user's cache under a name that changes with go.mod and go.sum, so a second clone, or
# the next run, builds nothing. One module for all of them, so that what they share is compiled once:
# about ten minutes of CPU time the first time.
set -euo pipefail
cd "$(dirname "$0")"
cache=${SKYVOL_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/skyvol-tools}
out=$cache/kubernetes-$(cat go.mod go.sum | sha256sum | cut -c1-12)
mkdir -p "$out"
export CGO_ENABLED=0

# Only whole programs get their names: a build that was cut short leaves none behind.
build() { # packages...
    local work
    work=$(mktemp -d "$out/new.XXXXXX")
    nice -n 19 go build -buildvcs=false -ldflags "-s -w ${stamp:-}" -o "$work/" "$@" >&2 &&
        mv "$work"/* "$out/" || { rm -rf "$work"; return 1; }
    rmdir "$work"
}

absent() { # names...
    local name
    for name in "$@"; do [ -x "$out/$name" ] || return 0; done
    return 1
}

core=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)
wanted=("${core[@]}" csi-provisioner csi-resizer)
[ "${1:-}" != e2e ] || wanted+=(e2e-storage.test agnhost)
absent "${wanted[@]}" || { echo "$out"; exit 0; }
exec 9>"$out/lock"
flock 9

if absent "${core[@]}"; then
    version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
    IFS=. read -r major minor _ <<<"${version#v}"
    at=k8s.io/component-base/version
    stamp="-X $at.gitVersion=$version -X $at.gitMajor=$major -X $at.gitMinor=$minor -X $at.gitTreeState=clean"
    echo "kubernetes: building $version" >&2
    build "${core[@]/#/k8s.io/kubernetes/cmd/}"
fi
stamp=
if absent csi-provisioner csi-resizer; then
    echo "kubernetes: building csi-provisioner and csi-resizer" >&2
    build github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner \
        github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer
fi
if [ "${1:-}" = e2e ] && absent e2e-storage.test agnhost; then
    echo "kubernetes: building the storage suite" >&2
    build k8s.io/kubernetes/test/images/agnhost
    nice -n 19 go test -buildvcs=false -c -vet=off -ldflags "-s -w" -o "$out/e2e-storage.new" ./e2e >&2
    mv "$out/e2e-storage.new" "$out/e2e-storage.test"
fi
echo "$out"

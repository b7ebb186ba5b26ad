#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the second node of the test cluster sees: unshare --mount --net --cgroup --propagation private space.py DIR HIDDEN...

The mounts of the first node, and all file systems of type fuse, are unmounted here, lest they stay when they end there;
control groups begin at this process's own; and paths of which each node has its own are those in DIR. Then it
says so by the file DIR/ready, and stays: the namespaces are its.
"""
import ctypes
import os
import signal
import sys
from pathlib import Path

from machine import CGROUPS, HOST_PATHS, KUBELET, hierarchies, run

LAZY = 2  # MNT_DETACH
OWN = [KUBELET, *HOST_PATHS, Path("/run/netns")]


def mounted():
    """Mount point, type and options of the file system, the last mounted first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        for line in reversed(lines.readlines()):
            before, after = line.rstrip().split(" - ", 1)
            kind, _, options = after.split(" ", 2)
            yield before.split()[4].replace("\\040", " "), kind, options.split(",")


def hide(hidden):
    libc = ctypes.CDLL(None, use_errno=True)
    for point, kind, _ in list(mounted()):
        if kind == "fuse" or kind.startswith("fuse.") or any(
                point == path or point.startswith(f"{path}/") for path in hidden):
            libc.umount2(point.encode(), LAZY)


def own_groups():
    """In this control group namespace they are mounted anew: the root is then our own group."""
    tops = hierarchies()
    found = {point: (kind, options) for point, kind, options in mounted()}
    for top in tops:
        kind, options = found[str(top)]
        wanted = [o for o in options if kind == "cgroup" and o not in ("rw", "ro", "xattr") and
                  not o.startswith(("release_agent", "clone_children"))]
        if any(o.startswith("name=") for o in wanted):
            wanted = ["none", *wanted]
        run("umount", top)
        run("mount", "-t", kind, *(["-o", ",".join(wanted)] if wanted else []), kind, top)
    if tops == [CGROUPS]:  # version 2: processes are in leaves
        (CGROUPS / "init").mkdir(exist_ok=True)
        (CGROUPS / "init/cgroup.procs").write_text("0")


def main():
    directory = Path(sys.argv[1])
    hide([*sys.argv[2:], *map(str, OWN)])
    own_groups()
    for path in OWN:
        own = directory / str(path)[1:]
        own.mkdir(parents=True, exist_ok=True)
        path.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", own, path)
    run("mount", "--make-rshared", KUBELET)
    (directory / "ready").write_text(str(os.getpid()))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()

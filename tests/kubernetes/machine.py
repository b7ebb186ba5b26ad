# SPDX-License-Identifier: Apache-2.0
"""What the test cluster has on the machine, and how it is looked at: processes, mounts, control groups."""
import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

KUBELET = Path("/var/lib/kubelet")
LOGS = Path("/var/log/pods")
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
STATE = Path("/run/skyvol-kubernetes")  # short, for unix sockets
SECOND = "skyvol-node2"  # the second node's control group in each hierarchy
CGROUPS = Path("/sys/fs/cgroup")
# Of our manifests, of kubelet and of containerd; what was there before stays.
HOST_PATHS = [Path(p) for p in ("/run/skyvol", "/var/lib/skyvol", "/var/log/pods", "/var/log/containers", "/var/lib/cni",
                                "/run/containerd", "/opt/containerd")]


class ClusterError(Exception):
    pass


def run(*command, check=True, **options):
    options = {"text": True, "capture_output": True} | options
    done = subprocess.run([str(c) for c in command], check=False, **options)
    if check and done.returncode != 0:
        raise ClusterError(f"{' '.join(map(str, command[:4]))}: {done.stderr.strip()[-500:]}")
    return done


def free_port():
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        return s.getsockname()[1]


def wait(what, seconds, condition):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"not within {seconds} s: {what}")
        time.sleep(0.1)


class PodLogs:
    """What pods log from now on, also those that go meanwhile: kubelet removes their logs with them."""

    def __init__(self, namespace):
        self.namespace, self.files, self.ended = namespace, {}, threading.Event()
        self.look()
        for _, file in self.files.values():
            file.seek(0, os.SEEK_END)
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def look(self):
        with contextlib.suppress(FileNotFoundError):  # of a pod that goes just now: the next look finds the others
            self.take()

    def take(self):
        for path in LOGS.glob(f"{self.namespace}_*/*/*.log"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if (status.st_dev, status.st_ino) not in self.files:
                    self.files[status.st_dev, status.st_ino] = (path.relative_to(LOGS), path.open(errors="replace"))

    def follow(self):
        while not self.ended.wait(0.2):
            self.look()

    def end(self):
        """Pairs of a name and what the log holds."""
        self.ended.set()
        self.thread.join()
        self.look()
        found = []
        for path, file in self.files.values():
            with file:
                found.append(("-".join(path.parts), file.read()))
        return found


def start_time(pid):
    """In ticks since boot; empty of what has ended."""
    with contextlib.suppress(OSError):
        os.waitpid(int(pid), os.WNOHANG)  # it may be a child of ours
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    return ""


def mounts(prefix, kind=None, pid="self"):
    """Mount points at and below `prefix`, the deepest first, that the process sees; of one type of file system."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as lines:
        split = [line.split() for line in lines]
    found = [fields[4].replace("\\040", " ") for fields in split
             if not kind or fields[fields.index("-") + 1] == kind]
    return sorted((p for p in found if p == str(prefix) or p.startswith(f"{prefix}/")), reverse=True)


def second_pid():
    """Of the process whose namespaces are the second node's; none where there is no such node."""
    with contextlib.suppress(OSError, ValueError):
        pid, began = (STATE / "node2" / "pid").read_text().split()
        if began and began == start_time(pid):
            return int(pid)
    return None


def hierarchies():
    """Where control groups are: the one of version 2, or those of version 1."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    return [p for p in CGROUPS.iterdir() if (p / "cgroup.procs").exists() and not p.is_symlink()]


def remove_groups(top):
    """A group without processes and all below it."""
    for group, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(group)


def mounter_tops():
    """Where holders put the groups of their mounters, of both nodes."""
    return [CGROUPS / memory / node / "skyvol" for memory in ("", "memory") for node in ("", SECOND)]


def mounter_groups():
    return [p for top in mounter_tops() for p in top.glob("*/")]


def end_mounters():
    """Mounters outlive their holder's pod; each is in a group of its own."""
    for group in mounter_groups():
        with contextlib.suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                os.kill(int(pid), 9)
            wait("end of mounters", 5, lambda group=group: not (group / "cgroup.procs").read_text())
            group.rmdir()
    for top in mounter_tops():
        with contextlib.suppress(OSError):
            os.rmdir(top)

# SPDX-License-Identifier: Apache-2.0
"""The mounters that are compared: how each is started, what it used, how it is ended.

To compare another one, add a line to MOUNTERS and a function that gives its command.
"""
import collections
import os
import pathlib
import shutil
import signal
import subprocess
import time

from store import BUILD, BenchError, environment, tool

TICK = os.sysconf("SC_CLK_TCK")
MOUNT_SECONDS = 40
END_SECONDS = 60


LIKE_PEERS = "attr_timeout=60"  # GeeseFS keeps attributes for 60 s, rclone for 5 minutes; s3fs is told 60 s below


def skyvol(*more):
    def command(place):
        where = f"s3://{place.bucket}"
        options = ",".join((f"endpoint={place.endpoint}", "path_style", *more))
        return [BUILD / "bin/skyvol-mount", where, place.mount, "-f", "-o", options]
    return command


def s3fs(place):
    if not tool("s3fs"):
        return None
    temporary = place.scratch / "s3fs"
    temporary.mkdir()
    options = (f"url={place.endpoint},use_path_request_style,parallel_count=20,multireq_max=20,"
               f"max_stat_cache_size=200000,stat_cache_expire=60,tmpdir={temporary}")
    return [tool("s3fs"), place.bucket, place.mount, "-f", "-o", options]


def rclone(place):
    if not tool("rclone"):
        return None
    return [tool("rclone"), "mount", "--config", "/dev/null", "--s3-provider", "Other", "--s3-env-auth",
            "--s3-endpoint", place.endpoint, "--s3-force-path-style", "--s3-no-check-bucket",
            "--use-server-modtime", "--vfs-cache-mode", "full", "--vfs-write-back", "0s", "--transfers", "16",
            "--checkers", "16", "--cache-dir", place.scratch / "rclone", f":s3:{place.bucket}", place.mount]


def geesefs(place):
    if not tool("geesefs"):
        return None
    return [tool("geesefs"), "--endpoint", place.endpoint, "--region", "us-east-1", "--memory-limit", "1000",
            "--dir-mode", "0777", "--file-mode", "0666", "-f", place.bucket, place.mount]


def null(place):
    argv = [BUILD / "tests/bench/mount/nullfs", "-f", place.mount]
    return argv + (["-o", f"load={place.load}"] if place.load else [])


MOUNTERS = {"skyvol-fsync": skyvol("sync=fsync", LIKE_PEERS), "skyvol-close": skyvol("sync=close", LIKE_PEERS),
            "skyvol-default": skyvol(), "skyvol-list": skyvol("sync=fsync", LIKE_PEERS, "attrs=list"),
            "geesefs": geesefs, "s3fs": s3fs, "rclone": rclone, "null": null}
PEERS = ("geesefs", "s3fs", "rclone")
TOOLS = (*MOUNTERS, "raw")


def available(name):
    place = Place("http://127.0.0.1:1", "b", pathlib.Path("/nonexistent"), pathlib.Path("/nonexistent"))
    if name in PEERS:
        return tool(name) is not None
    return name == "raw" or pathlib.Path(str(MOUNTERS[name](place)[0])).exists()


class Place:
    """Where and what to mount."""

    def __init__(self, endpoint, bucket, mount, scratch, load=None):
        self.endpoint, self.bucket, self.mount = endpoint, bucket, mount
        self.scratch, self.load = scratch, load


def is_mounted(point):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == str(point) for line in table)


def family(pid):
    """A process and what it has started that still runs."""
    children = collections.defaultdict(list)
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            children[int(stat.rpartition(")")[2].split()[1])].append(int(entry))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children[found[-1]]
    return found


def cpu_seconds(pid):
    total = 0
    for member in family(pid):
        try:
            fields = pathlib.Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(f) for f in fields[11:15])
    return total / TICK


def peak_mib(pid):
    total = 0
    for member in family(pid):
        try:
            status = pathlib.Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1])
    return total / 1024


class Mount:
    """A mounter that runs in the foreground with its mount point up; cold, since both are new."""

    def __init__(self, name, directory, endpoint, bucket, load=None):
        self.name = name
        scratch = pathlib.Path(directory) / "scratch"
        self.point = pathlib.Path(directory) / "mnt"
        self.point.mkdir(exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        argv = MOUNTERS[name](Place(endpoint, bucket, self.point, scratch, load))
        self.log = pathlib.Path(directory) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=environment(
                                                AWSACCESSKEYID=environment()["AWS_ACCESS_KEY_ID"],
                                                AWSSECRETACCESSKEY=environment()["AWS_SECRET_ACCESS_KEY"]))
        self.last = {"cpu": 0.0, "rss": 0.0}
        end = time.monotonic() + MOUNT_SECONDS
        while not is_mounted(self.point):
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise BenchError(f"{name} does not mount: {self.log_end()}")
            time.sleep(0.01)

    def log_end(self):
        return self.log.read_text(errors="replace").strip()[-300:]

    def used(self):
        """CPU seconds and peak memory up to now; of a mounter that was killed, up to then."""
        if self.process.poll() is None:
            self.last = {"cpu": cpu_seconds(self.process.pid), "rss": peak_mib(self.process.pid)}
        return self.last

    def kill(self):
        """Also frees what waits in the kernel for this mounter."""
        if self.process.poll() is None:
            self.used()
            for member in reversed(family(self.process.pid)):
                try:
                    os.kill(member, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self.process.wait(20)
        while is_mounted(self.point):
            subprocess.run(["umount", "-l", self.point], check=False, capture_output=True, timeout=20)

    def end(self):
        """Unmount and wait for what the mounter still writes. False: it had to be killed."""
        for _ in range(50):
            done = subprocess.run(["umount", self.point], check=False, capture_output=True, timeout=END_SECONDS)
            if done.returncode == 0 or not is_mounted(self.point):
                break
            time.sleep(0.1)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        if is_mounted(self.point):
            self.kill()
        return True

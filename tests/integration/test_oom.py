# SPDX-License-Identifier: Apache-2.0
"""The kernel kills the mounter at its memory limit, with its dirty buffers full: programs see a pause.

The mounter is in the holder's cgroup with memory= as its limit. Others in that cgroup ask for the rest: then the
mounter is killed, and what it has kept for its successor (dirty bytes, requests, tables) is charged to the same limit.
"""
import glob
import os
import pathlib
import random
import subprocess
import threading
import time

import pytest

from rig import Rig, stuck_processes, wait_for
from test_holder import cgroup_roots

MIB = 1 << 20
MEMORY = 64 * MIB
POOL = 20 * MIB  # what has to be dirty at least; a third of memory= may be

# For each line with a mounter's pid: fills its cgroup with files in memory, which belong to no process, until it
# is gone. One process from the beginning on: who forks while files of the mount are open closes them once more, and
# with sync=close that waits for the store.
HOG = """
while read -r pid; do
    (
        echo 0 >"$1/cgroup.procs"
        i=0
        while [ -d "/proc/$pid" ] && [ $i -lt $2 ]; do
            i=$((i + 1))
            dd if=/dev/zero of="$3.$i" bs=1M count=1 2>/dev/null
        done
    )
    rm -f "$3".*
    if [ -d "/proc/$pid" ]; then echo alive; else echo gone; fi
done
"""


class Hog:
    def __init__(self, held, group):
        self.held, self.files = held, f"/dev/shm/skyvol-oom-{os.getpid()}"
        self.process = subprocess.Popen(
            ["sh", "-c", HOG, "hog", group / "v1", str(4 * MEMORY // MIB), self.files], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.communicate()
        for path in glob.glob(self.files + ".*"):
            os.unlink(path)

    def status(self):
        return self.held.client.status("v1")

    def kill(self):
        """Until a successor is there."""
        before = self.status()
        for _ in range(5):  # the kernel may have taken one of the hog's own
            self.process.stdin.write(f"{before['mounter']}\n")
            self.process.stdin.flush()
            if self.process.stdout.readline() == "gone\n":
                break
        try:
            wait_for(lambda: self.status()["restarts"] > before["restarts"]
                     and self.status()["state"] == "running", "successor")
        except RuntimeError as error:
            raise AssertionError(self.held.log.read_text()[-3000:]) from error


@pytest.fixture
def cgroup():
    for point, limit in cgroup_roots():
        root = pathlib.Path(point, f"skyvol-oom-{os.getpid()}")
        root.mkdir()
        if (root / limit).exists():
            yield root
            for left in (*root.glob("*/"), root):  # the holder takes along what is empty
                if left.is_dir():
                    left.rmdir()
            return
        root.rmdir()
    pytest.skip("no cgroup with a memory limit can be made here")


class Writer(threading.Thread):
    """Makes files and reads them, and knows what must be in them."""

    def __init__(self, top, number, sizes):
        super().__init__()
        self.top, self.random, self.sizes = top / f"w{number}", random.Random(number), sizes
        self.files, self.failed, self.ending = {}, None, threading.Event()
        self.written = 0

    def run(self):
        try:
            self.top.mkdir()
            while not self.ending.is_set():
                name, data = self.top / f"f{self.random.randrange(30)}", self.random.randbytes(
                    self.random.choice(self.sizes))
                with open(name, "wb", buffering=0) as file:
                    at = 0
                    while at < len(data):
                        done = file.write(data[at:at + 131072])
                        at += done
                        self.written += done
                self.files[name] = data
                if self.random.random() < 0.3 and name.read_bytes() != data:
                    raise AssertionError(f"{name} is not what was written")
        except (OSError, AssertionError) as error:
            self.failed = repr(error)


def finish(rig, held, writers):
    """All that was acknowledged is on the mount and, after an unmount, in the bucket."""
    for writer in writers:
        writer.ending.set()
    for writer in writers:
        writer.join(120)
        assert not writer.is_alive(), stuck_processes()
    assert [w.failed for w in writers if w.failed] == []
    for writer in writers:
        for name, data in writer.files.items():
            assert name.read_bytes() == data, name
    held.unmount(120000)
    objects = rig.objects()
    for writer in writers:
        for name, data in writer.files.items():
            assert objects[str(name.relative_to(held.point))] == data, name
    assert "conflict" not in held.log.read_text()


@pytest.mark.full
@pytest.mark.parametrize("resend", ["true", "false"])
@pytest.mark.parametrize("sync", ["fsync", "close"])
def test_killed_for_memory_with_full_buffers_nothing_is_lost(cgroup, resend, sync):
    with Rig() as rig:
        held = rig.held("--cgroup", cgroup, f"--resend={resend}", "--crash-limit", "5",
                        memory_bytes=MEMORY, sync=sync, memory=MEMORY)
        rig.proxy.add("stall", op="PUT|CREATE_UPLOAD|UPLOAD_PART|COMPLETE", seconds=15)
        writers = [Writer(held.point, i, (3_000, 100_000, 8_000_000)) for i in range(4)]
        with Hog(held, cgroup) as hog:
            for writer in writers:
                writer.start()
            if sync == "fsync":  # the store takes nothing: all there is room for is dirty
                wait_for(lambda: sum(w.written for w in writers) >= POOL, "full buffers", 30)
            else:
                time.sleep(2)
            hog.kill()
            rig.proxy.clear()
            for _ in range(3):  # and while it is being sent
                time.sleep(2)
                hog.kill()
            assert held.log.read_text().count("killed for lack of memory") >= 4
            finish(rig, held, writers)


@pytest.mark.full
def test_a_load_of_any_kind_stays_within_its_memory(cgroup):
    with Rig() as rig:
        held = rig.held("--cgroup", cgroup, memory_bytes=MEMORY, sync="fsync", memory=MEMORY)
        writers = [Writer(held.point, i, (3_000, 100_000, 3_000_000, 20_000_000))
                   for i in range(6)]
        for writer in writers:
            writer.start()
        time.sleep(20)
        finish(rig, held, writers)
        assert "mounter replaced" not in held.log.read_text()

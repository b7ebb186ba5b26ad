# SPDX-License-Identifier: Apache-2.0
"""No file with a hole: neither when the mounter dies in mid-write, nor when kept bytes are gone."""
import array
import contextlib
import errno
import mmap
import os
import random
import signal
import struct
import subprocess
import threading
import time

import pytest

import holder_client
from conftest import program, stop_whole, wait_until
from rig import fails
from test_kill_mounter import mount  # noqa: F401  pylint: disable=unused-import

KILLS = 30
LARGEST = 3_000_000
NUMBERS = array.array("Q", range(LARGEST)).tobytes()


def stream(tag, words):
    """`words` words of 8 bytes: their number, and `tag` in the upper half."""
    out = bytearray(NUMBERS[:8 * words])
    for i, byte in enumerate(struct.pack("<I", tag)):
        out[4 + i::8] = bytes((byte,)) * words
    return bytes(out)


class Observer:
    """Reads the store's objects by a mount of its own, again and again: each is a prefix."""

    def __init__(self, workdir, contents):
        self.point = workdir / "observer"
        self.point.mkdir()
        self.contents = contents  # by tag
        self.bad, self.seen, self.ending = [], 0, threading.Event()
        self.process = subprocess.Popen(
            [program("skyvol-mount"), f"dir://{workdir}/store/bucket", self.point, "-f", "-o",
             "ro,attr_timeout=0"])
        wait_until(lambda: os.path.ismount(self.point), what="observer", process=self.process)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def look(self):
        for name in os.listdir(self.point):
            try:
                data = (self.point / name).read_bytes()
            except OSError as error:  # it was replaced or removed while we read it
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    self.bad.append(f"{name}: {error}")
                continue
            self.seen += 1
            if len(data) >= 8:
                tag = struct.unpack("<I", data[4:8])[0]
                if tag not in self.contents or not self.contents[tag].startswith(data):
                    self.bad.append(f"{name}: {len(data)} bytes, tag {tag}")

    def run(self):
        while not self.ending.is_set():
            self.look()
            time.sleep(0.02)

    def end(self):
        self.ending.set()
        self.thread.join(60)
        self.look()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0


class Writer(threading.Thread):
    """New and replaced files, one after the other, by writes of up to 4 MiB."""

    def __init__(self, number, target, contents):
        super().__init__()
        self.number, self.target, self.contents = number, target, contents
        self.ending, self.failed, self.written = threading.Event(), None, {}

    def one(self, count):
        tag = self.number * 1000 + count
        data = stream(tag, random.choice((3000, 200_000, 1_500_000, LARGEST)))
        self.contents[tag] = data
        path = self.target / f"w{self.number}-{count % 3}"
        self.written.pop(path, None)
        with open(path, "wb", buffering=0) as file:
            at = 0
            while at < len(data):
                size = random.choice((4096, 100_000, 1 << 20, 1 << 22))
                at += file.write(data[at:at + size])
                if random.random() < 0.2:
                    os.fsync(file)
        self.written[path] = data

    def run(self):
        count = 0
        try:
            while not self.ending.is_set():
                self.one(count)
                count += 1
        except OSError as error:
            self.failed = error


@pytest.mark.parametrize("resend", ["true", "false"])
def test_no_hole_appears_when_the_mounter_dies_in_mid_write(mount, workdir, resend):
    one = mount(f"--resend={resend}", sync="close")
    contents = {}
    observer = Observer(workdir, contents)
    writers = [Writer(i, one.target, contents) for i in (1, 2, 3)]
    for writer in writers:
        writer.start()
    kills = 0
    while kills < KILLS and not any(w.failed for w in writers):
        time.sleep(random.uniform(0.02, 0.6))
        kills += one.kill() is not None
    for writer in writers:
        writer.ending.set()
    for writer in writers:
        writer.join(120)
    assert [w.failed for w in writers] == [None] * 3
    observer.end()
    print(f"resend={resend}: {kills} kills, {len(contents)} files written, {observer.seen} looks")
    assert observer.bad == []
    assert observer.seen > 20
    one.unmount()
    one.mount()
    for writer in writers:
        for path, data in writer.written.items():
            assert path.read_bytes() == data
    assert "conflict" not in one.log.read_text()
    one.unmount()


@contextlib.contextmanager
def dead(one):
    """The mounter stands still, and is killed at the end; its kept memory, by name."""
    names, fds = one.client.fetch("v1")
    pid = one.client.status("v1")["mounter"]
    stop_whole(pid)
    try:
        yield dict(zip(names, fds))
    finally:
        holder_client.kill9(pid)
        for fd in fds:
            os.close(fd)
    os.statvfs(one.target)


def damage(regions):
    """One bit of every byte that was written with 'dirty'."""
    size = os.fstat(regions["pool"]).st_size
    with mmap.mmap(regions["pool"], size) as pool:
        at = pool.find(b"dirty")
        assert at >= 0
        while at >= 0:
            pool[at] ^= 1
            at = pool.find(b"dirty", at + 4096)


def lose(regions):
    os.ftruncate(regions["pool"], 0)


@pytest.mark.parametrize("harm", [damage, lose])
def test_a_file_whose_kept_bytes_are_gone_is_lost_and_not_published(mount, harm):
    one = mount(sync="fsync")
    old, new, whole = (one.target / name for name in ("old", "new", "whole"))
    old.write_bytes(b"0" * 300_000)
    whole.write_bytes(b"1" * 300_000)
    for path in (old, whole):
        with open(path, "rb+") as file:
            os.fsync(file)
    files = [os.open(old, os.O_RDWR), os.open(new, os.O_RDWR | os.O_CREAT)]
    clean = os.open(whole, os.O_RDWR)
    for file in files:
        os.pwrite(file, b"dirty" * 20_000, 100_000)
    with dead(one) as regions:
        harm(regions)
    for file in files:
        assert fails(os.pwrite, file, b"more", 0) == errno.EIO
        assert fails(os.fsync, file) == errno.EIO
        assert fails(os.ftruncate, file, 10) == errno.EIO
    assert fails(os.rename, new, old) == errno.EIO
    for file in files:
        assert fails(os.fsync, file) == errno.EIO
        assert fails(os.close, file) == errno.EIO
    os.pwrite(clean, b"2", 0)
    os.fsync(clean)
    os.close(clean)
    time.sleep(1.2)  # what the kernel believes of names
    assert old.read_bytes() == b"0" * 300_000
    assert not new.exists()
    assert whole.read_bytes() == b"2" + b"1" * 299_999
    new.write_bytes(b"again")  # the name is free for another file
    one.unmount()
    one.mount()
    assert sorted(os.listdir(one.target)) == ["new", "old", "whole"]
    assert old.read_bytes() == b"0" * 300_000
    assert new.read_bytes() == b"again"
    assert "could not be kept" in one.log.read_text()
    one.unmount()


def test_nothing_goes_on_without_the_table_of_inodes(mount):
    """Rather no mount than one that takes one file for another."""
    one = mount(sync="fsync")
    (one.target / "file").write_bytes(b"x")
    names, fds = one.client.fetch("v1")
    regions = dict(zip(names, fds))
    pid = one.client.status("v1")["mounter"]
    stop_whole(pid)
    os.ftruncate(regions["inodes"], 0)
    holder_client.kill9(pid)
    wait_until(lambda: "'inodes' is missing" in one.log.read_text(), what="the refusal")
    for fd in fds:
        os.close(fd)

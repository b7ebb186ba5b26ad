# SPDX-License-Identifier: Apache-2.0
"""What POSIX promises and object stores do not have: space, holes, special files, attributes, names.

Most tests mount a directory store, change files, and look again after a remount: what is seen then
is in the store.
"""
import ctypes
import errno
import mmap
import os
import subprocess

import pytest
from conftest import BIN, program, wait_until

HELPER = BIN.parent / "tests" / "unit" / "mounter" / "test_takeover"
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def fallocate(file, mode, offset, length):
    check(libc.fallocate(file, mode, ctypes.c_long(offset), ctypes.c_long(length)))


class Volume:
    """A directory store with one bucket, mounted; again() mounts it anew."""

    def __init__(self, workdir, processes):
        self.processes, self.target, self.count = processes, workdir / "target", 0
        self.target.mkdir()
        self.location = f"dir://{workdir}/store/bucket"
        subprocess.run([HELPER, "--make-bucket", f"dir://{workdir}/store", "bucket"], check=True,
                       timeout=20)
        self.options = ()
        self.process = None

    def mount(self, *options):
        self.count += 1
        self.options = options
        self.process = self.processes.start(
            [program("skyvol-mount"), self.location, self.target, "-f", *options],
            f"mount{self.count}")
        wait_until(lambda: os.path.ismount(self.target), what="mount", process=self.process)
        return self.target

    def unmount(self):
        subprocess.run(["umount", self.target], check=True, timeout=20)
        self.process.wait(20)

    def again(self):
        self.unmount()
        return self.mount(*self.options)


@pytest.fixture
def volume(workdir, processes):
    return Volume(workdir, processes)


@pytest.fixture
def target(volume):
    return volume.mount()


def opened(path, flags=os.O_RDWR | os.O_CREAT):
    return os.open(path, flags, 0o644)


def test_a_punched_range_reads_as_zeros_before_and_after_it_is_in_the_store(volume, target):
    content = bytearray(os.urandom(3 * MIB))
    (target / "f").write_bytes(content)
    target = volume.again()
    file = opened(target / "f")
    for start, length in ((4097, 700000), (MIB, MIB), (5, 1), (2 * MIB + 1, 2 * MIB)):
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, start, length)
        end = min(start + length, len(content))
        content[start:end] = bytes(end - start)
        assert os.pread(file, 4 * MIB, 0) == content
    os.pwrite(file, b"over", MIB + 77)
    content[MIB + 77:MIB + 81] = b"over"
    assert os.pread(file, 4 * MIB, 0) == content
    os.fsync(file)
    assert os.pread(file, 4 * MIB, 0) == content
    fallocate(file, ZERO_RANGE, 3 * MIB - 10, 20)
    content[3 * MIB - 10:] = bytes(20)
    os.close(file)
    assert (volume.again() / "f").read_bytes() == content


def test_a_hole_of_any_length_holds_no_memory(target):
    """More is punched than the mount has memory for."""
    file = opened(target / "f")
    os.pwrite(file, b"begin", 0)
    os.ftruncate(file, 1 << 40)
    fallocate(file, PUNCH_HOLE | KEEP_SIZE, 0, 1 << 40)
    assert os.pread(file, 10, 0) == bytes(10)
    assert os.fstat(file).st_size == 1 << 40
    os.ftruncate(file, 10)
    os.close(file)
    assert (target / "f").read_bytes() == bytes(10)


def test_fallocate_grows_a_file_or_keeps_its_size(volume, target):
    file = opened(target / "f")
    fallocate(file, 0, 0, 10000)
    assert os.fstat(file).st_size == 10000
    fallocate(file, KEEP_SIZE, 0, 50000)
    assert os.fstat(file).st_size == 10000
    fallocate(file, ZERO_RANGE | KEEP_SIZE, 9000, 50000)
    assert os.fstat(file).st_size == 10000
    fallocate(file, ZERO_RANGE, 9000, 2000)
    assert os.fstat(file).st_size == 11000
    for mode in (COLLAPSE, INSERT):
        with pytest.raises(OSError) as failed:
            fallocate(file, mode, 0, 4096)
        assert failed.value.errno == errno.EOPNOTSUPP
    os.close(file)
    assert (volume.again() / "f").read_bytes() == bytes(11000)


def test_holes_and_data_are_found(target):
    file = opened(target / "f")
    os.pwrite(file, b"x" * 100, MIB)
    os.ftruncate(file, 4 * MIB)
    seek = os.lseek
    assert seek(file, 0, os.SEEK_DATA) == MIB
    assert seek(file, MIB, os.SEEK_HOLE) == MIB + 100
    assert seek(file, 0, os.SEEK_HOLE) == 0
    with pytest.raises(OSError) as failed:
        seek(file, 2 * MIB, os.SEEK_DATA)
    assert failed.value.errno == errno.ENXIO
    os.fsync(file)  # an object has no holes
    assert seek(file, 0, os.SEEK_DATA) == 0
    assert seek(file, 0, os.SEEK_HOLE) == 4 * MIB
    fallocate(file, PUNCH_HOLE | KEEP_SIZE, MIB, MIB)
    os.pwrite(file, b"y", MIB + 500)
    assert seek(file, 7, os.SEEK_HOLE) == MIB
    assert seek(file, MIB, os.SEEK_DATA) == MIB + 500
    assert seek(file, MIB + 500, os.SEEK_HOLE) == MIB + 501
    assert seek(file, MIB + 501, os.SEEK_DATA) == 2 * MIB
    assert seek(file, 2 * MIB, os.SEEK_HOLE) == 4 * MIB
    with pytest.raises(OSError) as failed:
        seek(file, 4 * MIB, os.SEEK_HOLE)
    assert failed.value.errno == errno.ENXIO
    os.close(file)


def test_a_mapped_file_sees_the_hole_and_can_be_written_over_it(volume, target):
    (target / "f").write_bytes(b"a" * 65536)
    file = opened(target / "f")
    with mmap.mmap(file, 65536) as mapped:
        assert mapped[5000] == ord("a")
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, 4096, 8192)
        assert mapped[5000] == 0 and mapped[4095] == ord("a") and mapped[12288] == ord("a")
        mapped[5000] = ord("b")
        mapped.flush()
    os.close(file)
    content = (volume.again() / "f").read_bytes()
    assert content == b"a" * 4096 + bytes(904) + b"b" + bytes(7287) + b"a" * (65536 - 12288)


def test_what_is_written_over_a_cut_file_while_it_is_published_stays(target):
    """A block that went and came back is not the block whose bytes were sent."""
    path = target / "f"
    for i in range(60):
        file = opened(path)
        os.pwrite(file, bytes([i + 1]) * 300000, 0)
        child = os.fork()
        if child == 0:
            os.fsync(file)
            os._exit(0)
        os.ftruncate(file, 0)
        os.pwrite(file, bytes([i + 101]) * 1000, 0)
        os.waitpid(child, 0)
        os.fsync(file)
        os.close(file)
        assert path.read_bytes() == bytes([i + 101]) * 1000

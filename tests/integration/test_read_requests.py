# SPDX-License-Identifier: Apache-2.0
"""What reading costs: GETs, and bytes that come with them, for each way of going through a file."""
import concurrent.futures
import mmap
import os
import random

import pytest
from rig import BUCKET

KIB, MIB = 1 << 10, 1 << 20
SIZE = 24 * MIB + 12345
GRAIN = 64 * KIB


@pytest.fixture(scope="module")
def body(rig):
    content = random.Random(11).randbytes(SIZE)
    rig.client().put_object(Bucket=BUCKET, Key="file", Body=content)
    return content


class Cost:
    """GETs and their bytes within a with statement."""

    def __init__(self, rig):
        self.proxy = rig.proxy

    def now(self):
        return self.proxy.seen["GET"], self.proxy.bytes["GET"]

    def __enter__(self):
        self.before = self.now()
        return self

    def __exit__(self, *error):
        self.gets, self.bytes = (b - a for a, b in zip(self.before, self.now()))


def direct(fd, offset, size):
    """Not from the kernel's pages, nor read ahead by it."""
    buffer = mmap.mmap(-1, size)
    return buffer[:os.preadv(fd, [buffer], offset)]


def opened(mount, flags=os.O_RDONLY):
    return os.fdopen(os.open(mount.point / "file", flags), "rb", buffering=0)


def read_all(mount):
    """From the mounter, whatever the kernel has."""
    with opened(mount) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return b"".join(iter(lambda: file.read(MIB), b""))


def test_from_end_to_end_each_byte_comes_once(rig, body):
    mount = rig.mount()
    with Cost(rig) as cost:
        assert read_all(mount) == body
    assert cost.bytes == SIZE
    assert cost.gets <= 24
    with Cost(rig) as cost:  # again, out of memory
        assert read_all(mount) == body
    assert (cost.gets, cost.bytes) == (0, 0)
    assert mount.end() == 0


def test_backwards_each_byte_comes_once_too(rig, body):
    mount = rig.mount()
    step = 128 * KIB
    with opened(mount, os.O_RDONLY | os.O_DIRECT) as file, Cost(rig) as cost:
        for at in range(SIZE // step * step, -1, -step):
            assert direct(file.fileno(), at, step) == body[at:at + step], at
    assert cost.bytes <= SIZE + 4 * GRAIN
    assert cost.gets <= SIZE // step + 1
    assert mount.end() == 0


def test_in_strides_what_is_skipped_is_not_fetched(rig, body):
    mount = rig.mount()
    with opened(mount, os.O_RDONLY | os.O_DIRECT) as file, Cost(rig) as cost:
        for at in range(MIB, SIZE - MIB, MIB):
            assert direct(file.fileno(), at, 4096) == body[at:at + 4096], at
    assert cost.gets == len(range(MIB, SIZE - MIB, MIB))
    assert cost.bytes == cost.gets * GRAIN
    assert mount.end() == 0


def test_scattered_readers_ask_for_little_and_for_nothing_twice(rig, body):
    mount = rig.mount()

    def scattered(seed):
        pick = random.Random(seed)
        with opened(mount, os.O_RDONLY | os.O_DIRECT) as file:
            for _ in range(20):
                at = pick.randrange(0, SIZE // 4096) * 4096
                assert direct(file.fileno(), at, 4096) == body[at:at + 4096], at

    with Cost(rig) as cost, concurrent.futures.ThreadPoolExecutor(16) as pool:
        for one in [pool.submit(scattered, seed) for seed in range(16)]:
            one.result(60)
    assert cost.gets <= 16 * 20
    assert cost.bytes <= SIZE  # a place that two want is fetched once
    assert mount.end() == 0


def test_readers_of_the_same_bytes_at_once_cost_as_much_as_one(rig, body):
    mount = rig.mount()
    with Cost(rig) as cost, concurrent.futures.ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(read_all, mount) for _ in range(8)]:
            assert one.result(60) == body
    assert cost.bytes <= SIZE + MIB
    assert cost.gets <= 60
    assert mount.end() == 0


def test_the_next_mount_reads_from_the_disk(rig, body):
    cache = rig.directory / "cache"
    cache.mkdir()
    for expected in (SIZE, 0):
        mount = rig.mount(cache=cache, cache_size="64MiB")
        with Cost(rig) as cost:
            assert read_all(mount) == body
        assert cost.bytes == expected
        assert mount.end() == 0


def test_beside_a_writer_only_what_is_not_written_is_fetched(rig, body):
    rig.client().put_object(Bucket=BUCKET, Key="both", Body=body)
    mount = rig.mount(sync="close")
    fresh = b"w" * MIB
    path = mount.point / "both"
    writer = os.open(path, os.O_WRONLY)
    try:
        with Cost(rig) as cost, open(path, "rb", buffering=0) as reader:
            for at in (3 * MIB, 9 * MIB, 15 * MIB):
                assert os.pwrite(writer, fresh, at) == MIB
                body = body[:at] + fresh + body[at + MIB:]
                os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                reader.seek(0)
                assert b"".join(iter(lambda: reader.read(MIB), b"")) == body
            assert cost.now()[1] - cost.before[1] <= SIZE  # once for all three
    finally:
        os.close(writer)
    assert path.read_bytes() == body
    assert mount.end() == 0
    assert rig.client().get_object(Bucket=BUCKET, Key="both")["Body"].read() == body


def test_a_reader_that_stops_early_does_not_fetch_the_rest(rig, body):
    mount = rig.mount()
    with Cost(rig) as cost:
        with opened(mount) as file:
            assert file.read(64 * KIB) == body[:64 * KIB]
    assert cost.bytes <= 10 * MIB
    assert mount.end() == 0

# SPDX-License-Identifier: Apache-2.0
"""Reading: right bytes of one version whatever happens, few requests, bounded memory."""
import concurrent.futures
import errno
import mmap
import os
import random
import time

import pytest
from conftest import wait_until
from rig import BUCKET

MIB = 1 << 20


def put(rig, key, size, seed=1):
    pick = random.Random(seed)
    body = b"".join(pick.randbytes(min(MIB, size - at)) for at in range(0, size, MIB))
    rig.client().put_object(Bucket=BUCKET, Key=key, Body=body)
    return body


def own_kib(pid):
    """Memory that is the process's own, without the pages of programs and libraries."""
    with open(f"/proc/{pid}/status") as status:
        return sum(int(line.split()[1]) for line in status
                   if line.startswith(("RssAnon", "RssShmem")))


def direct_read(path, offset, size):
    """Not from the kernel's pages."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, size)
        got = os.preadv(fd, [buffer], offset)
        return buffer[:got]
    finally:
        os.close(fd)


def test_a_file_read_from_end_to_end_is_right_and_costs_few_requests(rig):
    body = put(rig, "large", 48 * MIB + 12345)
    mount = rig.mount()
    before = rig.proxy.seen["GET"]
    with open(mount.point / "large", "rb") as file:
        while chunk := file.read(1 << 20):
            assert chunk == body[:len(chunk)]
            body = body[len(chunk):]
    assert not body
    assert rig.proxy.seen["GET"] - before <= 110  # 48 by MiB, were each fetched once by itself
    assert mount.end() == 0


def test_many_places_of_one_file_are_read_at_once_in_little_memory(rig):
    size = 40 * MIB + 4321
    body = put(rig, "busy", size, seed=2)
    mount = rig.mount(memory="24MiB")  # 8 MiB of it for what is read

    def stream(start):
        for at in range(start, start + 4 * MIB, 128 << 10):
            got = direct_read(mount.point / "busy", at, 128 << 10)
            assert got == body[at:at + (128 << 10)], at

    def scattered(seed):
        pick = random.Random(seed)
        for _ in range(60):
            at = pick.randrange(0, size // 4096) * 4096
            assert direct_read(mount.point / "busy", at, 4096) == body[at:at + 4096], at

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        work = [pool.submit(stream, i * 5 * MIB // 4096 * 4096) for i in range(8)]
        work += [pool.submit(scattered, i) for i in range(8)]
        for one in work:
            one.result(60)
    assert mount.end() == 0


def test_a_random_read_does_not_fetch_a_megabyte(rig):
    put(rig, "scattered", 64 * MIB, seed=3)
    mount = rig.mount()
    sent = []
    rig.proxy.clear()
    before = rig.proxy.seen["GET"]
    for i in range(40):
        at = (i * 7919 % 1000 + 7) * 65536
        sent.append(direct_read(mount.point / "scattered", at, 4096))
    assert rig.proxy.seen["GET"] - before <= 41
    again = rig.proxy.seen["GET"]
    for i in range(40):
        at = (i * 7919 % 1000 + 7) * 65536
        assert direct_read(mount.point / "scattered", at, 4096) == sent[i]
    assert rig.proxy.seen["GET"] == again  # they are remembered
    assert mount.end() == 0


def test_one_open_file_is_one_version(rig):
    size = 24 * MIB
    old = put(rig, "changing", size, seed=4)
    mount = rig.mount(attr_timeout=0)
    with open(mount.point / "changing", "rb", buffering=0) as file:
        assert file.read(4096) == old[:4096]
        new = put(rig, "changing", size, seed=5)
        at = 4096
        try:
            for at in range(0, size, MIB):
                got = os.pread(file.fileno(), MIB, at)
                assert got == old[at:at + MIB], at
        except OSError as error:
            assert error.errno in (errno.ESTALE, errno.EIO)
    with open(mount.point / "changing", "rb") as file:
        assert file.read() == new
    assert mount.end() == 0


@pytest.mark.parametrize("fault", [
    {"what": "short", "op": "GET", "count": 4},
    {"what": "reset", "op": "GET", "when": "during", "count": 4},
    {"what": "status", "op": "GET", "code": 503, "count": 6},
], ids=lambda fault: fault["what"])
def test_answers_that_break_off_are_made_good(rig, fault):
    key = "broken-" + fault["what"]
    body = put(rig, key, 9 * MIB + 77, seed=6)
    mount = rig.mount()
    rig.proxy.add(**fault)
    try:
        with open(mount.point / key, "rb") as file:
            assert file.read() == body
    finally:
        rig.proxy.clear()
    assert mount.end() == 0


def test_a_small_file_whose_bytes_do_not_match_its_checksum_is_not_given_out(rig):
    body = random.Random(8).randbytes(3000)
    rig.client().put_object(Bucket=BUCKET, Key="sum", Body=body, ChecksumAlgorithm="CRC32")
    mount = rig.mount(deadline=5)
    rig.proxy.add("corrupt", op="GET")
    try:
        with open(mount.point / "sum", "rb") as file, pytest.raises(OSError) as caught:
            file.read()
        assert caught.value.errno == errno.EIO
    finally:
        rig.proxy.clear()
    with open(mount.point / "sum", "rb") as file:
        assert file.read() == body
    assert mount.end() == 0


def test_a_second_request_overtakes_one_that_stalls(rig):
    body = put(rig, "late", 24 * MIB, seed=10)
    mount = rig.mount()
    for i in range(1, 150):  # how long answers take has to be known
        at = (i * 37 % 180) * 131072
        assert direct_read(mount.point / "late", at, 4096) == body[at:at + 4096]
    rig.proxy.add("stall", op="GET", seconds=12, count=1)
    try:
        start = time.monotonic()
        for i in range(181, 185):
            at = i * 131072
            assert direct_read(mount.point / "late", at, 4096) == body[at:at + 4096]
        assert time.monotonic() - start < 6
        assert rig.proxy.injected["stall"] == 1
    finally:
        rig.proxy.clear()
    assert mount.end() == 0


def kernel_readahead_kib(mount):
    with open("/proc/self/mountinfo") as table:
        device = next(line.split()[2] for line in table if line.split()[4] == str(mount.point))
    with open(f"/sys/class/bdi/{device}/read_ahead_kb") as value:
        return int(value.read())


def test_the_kernel_reads_ahead_as_far_as_it_was_told(rig):
    if not os.access("/sys/class/bdi", os.R_OK) or os.geteuid() != 0:
        pytest.skip("needs root and sysfs")
    mount = rig.mount()
    wait_until(lambda: kernel_readahead_kib(mount) == 1024, 5, "1 MiB of read-ahead")
    assert mount.end() == 0
    mount = rig.mount(readahead="2MiB")
    wait_until(lambda: kernel_readahead_kib(mount) == 2048, 5, "2 MiB of read-ahead")
    assert mount.end() == 0


@pytest.mark.full
def test_memory_stays_bounded_with_many_readers(rig):
    body = put(rig, "wide", 256 * MIB, seed=9)
    mount = rig.mount(memory="64MiB")

    def stream(i):
        with open(mount.point / "wide", "rb", buffering=0) as file:
            for at in range(i * 4 * MIB, i * 4 * MIB + 4 * MIB, 256 << 10):
                assert os.pread(file.fileno(), 256 << 10, at) == body[at:at + (256 << 10)]

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        for one in [pool.submit(stream, i) for i in range(64)]:
            one.result(120)
    assert own_kib(mount.process.pid) <= 64 * 1024
    assert mount.end() == 0

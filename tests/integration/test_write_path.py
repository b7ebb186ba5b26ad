# SPDX-License-Identifier: Apache-2.0
"""What writing costs at the store, and that what is sent is always of one moment."""
import os
import subprocess
import threading
import time

import pytest

from conftest import wait_until
from test_mount_large import BYTES, MIB, Rig


@pytest.fixture
def rig(workdir, processes, minio):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    one = Rig(workdir, processes, minio, ",sync=fsync")
    one.lines = []
    one.delay = {}
    one.running = one.most = 0
    lock = threading.Lock()

    def seen(line):
        """The proxy asks whether to refuse: we note the request, and may be slow to answer."""
        words = line.split()
        with lock:
            one.lines.append((words[0].decode(), words[1].decode()))
            one.running += 1
            one.most = max(one.most, one.running)
        time.sleep(one.delay.get(words[0].decode(), 0))
        with lock:
            one.running -= 1
        return False

    one.proxy.refuses = seen
    yield one
    one.delay.clear()
    if os.path.ismount(one.point):
        subprocess.run(["umount", one.point], check=False, timeout=60)
    one.proxy.listener.close()


def count(rig, method, *parts):
    return sum(m == method and all(p in url for p in parts) for m, url in rig.lines)


def test_a_byte_in_a_large_object_costs_one_part_and_copies(rig):
    data = bytearray(BYTES[:MIB] * 96)
    rig.client.put_object(Bucket="bucket", Key="file", Body=bytes(data))
    os.stat(rig.point / "file")
    rig.lines.clear()
    file = os.open(rig.point / "file", os.O_RDWR)
    os.pwrite(file, b"X", 50 * MIB + 7)
    os.fsync(file)
    os.close(file)
    data[50 * MIB + 7:50 * MIB + 8] = b"X"
    assert rig.stored("file") == bytes(data)
    assert count(rig, "POST", "uploads=") == 1
    assert count(rig, "PUT", "partNumber") == 3  # copy, sent, copy
    assert count(rig, "GET", "file") == 1
    assert count(rig, "POST", "uploadId") == 1
    assert rig.uploads() == []


def test_each_small_file_is_one_put_and_many_go_at_once(rig):
    rig.delay["PUT"] = 0.1
    for i in range(150):
        (rig.point / f"f{i}").write_bytes(BYTES[:i * 50])
    os.sync()
    wait_until(lambda: len(rig.keys()) == 150, what="150 objects")
    assert count(rig, "PUT", "/bucket/f") == 150
    assert rig.most > 16
    for i in (0, 1, 149):
        assert rig.stored(f"f{i}") == BYTES[:i * 50]


def test_what_is_appended_to_a_large_object_is_sent_while_it_is_written(rig):
    """More than the pool of dirty bytes holds; the store copies what was there."""
    rig.client.put_object(Bucket="bucket", Key="file", Body=BYTES[:20 * MIB])
    file = os.open(rig.point / "file", os.O_WRONLY | os.O_APPEND)
    for at in range(0, 64 * MIB, MIB):
        os.write(file, BYTES[at:at + MIB])
    os.fsync(file)
    os.close(file)
    assert rig.stored("file") == BYTES[:20 * MIB] + BYTES
    assert count(rig, "POST", "uploads=") == 1
    assert rig.uploads() == []


def test_an_append_whose_base_was_replaced_keeps_both(rig):
    rig.client.put_object(Bucket="bucket", Key="file", Body=BYTES[:20 * MIB])
    file = os.open(rig.point / "file", os.O_WRONLY | os.O_APPEND)
    for at in range(0, 40 * MIB, MIB):
        os.write(file, BYTES[at:at + MIB])
    wait_until(rig.uploads, what="an upload")
    wait_until(lambda: count(rig, "PUT", "partNumber=2"), what="a part sent ahead")
    rig.client.put_object(Bucket="bucket", Key="file", Body=b"theirs")
    os.fsync(file)
    os.close(file)
    assert rig.stored("file") == BYTES[:20 * MIB] + BYTES[:40 * MIB]
    beside = [key for key in rig.keys() if key.startswith("file.conflict-")]
    assert [rig.stored(key) for key in beside] == [b"theirs"]


@pytest.mark.parametrize("size", [100, 300 * 1024, 3 * MIB])
def test_what_is_written_while_a_put_is_under_way_is_not_in_it(rig, size):
    """The object is of one moment, and the next one has all."""
    path = rig.point / "file"
    rig.delay["PUT"] = 0.7
    path.write_bytes(b"a" * size)
    wait_until(lambda: count(rig, "PUT", "/bucket/file") == 1, what="a PUT")
    with open(path, "r+b") as file:
        for at in range(0, size, max(size // 10, 1)):
            os.pwrite(file.fileno(), b"b", at)
        wait_until(lambda: rig.keys() == ["file"], what="the first object")
        assert rig.stored("file") == b"a" * size
        now = path.read_bytes()
    assert now.count(b"b") == 10 or size % 10
    wait_until(lambda: rig.stored("file") == now, what="the second object")


def test_a_file_cut_while_a_put_is_under_way_loses_nothing_written_since(rig):
    path = rig.point / "file"
    rig.delay["PUT"] = 0.5
    path.write_bytes(b"a" * 500000)
    wait_until(lambda: count(rig, "PUT", "/bucket/file") == 1, what="a PUT")
    with open(path, "r+b") as file:
        file.truncate(1000)
        os.pwrite(file.fileno(), b"new", 400000)
        os.fsync(file.fileno())
    assert rig.stored("file") == b"a" * 1000 + bytes(399000) + b"new"


PIECES = 40  # more than a block of dirty bytes has room for


def scattered(file, block, data, first=0, end=PIECES):
    """Small writes with gaps, so that a block of 128 KiB would be in too many pieces."""
    for i in range(first, end):
        at = block * 128 * 1024 + i * 3000
        piece = b"%07d-" % (block * 1000 + i) * 50
        assert os.pwrite(file, piece, at) == len(piece)
        data[at:at + len(piece)] = piece


def test_scattered_writes_wait_for_memory_and_do_not_fail(rig):
    """What is read in between takes more memory than the writes do, and there is none free."""
    blocks = 40 * 8  # their first pieces fit what may be dirty, 32 MiB; all of them do not
    data = bytearray(BYTES[:MIB] * (blocks // 8))
    rig.client.put_object(Bucket="bucket", Key="file", Body=bytes(data))
    os.stat(rig.point / "file")
    rig.delay["PUT"] = 0.2
    failed = []

    def write(first):
        file = os.open(rig.point / "file", os.O_RDWR)
        try:
            for pieces in ((0, 8), (8, PIECES)):
                for block in range(first, blocks, 4):
                    scattered(file, block, data, *pieces)
        except OSError as error:
            failed.append(error)
        finally:
            os.close(file)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    rig.delay.clear()
    file = os.open(rig.point / "file", os.O_RDWR)
    os.fsync(file)
    os.close(file)
    assert rig.stored("file") == bytes(data)


def test_scattered_writes_to_what_was_sent_ahead_keep_what_is_between(rig):
    data = bytearray(BYTES[:MIB] * 40)
    file = os.open(rig.point / "file", os.O_CREAT | os.O_RDWR)
    for at in range(0, len(data), MIB):
        os.pwrite(file, data[at:at + MIB], at)
    wait_until(lambda: count(rig, "PUT", "partNumber") >= 2, what="parts sent ahead")
    time.sleep(0.3)
    for block in range(4):
        scattered(file, block, data)
    os.fsync(file)
    os.close(file)
    assert rig.stored("file") == bytes(data)


def test_attributes_set_just_after_a_close_go_with_the_bytes(rig):
    for i in range(50):
        path = rig.point / f"f{i}"
        path.write_bytes(BYTES[:1000 + i])
        os.utime(path, (i, i))
        os.chmod(path, 0o640)
    wait_until(lambda: len(rig.keys()) == 50, what="50 objects")
    subprocess.run(["umount", rig.point], check=True, timeout=60)
    sent = count(rig, "PUT", "/bucket/f")
    assert 50 <= sent < 75  # were the machine never busy: 50; each on its own: 150
    for i in range(50):
        head = rig.client.head_object(Bucket="bucket", Key=f"f{i}")
        assert (head["ContentLength"], head["Metadata"]["mode"]) == (1000 + i, str(0o100640))
        assert float(head["Metadata"]["mtime"]) == i


@pytest.mark.full
def test_a_slow_stream_is_one_upload(rig):
    """Longer than what is dirty stays unsent: 45 s, at 2 MiB/s."""
    data = BYTES[:MIB] * 90
    with open(rig.point / "file", "wb", buffering=0) as file:
        for at in range(0, len(data), MIB):
            file.write(data[at:at + MIB])
            time.sleep(0.5)
    wait_until(lambda: "file" in rig.keys() and rig.stored("file") == data, what="the object")
    assert count(rig, "POST", "uploads=") == 1
    assert count(rig, "POST", "uploadId") == 1

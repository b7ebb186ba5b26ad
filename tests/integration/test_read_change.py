# SPDX-License-Identifier: Apache-2.0
"""A file that others replace, cut or remove while it is read: one version whole, or an error; never a mixture."""
import errno
import itertools
import os
import random
import threading
import time

import pytest
from rig import BUCKET

MIB = 1 << 20
STEP = 256 << 10
MODES = ("revalidate", "cached")


def version(number, size):
    """Every 8 bytes of it tell which version it is; `size` is a multiple of 8."""
    line = f"{number:08}".encode() * 512
    return (line * (size // len(line) + 1))[:size]


def version_of(data):
    """The one version that these bytes are of; None: of several."""
    first = data[:8]
    return int(first) if data == (first * (len(data) // 8 + 1))[:len(data)] else None


def put(rig, key, content):
    rig.client().put_object(Bucket=BUCKET, Key=key, Body=content)


def read_slowly(mount, key):
    """(version, None), or (version so far, errno) if it ended with an error."""
    found = set()
    fd = os.open(mount.point / key, os.O_RDONLY)
    try:
        at = 0
        while data := os.pread(fd, STEP, at):
            number = version_of(data)
            assert number is not None, f"mixed bytes at {at}"
            found.add(number)
            at += len(data)
            assert len(found) == 1, f"versions {found} through one open file"
    except OSError as error:
        assert len(found) <= 1
        return found.pop() if found else None, error.errno
    finally:
        os.close(fd)
    return found.pop(), None


@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_is_replaced_again_and_again_is_never_torn(rig, mode):
    key = f"replaced-{mode}"
    sizes = itertools.cycle((5 * MIB, 3 * MIB + 776, 6 * MIB + 8))
    put(rig, key, version(0, 5 * MIB))
    mount = rig.mount(open=mode, attr_timeout=1 if mode == "cached" else 0, memory="48MiB")
    over = threading.Event()
    last = 0

    def replace():
        nonlocal last
        while not over.is_set():
            put(rig, key, version(last + 1, next(sizes)))
            last += 1
            time.sleep(0.03)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        whole = 0
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            _, error = read_slowly(mount, key)
            assert error in (None, errno.ESTALE), os.strerror(error)
            whole += error is None
    finally:
        over.set()
        thread.join()
    if mode == "cached":
        time.sleep(1.1)
    assert read_slowly(mount, key) == (last, None)
    assert mount.end() == 0


@pytest.mark.parametrize("mode", MODES)
def test_several_readers_that_opened_different_versions_each_have_their_own(rig, mode):
    key = f"several-{mode}"
    size = 2 * MIB
    mount = rig.mount(open=mode, attr_timeout=0)
    opened = []
    for number in range(3):
        put(rig, key, version(number, size + number * 4096))
        fd = os.open(mount.point / key, os.O_RDONLY)
        assert version_of(os.pread(fd, 65536, 0)) == number
        opened.append(fd)
    for number, fd in enumerate(opened):
        try:
            found = {version_of(os.pread(fd, STEP, at)) for at in range(0, size, STEP)}
            assert found == {number}
        except OSError as error:
            assert error.errno == errno.ESTALE and number < 2
        os.close(fd)
    assert mount.end() == 0


@pytest.mark.parametrize("code, s3", [(412, "PreconditionFailed"), (404, "NoSuchKey"), (416, "InvalidRange")])
def test_what_the_store_refuses_midway_is_estale_and_no_wrong_bytes(rig, code, s3):
    key = f"midway-{code}"
    size = 12 * MIB
    put(rig, key, version(7, size))
    mount = rig.mount(attr_timeout=0)
    fd = os.open(mount.point / key, os.O_RDONLY)
    assert version_of(os.pread(fd, 65536, 0)) == 7
    rig.proxy.add("status", op="GET", key=key, code=code, s3=s3)
    try:
        with pytest.raises(OSError) as caught:
            for at in range(2 * MIB, size, STEP):
                assert version_of(os.pread(fd, STEP, at)) == 7
        assert caught.value.errno == errno.ESTALE
    finally:
        rig.proxy.clear()
    for at in range(0, size, STEP):  # it was there all the time: so it can be read again
        assert version_of(os.pread(fd, STEP, at)) == 7
    os.close(fd)
    assert mount.end() == 0


def test_an_object_that_is_removed_while_it_is_read_is_estale(rig):
    put(rig, "removed", version(3, 12 * MIB))
    mount = rig.mount(attr_timeout=0)
    fd = os.open(mount.point / "removed", os.O_RDONLY)
    assert version_of(os.pread(fd, 65536, 0)) == 3
    rig.client().delete_object(Bucket=BUCKET, Key="removed")
    with pytest.raises(OSError) as caught:
        for at in range(0, 12 * MIB, STEP):
            assert version_of(os.pread(fd, STEP, at)) == 3
    assert caught.value.errno == errno.ESTALE
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        open(mount.point / "removed", "rb").close()
    assert mount.end() == 0


@pytest.mark.parametrize("kind", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_wrong_bytes_of_an_object_with_a_checksum_are_not_given_out(rig, kind):
    body = random.Random(kind).randbytes(150000)
    key = f"sum-{kind}"
    rig.client().put_object(Bucket=BUCKET, Key=key, Body=body, ChecksumAlgorithm=kind)
    mount = rig.mount(deadline=5)
    rig.proxy.add("corrupt", op="GET", key=key, at=77777)
    try:
        with open(mount.point / key, "rb") as file, pytest.raises(OSError) as caught:
            file.read()
        assert caught.value.errno == errno.EIO
    finally:
        rig.proxy.clear()
    assert (mount.point / key).read_bytes() == body
    assert mount.end() == 0

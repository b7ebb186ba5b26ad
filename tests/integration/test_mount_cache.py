# SPDX-License-Identifier: Apache-2.0
"""The disk cache: what was read once is read from disk, by the next mounter too, and never wrongly."""
import os
import pathlib
import random
import subprocess

import pytest
from rig import BUCKET

MIB = 1 << 20


def put(rig, key, size, seed):
    body = random.Random(seed).randbytes(size)
    rig.client().put_object(Bucket=BUCKET, Key=key, Body=body)
    return body


def read(mount, key):
    fd = os.open(mount.point / key, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return (mount.point / key).read_bytes()


def gets(rig):
    return rig.proxy.seen["GET"]


def cache_dir(rig, name):
    path = rig.directory / name
    path.mkdir()
    return path


def data_file(path):
    return next(pathlib.Path(path).glob("skyvol-*/data"))


def test_the_next_mounter_finds_what_this_one_has_read(rig):
    body = put(rig, "kept", 12 * MIB + 99, 1)
    small = {f"dir/{i:02}": put(rig, f"dir/{i:02}", 1000 + i, i) for i in range(20)}
    cache = cache_dir(rig, "c1")
    mount = rig.mount(cache=cache, cache_size="64MiB")
    assert read(mount, "kept") == body
    for key, content in small.items():
        assert read(mount, key) == content
    assert mount.end() == 0
    before = gets(rig)
    mount = rig.mount(cache=cache, cache_size="64MiB")
    assert read(mount, "kept") == body
    for key, content in small.items():
        assert read(mount, key) == content
    assert gets(rig) == before
    assert mount.end() == 0
    new = put(rig, "kept", 12 * MIB + 99, 2)  # the cache must not hide it
    mount = rig.mount(cache=cache, cache_size="64MiB")
    assert read(mount, "kept") == new
    assert gets(rig) > before
    assert mount.end() == 0


def test_a_kill_and_flipped_bits_cost_requests_and_no_more(rig):
    body = put(rig, "hurt", 8 * MIB + 5, 3)
    cache = cache_dir(rig, "c2")
    mount = rig.mount(cache=cache, cache_size="64MiB")
    assert read(mount, "hurt") == body
    mount.kill()
    with open(data_file(cache), "r+b") as file:
        for at in range(0, 8 * MIB, 300000):
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))
    mount = rig.mount(cache=cache, cache_size="64MiB")
    assert read(mount, "hurt") == body
    assert mount.end() == 0


def test_a_full_disk_fails_no_read(rig):
    body = put(rig, "full", 12 * MIB, 4)
    cache = cache_dir(rig, "c3")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", cache], check=False,
                          capture_output=True)
    if made.returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        mount = rig.mount(cache=cache, cache_size="64MiB")
        for _ in range(2):
            assert read(mount, "full") == body
        assert mount.end() == 0
        assert mount.log.read_text().count("disk cache") <= 1  # told once
        mount = rig.mount(cache=cache, cache_size="64MiB")
        assert read(mount, "full") == body
        assert mount.end() == 0
    finally:
        subprocess.run(["umount", cache], check=False, timeout=20)


def test_without_its_directory_the_mount_reads_all_the_same(rig):
    body = put(rig, "none", 70000, 5)
    (rig.directory / "nodir").write_text("not a directory")
    mount = rig.mount(cache=rig.directory / "nodir", cache_size="64MiB")
    assert read(mount, "none") == body
    assert "no disk cache" in mount.log.read_text()
    assert mount.end() == 0

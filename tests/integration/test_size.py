# SPDX-License-Identifier: Apache-2.0
"""The size of a managed volume: what its mounts together may write, and what statfs says of it."""
import errno
import os
import time

import pytest
from conftest import wait_until
from test_managed import Managed, meta, of, opened  # noqa: F401

MIB = 1 << 20


@pytest.fixture
def managed(meta):
    managed = Managed(meta, "one", ["attr_timeout=0"])
    managed.volume = meta.create("small", required_bytes=8 * MIB, limit_bytes=8 * MIB)
    return managed


def free(point):
    stat = os.statvfs(point)
    assert stat.f_blocks * stat.f_frsize == 8 * MIB
    return stat.f_bavail * stat.f_frsize


def told():
    """The mounter tells its writes within a second."""
    time.sleep(1.5)


def is_about(left, want):
    """But for a page of small objects and rounding."""
    return want - 8192 <= left <= want


def test_two_mounts_keep_the_size_together(managed):
    one, two = managed.two()
    (one / "a").write_bytes(os.urandom(5 * MIB))
    assert is_about(free(one), 3 * MIB)
    told()
    (two / "wakes").write_bytes(b"x")  # who writes asks what the others have
    wait_until(lambda: is_about(free(two), 3 * MIB), 10, "the other's bytes")
    with pytest.raises(OSError) as e:
        (two / "b").write_bytes(bytes(4 * MIB))
    assert e.value.errno == errno.ENOSPC
    os.unlink(two / "b")
    os.unlink(one / "a")
    told()
    (two / "wakes").write_bytes(b"xy")
    wait_until(lambda: is_about(free(two), 8 * MIB), 10, "room")
    (two / "b").write_bytes(os.urandom(7 * MIB))
    assert (one / "b").stat().st_size == 7 * MIB


def test_a_new_mount_counts_what_is_there_and_linked_files_once(managed):
    one = managed.mount()
    (one / "a").write_bytes(os.urandom(3 * MIB))
    os.link(one / "a", one / "b")
    assert is_about(free(one), 5 * MIB)
    two = managed.mount()
    wait_until(lambda: is_about(free(two), 5 * MIB), 10, "a count")
    os.unlink(two / "a")
    os.unlink(two / "b")
    assert is_about(free(two), 8 * MIB)


def test_a_full_volume_takes_bytes_where_some_are_and_none_more(managed):
    one = managed.mount()
    with open(one / "a", "wb", buffering=0) as file:
        for _ in range(8):
            file.write(bytes(MIB))
        assert free(one) == 0
        with pytest.raises(OSError) as e:
            file.write(b"x")
        assert e.value.errno == errno.ENOSPC
        os.pwrite(file.fileno(), b"other", 100)
        os.ftruncate(file.fileno(), 4 * MIB)
        os.pwrite(file.fileno(), bytes(MIB), 4 * MIB)
    assert is_about(free(one), 3 * MIB)
    (one / "empty").touch()
    os.mkdir(one / "d")


def test_what_sessions_add_is_kept_when_they_end_and_when_their_process_is_another(meta):
    volume = meta.create("one")
    sessions = [opened(meta, volume, f"n{i}") for i in range(3)]

    def report(i, grown, unpublished=0, instance=1):
        return meta.call("Leases/ReportUsage", of(
            sessions[i], grown_bytes=grown, unpublished_bytes=unpublished, instance=instance))

    assert report(0, 100, 10) == report(0, 100, 10) == {}
    assert report(1, -30) == {"othersGrownBytes": "100", "othersUnpublishedBytes": "10"}
    assert report(0, 5, instance=2) == {"othersGrownBytes": "70"}  # -30, and what we were before
    assert report(2, 0) == {"othersGrownBytes": "75"}
    meta.call("Sessions/CloseSession", of(sessions[0]))
    assert report(2, 0) == {"othersGrownBytes": "75"}

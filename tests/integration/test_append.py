# SPDX-License-Identifier: Apache-2.0
"""What another mount has written since: its size is what the kernel here goes by, before it asks anybody.

Who appends does so behind the other's bytes, by a handle that was open before, too; and sendfile(2) and mmap(2),
which ask for no attributes, see all of a file that is opened.
"""
import fcntl
import mmap
import os
import threading
import traceback

import pytest
from test_managed import Managed, meta  # noqa: F401


@pytest.fixture
def two(meta):  # noqa: F811
    # Attributes are believed for long: nothing comes right by being asked again in time.
    return Managed(meta, "one", ["attr_timeout=60"]).two()


def contents(mounts, name):
    one, other = ((mount / name).read_bytes() for mount in mounts)
    assert one == other
    return one


def test_two_mounts_append_in_turn_and_lose_nothing(two):
    wanted = b""
    for n in range(20):
        line = f"{n}\n".encode() * (1 + n % 3)
        with open(two[n % 2] / "log", "ab") as log:
            log.write(line)
        wanted += line
        if n % 5 == 4:
            assert contents(two, "log") == wanted
    assert contents(two, "log") == wanted


@pytest.mark.parametrize("size, direct", [(3, 0), (5000, 0), (3 << 20, 0), (5000, os.O_DIRECT), (3 << 20, os.O_DIRECT)])
def test_handles_that_were_open_before_append_under_their_lock(two, size, direct):
    (two[0] / "log").write_bytes(b"begins\n")
    wanted = b"begins\n"
    handles = [os.open(mount / "log", os.O_RDWR | os.O_APPEND | direct) for mount in two]
    for n in range(4):
        for k, handle in enumerate(handles):
            piece = bytes([65 + 2 * n + k]) * size
            fcntl.flock(handle, fcntl.LOCK_EX)
            assert os.write(handle, piece) == size
            wanted += piece
            # What the kernel has kept of it is at its place, too.
            assert os.pread(handle, len(wanted) + 1, 0) == wanted
            fcntl.flock(handle, fcntl.LOCK_UN)
    for handle in handles:
        os.close(handle)
    assert contents(two, "log") == wanted


@pytest.mark.parametrize("direct", [0, os.O_DIRECT])
def test_who_appends_to_what_another_has_cut_leaves_no_hole(two, direct):
    (two[0] / "log").write_bytes(b"x" * 10000)
    handle = os.open(two[0] / "log", os.O_WRONLY | os.O_APPEND | direct)
    fcntl.flock(handle, fcntl.LOCK_EX)
    fcntl.flock(handle, fcntl.LOCK_UN)
    (two[1] / "log").write_bytes(b"new\n")
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.write(handle, b"more\n")
    os.close(handle)
    assert contents(two, "log") == b"new\nmore\n"


def test_a_handle_of_an_older_version_follows_the_file_when_it_is_locked(two):
    (two[0] / "log").write_bytes(b"one\n")
    older = os.open(two[0] / "log", os.O_RDWR | os.O_APPEND)
    (two[1] / "log").write_bytes(b"another\n")
    newer = os.open(two[0] / "log", os.O_RDWR | os.O_APPEND)
    for handle, line in ((older, b"first\n"), (newer, b"second\n"), (older, b"third\n")):
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, line)
        fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(older)
    os.close(newer)
    assert contents(two, "log") == b"another\nfirst\nsecond\nthird\n"
    assert os.listdir(two[0]) == ["log"]


def sent(path, directory):
    """What sendfile(2) gives of a file that is just opened."""
    source, target = os.open(path, os.O_RDONLY), os.open(directory / "sent", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        while os.sendfile(target, source, None, 1 << 20) > 0:
            pass
        return os.pread(target, 1 << 20, 0)
    finally:
        os.close(source)
        os.close(target)


def mapped(path, _):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        return bytes(pages)


@pytest.mark.parametrize("see", [sent, mapped])
def test_what_goes_by_the_kernels_size_sees_all_of_a_file_that_is_opened(two, workdir, see):
    (two[0] / "file").write_bytes(b"one\n")
    for wanted in (b"one\ntwo\n", b"o\n", b"x" * 100000, b"end\n"):
        (two[1] / "file").write_bytes(wanted)
        assert see(two[0] / "file", workdir) == wanted


def test_an_open_after_another_one_gets_the_new_version_while_the_old_one_is_open(two):
    (two[0] / "file").write_bytes(b"old")
    with open(two[0] / "file", "rb") as old:
        assert old.read() == b"old"
        for wanted in (b"newer", b"n", b"newest"):
            (two[1] / "file").write_bytes(wanted)
            assert (two[0] / "file").read_bytes() == wanted


def test_what_another_mount_rewrites_all_the_time_can_be_opened(two):
    (two[0] / "file").write_bytes(b"0" * 10)
    wrong, ended = [], threading.Event()

    def look():
        while not ended.is_set():
            try:
                os.close(os.open(two[0] / "file", os.O_RDONLY))
            except OSError as e:
                wrong.append(e)

    thread = threading.Thread(target=look)
    thread.start()
    for n in range(1, 30):
        (two[1] / "new").write_bytes(b"%d" % (n % 10) * 10 * n)
        os.rename(two[1] / "new", two[1] / "file")
    ended.set()
    thread.join()
    assert not wrong, wrong[:3]


def test_short_locks_one_after_the_other_from_two_mounts_lose_no_line(two):
    """Each by an open file of its own, as flock(1) has it; the next one's begins before the last one's has ended."""
    rounds, wrong = 60, []

    def add(k):
        try:
            for n in range(rounds):
                lock = os.open(two[k] / "lock", os.O_RDONLY | os.O_CREAT)
                fcntl.flock(lock, fcntl.LOCK_EX)
                with open(two[k] / "log", "ab") as log:
                    log.write(f"{k} {n}\n".encode())
                os.close(lock)
        except OSError:
            wrong.append(traceback.format_exc())

    for name in ("lock", "log"):
        (two[0] / name).write_bytes(b"")
    threads = [threading.Thread(target=add, args=(k,), daemon=True) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive(), "a lock is not given"
    assert not wrong, wrong
    assert sorted(contents(two, "log").splitlines()) == sorted(f"{k} {n}".encode() for k in range(2) for n in range(rounds))
    assert sorted(os.listdir(two[1])) == ["lock", "log"]

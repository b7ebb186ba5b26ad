# SPDX-License-Identifier: Apache-2.0
"""Two mounts of one volume that do the same at one instant: who is the second has the first one's file, or is told."""
import contextlib
import errno
import fcntl
import os
import threading
import time

import pytest
from rig import BUCKET, fails, stored, wait_for
from test_managed import Managed, meta  # noqa: F401

PAIRS = 12


@pytest.fixture
def two(meta):  # noqa: F811
    return Managed(meta, "one").two()


@pytest.fixture
def one(rig, request):
    with rig.alone(request.node.name):
        yield rig.mount()


def key(one, name):
    return {"Bucket": BUCKET, "Key": f"{one.rig.prefix}/{name}"}


def at_once(calls):
    """What each of them gives, begun together: a value, or an errno as a negative number."""
    gate, given = threading.Barrier(len(calls)), [None] * len(calls)

    def run(place, call):
        gate.wait(20)
        try:
            given[place] = call() or 0
        except OSError as error:
            given[place] = -error.errno

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "it hangs"
    return given


def have_all(two):
    """What the other has made is listed after attr_timeout; and there is nothing else."""
    names = sorted(f"f{n}" for n in range(PAIRS))
    for mount in two:
        wait_for(lambda m=mount: sorted(os.listdir(m)) == names, "names")


def make(path, flags=0):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | flags))


def touch(path):
    with contextlib.closing(os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY), "wb", 0)) as file:
        os.utime(file.fileno())


@pytest.mark.parametrize("how", [make, touch])
def test_a_file_that_both_make_and_nobody_writes_is_one_file(two, how):
    for n in range(PAIRS):
        assert at_once([lambda m=m, n=n: how(m / f"f{n}") for m in two]) == [0, 0]
    have_all(two)


@pytest.mark.parametrize("how", [lambda p: make(p, os.O_EXCL), lambda p: os.symlink("x", p), os.mkfifo, os.mkdir],
                         ids=["O_EXCL", "symlink", "mkfifo", "mkdir"])
def test_of_two_that_want_to_be_the_only_one_one_is(two, how):
    for n in range(PAIRS):
        assert sorted(at_once([lambda m=m, n=n: how(m / f"f{n}") for m in two])) == [-errno.EEXIST, 0]
    have_all(two)


def test_who_makes_a_file_and_locks_it_before_writing_loses_nothing(two):
    def add(mount, n):
        file = os.open(mount / f"f{n}", os.O_CREAT | os.O_RDWR | os.O_APPEND)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, f"{mount.name}\n".encode())
        finally:
            os.close(file)

    for n in range(PAIRS):
        assert at_once([lambda m=m, n=n: add(m, n) for m in two]) == [0, 0]
        lines = (two[0] / f"f{n}").read_text().split()
        assert sorted(lines) == sorted(m.name for m in two)
    have_all(two)


def test_an_empty_file_gives_way_to_one_that_was_put_before_it(one):
    file = os.open(one.point / "f", os.O_CREAT | os.O_WRONLY)
    one.rig.client().put_object(**key(one, "f"), Body=b"theirs")
    os.close(file)
    assert (one.point / "f").read_bytes() == b"theirs"
    assert one.end() == 0 and stored(one.rig) == {"f": b"theirs"}


def test_what_is_written_after_the_file_gave_way_is_kept_beside(one):
    file = os.open(one.point / "f", os.O_CREAT | os.O_WRONLY)
    one.rig.client().put_object(**key(one, "f"), Body=b"theirs")
    os.fsync(file)
    os.write(file, b"ours")
    assert fails(os.close, file) == errno.ESTALE
    assert one.end() == 0
    found = stored(one.rig)
    assert found.pop("f") == b"theirs" and list(found.values()) == [b"ours"]


def test_who_was_to_be_the_only_one_is_told_at_close(one):
    file = os.open(one.point / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    one.rig.client().put_object(**key(one, "f"), Body=b"")
    assert fails(os.close, file) == errno.ESTALE
    assert one.end() == 0 and stored(one.rig) == {"f": b""}


@pytest.mark.parametrize("theirs", [b"theirs", None], ids=["replaced", "removed"])
def test_a_mode_that_was_set_on_what_somebody_replaced_is_an_error_and_no_copy(one, theirs):
    (one.point / "f").write_bytes(b"ours")
    file = os.open(one.point / "f", os.O_RDONLY)
    if theirs is None:
        one.rig.client().delete_object(**key(one, "f"))
    else:
        one.rig.client().put_object(**key(one, "f"), Body=theirs)
    os.fchmod(file, 0o600)
    assert fails(os.close, file) == errno.ESTALE
    assert one.end() == 0 and stored(one.rig) == ({"f": theirs} if theirs is not None else {})


def test_a_file_that_was_only_emptied_gives_way_to_what_somebody_put(one):
    (one.point / "f").write_bytes(b"ours")
    file = os.open(one.point / "f", os.O_WRONLY | os.O_TRUNC)
    one.rig.client().put_object(**key(one, "f"), Body=b"theirs")
    os.close(file)
    assert (one.point / "f").read_bytes() == b"theirs"
    assert one.end() == 0 and stored(one.rig) == {"f": b"theirs"}


def content(number):
    """Its first eight bytes tell all the others, and how many there are."""
    return b"%08d" % number * (1 + number * 7 % 375)


def rewrite(mount, until):
    number = 0
    while time.monotonic() < until:
        number += 1
        if number % 2:
            (mount / "f").write_bytes(content(number))
        else:
            (mount / "new").write_bytes(content(number))
            os.rename(mount / "new", mount / "f")


def read(mount, until):
    last = 0
    while time.monotonic() < until:
        data = (mount / "f").read_bytes()
        assert data, "empty"
        number = int(data[:8])
        assert data == content(number), f"{len(data)} bytes of {number}"
        assert number >= last, "an older version after a newer one"
        last = number


def test_what_the_other_rewrites_all_the_time_is_read_whole_and_without_an_error(two):
    (two[0] / "f").write_bytes(content(0))
    until = time.monotonic() + 3
    wrong = []

    def run(call, mount):
        try:
            call(mount, until)
        except (OSError, AssertionError) as error:
            wrong.append(error)

    threads = [threading.Thread(target=run, args=(rewrite, two[0]))]
    threads += [threading.Thread(target=run, args=(read, two[1])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong, wrong[:3]

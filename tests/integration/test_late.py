# SPDX-License-Identifier: Apache-2.0
"""Requests of a mounter that was killed reach the store after what its successor did: nothing of that is undone."""
import os
import threading
import time

import pytest

from fault_proxy import Rule
from rig import Rig, stored


@pytest.fixture(scope="module", name="rig")
def fixture_rig():
    with Rig() as one:
        yield one


@pytest.fixture(name="held")
def fixture_held(rig, request):
    with rig.alone(request.node.name):
        if "blind" in request.node.name:  # of the store that the mount gets to know
            rig.proxy.add("blind", op="COPY", store=rig.client())
        held = rig.held("--resend=false", sync="close")
        yield held


class Late:
    """The next request of a kind is held back until end()."""

    def __init__(self, rig, op, **how):
        self.taken, self.go = threading.Event(), threading.Event()
        self.rig = rig
        rig.proxy.rules.insert(0, Rule("late", op=op, count=1, taken=self.taken, go=self.go,
                                       store=rig.client(), **how))

    def end(self, prefix):
        """Pass it on, and wait until the store has answered it."""
        before = self.rig.proxy.in_flight
        assert before > 0
        self.go.set()
        for _ in range(200):
            if self.rig.proxy.in_flight < before:
                return
            threading.Event().wait(0.02)
        raise AssertionError(prefix)


def killed_in(held, late, work, meanwhile=lambda: None):
    """The mounter is killed while the store has the request; its successor does the work."""
    failed = []

    def run():
        try:
            work()
        except OSError as error:
            failed.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    assert late.taken.wait(20)
    assert held.kill_mounter() is not None
    meanwhile()
    worker.join(60)
    assert not worker.is_alive() and not failed, failed


def check(rig, held, expected):
    here = [{p.name: p.read_bytes() for p in held.point.iterdir()}]
    held.again()
    here += [{p.name: p.read_bytes() for p in held.point.iterdir()}, stored(rig)]
    short = [{name: data[-20:] for name, data in one.items()} for one in (expected, *here)]
    assert here == [expected] * 3, short


OLD = b"old" * 400_000  # copy_file_range is made of pages below 1 MiB
CHANGES = {
    "attributes": (lambda top: os.chmod(top / "b", 0o600), {}),
    "rename": (lambda top: os.rename(top / "a", top / "b"), {"a": OLD}),
    "rename over": (lambda top: os.rename(top / "a", top / "b"), {"a": OLD, "b": b"another"}),
    "copy_file_range": (lambda top: copy_range(top / "a", top / "b"), {"a": OLD}),
}


def copy_range(source, target):
    with open(source, "rb") as one, open(target, "wb") as two:
        assert os.copy_file_range(one.fileno(), two.fileno(), 1 << 30) == len(OLD)


def begin(held, change):
    work, files = CHANGES[change]
    for name, content in (files or {"b": OLD}).items():
        (held.point / name).write_bytes(content)
    return lambda: work(held.point)


@pytest.mark.parametrize("change", CHANGES)
def test_a_late_copy_does_not_bring_old_bytes_back(rig, held, change):
    work = begin(held, change)
    late = Late(rig, "COPY")
    killed_in(held, late, work)
    with open(held.point / "b", "ab") as out:
        out.write(b"new")
    late.end("the copy")
    left = {"a": OLD} if change == "copy_file_range" else {}
    check(rig, held, {"b": OLD + b"new", **left})


@pytest.mark.parametrize("change", CHANGES)
def test_a_late_copy_of_a_blind_store_is_waited_for(rig, held, change):
    """It keeps to no condition: what could be undone is not done before."""
    work = begin(held, change)
    late = Late(rig, "COPY", blind=True)
    timer = threading.Timer(1, late.go.set)
    killed_in(held, late, work, timer.start)
    with open(held.point / "b", "ab") as out:
        out.write(b"new")
    timer.join()
    left = {"a": OLD} if change == "copy_file_range" else {}
    check(rig, held, {"b": OLD + b"new", **left})


@pytest.mark.parametrize("then", ["removed", "renamed"])
def test_a_late_copy_does_not_bring_a_removed_file_back(rig, held, then):
    (held.point / "a").write_bytes(b"old")
    late = Late(rig, "COPY")
    killed_in(held, late, lambda: os.rename(held.point / "a", held.point / "b"))
    if then == "removed":
        os.unlink(held.point / "b")
    else:
        os.rename(held.point / "b", held.point / "c")
    assert held.kill_mounter() is not None  # the next one has to know, too
    late.end("the copy")
    check(rig, held, {} if then == "removed" else {"c": b"old"})


@pytest.mark.parametrize("change", ["made", "changed"])
def test_a_late_put_of_a_directory_does_not_bring_it_back(rig, held, change):
    top = held.point / "d"
    if change == "changed":
        top.mkdir()
    late = Late(rig, "PUT")
    killed_in(held, late, lambda: top.mkdir() if change == "made" else top.chmod(0o700))
    top.rmdir()
    assert held.kill_mounter() is not None
    late.end("the marker")
    check(rig, held, {})


def test_a_late_deletion_of_a_rename_spares_what_is_made_there_since(rig, held):
    (held.point / "a").write_bytes(b"same")
    late = Late(rig, "DELETE")
    killed_in(held, late, lambda: os.rename(held.point / "a", held.point / "b"))
    made = threading.Thread(target=(held.point / "a").write_bytes, args=(b"same",))
    made.start()
    made.join(1)
    late.end("the deletion")
    made.join(20)
    check(rig, held, {"a": b"same", "b": b"same"})


def test_a_late_deletion_spares_what_is_made_there_since(rig, held):
    (held.point / "a").write_bytes(b"same")
    late = Late(rig, "DELETE|DELETE_BATCH")
    killed_in(held, late, lambda: os.unlink(held.point / "a"))
    made = threading.Thread(target=(held.point / "a").write_bytes, args=(b"same",))
    made.start()
    made.join(1)
    late.end("the deletion")
    made.join(20)
    check(rig, held, {"a": b"same"})


def test_a_fence_holds_up_nobody_but_who_makes_that_name(rig, held):
    for name in ("a", "b", "d"):
        (held.point / name).write_bytes(b"old")
    late = Late(rig, "DELETE|DELETE_BATCH")
    since = time.monotonic()
    killed_in(held, late, lambda: os.unlink(held.point / "a"))
    made = threading.Thread(target=(held.point / "a").write_bytes, args=(b"new",))
    made.start()
    directory = os.open(held.point, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    (held.point / "c").write_bytes(b"new")
    os.rename(held.point / "b", held.point / "e")
    os.unlink(held.point / "d")
    assert made.is_alive() or time.monotonic() - since > 2
    late.end("the deletion")
    made.join(20)
    check(rig, held, {"a": b"new", "c": b"new", "e": b"old"})

# SPDX-License-Identifier: Apache-2.0
"""A claim becomes a file in a bucket, and stays one whatever dies in between."""
import hashlib
import os
import pathlib
import sys
import threading

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from stack import Stack, mounts_below  # noqa: E402

FILES = 120


@pytest.fixture
def stack():
    if os.geteuid() != 0:
        pytest.skip("the node plugin mounts: needs root")
    stack = Stack()
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def content(number):
    return hashlib.sha256(str(number).encode()).digest() * (1 + number % 3000)


class Writer(threading.Thread):
    """Writes files one after the other; what it has fsynced and closed counts as acknowledged."""

    def __init__(self, target):
        super().__init__()
        self.target, self.done, self.error = pathlib.Path(target), 0, None

    def run(self):
        try:
            for number in range(FILES):
                (self.target / f"d{number % 5}").mkdir(exist_ok=True)
                with open(self.target / f"d{number % 5}" / f"f{number}", "wb") as file:
                    file.write(content(number))
                    file.flush()
                    os.fsync(file.fileno())
                self.done = number + 1
        except OSError as error:
            self.error = error


def check_all(target):
    for number in range(FILES):
        path = pathlib.Path(target) / f"d{number % 5}" / f"f{number}"
        assert path.read_bytes() == content(number), path


def crash_in_mid_copy(stack, crash):
    volume = stack.create_volume("pvc-crash", 2**30)
    target = stack.publish(volume)
    writer = Writer(target)
    writer.start()
    stack.wait(lambda: writer.done > FILES // 4 or not writer.is_alive(), "first files")
    crash(stack)
    writer.join(120)
    assert not writer.is_alive(), "the copy hangs"
    assert writer.error is None, writer.error
    check_all(target)
    return volume, target


def kill_mounter(stack):
    mounters = stack.mounters()
    assert len(mounters) == 1
    os.kill(mounters[0], 9)


def kill_holder(stack):
    stack.kill("holder")
    stack.spawn("holder")


def kill_node(stack):
    stack.kill("node")
    stack.spawn("node")


def kill_meta(stack):
    stack.kill("meta")
    stack.spawn("meta")


@pytest.mark.parametrize("crash", [kill_mounter, kill_holder, kill_node, kill_meta])
def test_a_kill_in_mid_copy_costs_nothing(stack, crash):
    volume, target = crash_in_mid_copy(stack, crash)
    stack.wait(lambda: (stack.directory / "node.sock").exists(), "node plugin")
    stack.unpublish(volume)
    target = stack.publish(volume)  # a new mounter: what it reads comes from the store
    check_all(target)
    stack.unpublish(volume)
    stack.delete_volume(volume)
    assert stack.store_content() == (0, 0)


def test_calls_may_be_repeated(stack):
    first = stack.create_volume("pvc-again", 2**20)
    assert stack.create_volume("pvc-again", 2**20) == first
    target = stack.publish(first)
    assert stack.publish(first) == target
    stack.unpublish(first)
    stack.unpublish(first)
    stack.delete_volume(first)
    stack.delete_volume(first)
    assert mounts_below(stack.directory) == []


def test_the_size_asked_for_is_the_limit(stack):
    volume = stack.create_volume("pvc-small", 2**20)
    target = stack.publish(volume)
    usage = os.statvfs(target)
    assert usage.f_blocks * usage.f_frsize == 2**20
    with pytest.raises(OSError) as error, open(f"{target}/large", "wb") as file:
        file.write(bytes(2 * 2**20))
    assert error.value.errno in (28, 122)  # ENOSPC, EDQUOT
    stack.unpublish(volume)
    stack.delete_volume(volume)

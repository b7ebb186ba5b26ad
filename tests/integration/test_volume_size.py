# SPDX-License-Identifier: Apache-2.0
"""A volume's size: what df shows, and what is refused beyond it."""
import errno
import os

import pytest
from conftest import wait_until

MIB = 1 << 20


@pytest.fixture
def volume(stack, request):
    created = stack.create_volume(request.node.name[:60], 64 * MIB)
    target = stack.publish(created)
    yield created, target
    stack.unpublish(created)
    stack.delete_volume(created)


def used(target):
    df = os.statvfs(target)
    return (df.f_blocks - df.f_bavail) * df.f_frsize


def write(path, size):
    with open(path, "wb") as file:
        file.write(os.urandom(1024) * (size // 1024))


def refuses(call, *errors):
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno in errors


def test_a_file_grows_to_the_size_of_its_volume_and_no_further(volume):
    _, target = volume
    with open(f"{target}/f", "wb", buffering=0) as file:
        refuses(lambda: file.truncate(65 * MIB), errno.ENOSPC)
        refuses(lambda: os.pwrite(file.fileno(), b"x", 65 * MIB), errno.ENOSPC)
        refuses(lambda: file.truncate(1 << 60), errno.EFBIG)
        assert os.fstat(file.fileno()).st_size == 0
        file.truncate(64 * MIB)
        assert used(target) == 64 * MIB
        file.truncate(MIB)
        os.pwrite(file.fileno(), b"x", 60 * MIB)
    assert os.stat(f"{target}/f").st_size == 60 * MIB + 1


def test_what_is_removed_makes_room(volume):
    _, target = volume
    for name in ("a", "b", "c"):
        write(f"{target}/{name}", 20 * MIB)
    refuses(lambda: write(f"{target}/d", 8 * MIB), errno.ENOSPC)
    os.unlink(f"{target}/a")
    write(f"{target}/d", 8 * MIB)
    os.rename(f"{target}/d", f"{target}/b")
    assert used(target) == 28 * MIB
    write(f"{target}/c", MIB)
    assert used(target) == 9 * MIB


def test_what_was_there_before_counts(stack, volume):
    created, target = volume
    for name in ("a", "b"):
        write(f"{target}/{name}", 20 * MIB)
    stack.unpublish(created)
    target = stack.publish(created)
    wait_until(lambda: used(target) == 40 * MIB, what="count of what is stored")
    refuses(lambda: write(f"{target}/c", 25 * MIB), errno.ENOSPC)

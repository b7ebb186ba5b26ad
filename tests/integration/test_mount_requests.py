# SPDX-License-Identifier: Apache-2.0
"""How many requests the work with names costs, counted at the store."""
import concurrent.futures
import os
import pathlib
import subprocess

import pytest
from rig import BUCKET, Rig

DIRS, FILES = 128, 6  # in two levels: 8 directories with 16 each


def keys(markers):
    for one in range(8):
        for two in range(DIRS // 8):
            base = f"tree/d{one}/e{two:02}/"
            if markers:
                yield base
            for three in range(FILES):
                yield f"{base}f{three}"
    if markers:
        yield from (f"tree/d{one}/" for one in range(8))
        yield "tree/"


@pytest.fixture(scope="module")
def rig():
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    with Rig() as one:
        yield one


def fill(rig, names, prefix=""):
    s3 = rig.client()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(
            Bucket=BUCKET, Key=prefix + key, Body=b"" if key.endswith("/") else b"content"), names))


@pytest.fixture
def mounted(rig, request):
    made = []

    def make(**options):
        made.append(rig.mount(**options))
        rig.proxy.clear()
        rig.proxy.reset_counts()
        return made[-1]

    yield make
    for mount in made:
        if mount.process.poll() is None:
            mount.end()


@pytest.fixture(scope="module")
def tree(rig):
    fill(rig, keys(True))
    return sorted(keys(True))


WALKS = {
    "find": ["find", "."],
    "find by name": ["find", ".", "-name", "f3"],
    "ls -lR": ["ls", "-lR", "."],
    "du": ["du", "-a", "."],
}


def walked(argv, where):
    """Not by cwd=: this process stands still until the child is there, and the proxy with it."""
    return subprocess.run(["sh", "-c", 'cd "$0" && exec "$@"', where, *argv], check=True,
                          capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_lists_each_key_once(rig, mounted, tree, walk):
    mount = mounted(attrs="list")
    out = walked(WALKS[walk], mount.point / "tree")
    seen = dict(rig.proxy.seen)
    expected = DIRS if walk == "find by name" else DIRS * FILES
    assert sum(line.endswith(("f0", "f1", "f2", "f3", "f4", "f5")) for line in
               out.splitlines()) == expected
    assert seen.get("LIST", 0) <= len(tree) // 1000 + 5, seen
    assert seen.get("HEAD", 0) <= 2 and set(seen) <= {"LIST", "HEAD"}, "one lookup, then LIST"


def test_what_a_walk_shows_is_what_is_there(mounted, tree):
    mount = mounted(attrs="list")
    found = []
    for base, dirs, files in os.walk(mount.point):
        relative = pathlib.Path(base).relative_to(mount.point)
        found += [f"{relative / name}/" for name in dirs]
        found += [str(relative / name) for name in files]
        for name in files:
            status = os.stat(os.path.join(base, name))
            assert status.st_size == 7
    assert sorted(found) == tree


def test_numbers_of_readdir_are_those_of_stat(mounted, tree):
    for attrs in ("list", "full"):
        mount = mounted(attrs=attrs)
        for at in ("tree", "tree/d3", "tree/d3/e07"):
            listed = {e.name: e.inode() for e in os.scandir(mount.point / at)}
            assert listed == {name: os.stat(mount.point / at / name).st_ino for name in listed}
        mount.end()


def test_many_lookups_in_one_directory_become_listings(rig, mounted):
    names = [f"many/n{n:04}" for n in range(1200)]
    fill(rig, names)
    mount = mounted(attrs="list")
    for name in names:
        assert os.stat(mount.point / name).st_size == 7
    seen = rig.proxy.seen
    assert seen["LIST"] <= 8 and seen["HEAD"] <= 4, seen


def test_one_lookup_does_not_list_a_large_directory(rig, mounted, tree):
    mount = mounted(attrs="list")
    assert os.stat(mount.point / "tree/d0/e00/f0").st_size == 7
    assert sum(rig.proxy.seen.values()) <= 3 * 4

# SPDX-License-Identifier: Apache-2.0
"""Hard links of managed volumes: names of one file, whatever mount gives, takes and moves them."""
import errno
import os
import random
import sqlite3
import subprocess
import threading
import time

import pytest
from conftest import program, wait_until
from test_managed import LEASE, HeldManaged, Managed, meta, of, opened  # noqa: F401


@pytest.fixture
def managed(meta):
    return Managed(meta, "one", ["attr_timeout=0"])


def objects(managed):
    """Keys in the volume's bucket, but for those below .skyvol/ that are not of links or open files."""
    keys = [bytes(k).decode() for k, in managed.meta.index("SELECT key FROM object")]
    return {k for k in keys if not k.startswith(".skyvol/") or k.startswith((".skyvol/links/",
                                                                             ".skyvol/open/"))}


def same(*paths):
    stats = [os.stat(p) for p in paths]
    assert len({s.st_ino for s in stats}) == 1, stats
    return stats[0].st_nlink


def test_names_of_a_file_are_one_file_on_all_nodes_and_in_the_next_mount(managed):
    one, two = managed.two()
    (one / "d").mkdir()
    (one / "a").write_text("content")
    os.chmod(one / "a", 0o640)
    number = os.stat(one / "a").st_ino
    assert objects(managed) == {"a", "d/"}
    os.link(one / "a", one / "d" / "b")
    os.link(one / "d" / "b", one / "c")
    assert same(one / "a", one / "d" / "b", one / "c") == 3
    assert same(two / "a", two / "d" / "b", two / "c") == 3
    assert os.stat(one / "a").st_ino == os.stat(two / "c").st_ino == number
    (two / "c").write_text("other content")
    assert (one / "a").read_text() == (one / "d" / "b").read_text() == "other content"
    assert os.stat(two / "a").st_mode & 0o777 == 0o640
    assert sorted(os.listdir(one)) == ["a", "c", "d"] and os.listdir(two / "d") == ["b"]
    for i, point in enumerate((one, two)):
        subprocess.run(["umount", point], check=True)
        managed.mounts[i].wait(20)
    three = managed.mount()
    assert same(three / "a", three / "d" / "b", three / "c") == 3
    assert os.stat(three / "c").st_ino == number
    assert (three / "c").read_text() == "other content"


def test_a_name_that_goes_leaves_the_others_and_the_last_takes_the_bytes(managed):
    one, two = managed.two()
    (one / "a").write_text("content")
    os.link(one / "a", one / "b")
    os.unlink(one / "a")
    assert same(one / "b", two / "b") == 1
    assert not os.path.exists(one / "a") and not os.path.exists(two / "a")
    assert os.listdir(one) == ["b"]
    with open(two / "b", "r+") as file:
        os.unlink(two / "b")
        assert os.fstat(file.fileno()).st_nlink == 0
        assert file.read() == "content"
        file.write(" more")
        file.flush()
        file.seek(0)
        assert file.read() == "content more"
    wait_until(lambda: objects(managed) == set(), 10, "the bytes to go")


def test_names_are_renamed_as_files_are(managed):
    one, two = managed.two()
    (one / "a").write_text("linked")
    (one / "plain").write_text("plain")
    os.link(one / "a", one / "b")
    os.rename(one / "b", one / "c")
    assert sorted(os.listdir(one)) == sorted(os.listdir(two)) == ["a", "c", "plain"]
    assert same(one / "a", one / "c", two / "a") == 2
    os.rename(one / "c", one / "a")  # names of one file: nothing is done
    assert same(one / "a", one / "c") == 2
    os.rename(one / "plain", one / "c")
    assert (one / "c").read_text() == "plain" and same(one / "a", two / "a") == 1
    os.link(one / "a", one / "b")
    os.rename(one / "b", one / "c")
    assert (two / "c").read_text() == "linked" and same(one / "a", two / "c") == 2
    (one / "d").mkdir()
    os.link(one / "a", one / "d" / "x")
    os.rename(one / "d", one / "e")
    assert same(one / "e" / "x", one / "c", two / "e" / "x") == 3
    (one / "other").write_text("other")
    done = subprocess.run(["python3", "-c", f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.renameat2(-100, b"{one}/other", -100, b"{one}/a", 2) == 0, ctypes.get_errno()
"""], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (one / "a").read_text() == (two / "a").read_text() == "other"
    assert same(one / "other", one / "c", two / "other") == 3
    for name in ("other", "c", "e/x"):
        os.unlink(one / name)
    os.rmdir(one / "e")
    wait_until(lambda: objects(managed) == {"a"}, 10, "a plain bucket")


def test_links_of_what_is_open_and_of_what_is_no_file(managed):
    one = managed.mount()
    with open(one / "a", "w+") as file:
        file.write("begun")
        file.flush()
        os.link(one / "a", one / "b")
        file.write(", ended")
        file.flush()
        file.seek(0)
        assert file.read() == "begun, ended"
    assert (one / "b").read_text() == "begun, ended"
    os.symlink("b", one / "s")
    os.link(one / "s", one / "t", follow_symlinks=False)
    assert os.readlink(one / "t") == "b" and os.lstat(one / "s").st_nlink == 2
    os.mkfifo(one / "p")
    os.link(one / "p", one / "q")
    assert same(one / "p", one / "q") == 2
    for name, error in (("a", errno.EEXIST), ("nowhere/x", errno.ENOENT)):
        with pytest.raises(OSError) as e:
            os.link(one / "b", one / name)
        assert e.value.errno == error


def test_without_the_metaserver_names_stay_and_none_is_added_or_lost(managed):
    one = managed.mount()
    (one / "a").write_text("content")
    os.link(one / "a", one / "b")
    managed.meta.kill()
    assert (one / "b").read_text() == "content"
    (one / "b").write_text("changed")
    assert (one / "a").read_text() == "changed"
    for change in (lambda: os.link(one / "a", one / "c"), lambda: os.unlink(one / "a")):
        with pytest.raises(OSError):
            change()
    managed.meta.start(options=LEASE)
    wait_until(lambda: len(managed.sessions()) == 1, 15, "session")
    assert sorted(os.listdir(one)) == ["a", "b"]
    os.unlink(one / "a")
    assert (one / "b").read_text() == "changed"


def churn(point, i, errors):
    """Every call has to succeed, whatever dies meanwhile."""
    try:
        (point / f"a{i}").write_text(f"content {i}")
        os.link(point / f"a{i}", point / f"b{i}")
        os.link(point / f"b{i}", point / f"c{i}")
        os.rename(point / f"b{i}", point / f"d{i}")
        os.unlink(point / f"a{i}")
        (point / f"e{i}").write_text("replaced")
        os.link(point / f"e{i}", point / f"f{i}")
        os.rename(point / f"c{i}", point / f"e{i}")
    except OSError as e:
        errors.append((i, e))


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.full)])
def test_a_killed_mounter_loses_no_name_and_no_byte(meta, processes, kills):
    victim = HeldManaged(meta, processes)
    errors, i = [], 0
    for _ in range(kills):
        work = threading.Thread(target=lambda: [churn(victim.point, n, errors)
                                                for n in range(i, i + 4)])
        work.start()
        time.sleep(random.random() * 0.25)
        victim.kill()
        work.join(60)
        assert not work.is_alive() and not errors, errors
        i += 4
    names = {f"{x}{n}" for n in range(i) for x in "def"}
    assert set(os.listdir(victim.point)) == names
    for n in range(i):
        for x, text in (("d", f"content {n}"), ("e", f"content {n}"), ("f", "replaced")):
            assert (victim.point / f"{x}{n}").read_text() == text
        assert same(victim.point / f"d{n}", victim.point / f"e{n}") >= 2
        assert same(victim.point / f"f{n}") >= 1
    for name in names:
        os.unlink(victim.point / name)
    assert os.listdir(victim.point) == []
    victim.unmount()


@pytest.mark.full
def test_what_a_dead_node_left_without_a_name_is_deleted(managed):
    session = opened(managed.meta, managed.volume, "dead")

    def names(method, **fields):
        return managed.meta.call(f"Namespace/{method}", of(session, **fields))

    one = managed.mount()
    (one / "a").write_text("content")
    os.link(one / "a", one / "b")
    file = next(k for k in objects(managed) if k.startswith(".skyvol/links/")).split("/")[2]
    with sqlite3.connect(managed.meta.dir / "meta.db") as db:
        numbers = [n for n, in db.execute("SELECT number FROM link_name")]
    for number in numbers:
        names("Unlink", number=number % (1 << 64))
    with sqlite3.connect(managed.meta.dir / "meta.db") as db:  # as if it were long ago
        db.execute("UPDATE link_file SET unlinked_ns = 1")
    assert names("GetLinks", unlinked=True)["found"] == [{"file": file}]
    managed.mount()
    wait_until(lambda: not any(k.startswith(".skyvol/links/") for k in objects(managed)), 60, "gone")

    def files():
        with sqlite3.connect(managed.meta.dir / "meta.db") as db:
            return db.execute("SELECT count(*) FROM link_file").fetchone()[0]

    wait_until(lambda: files() == 0, 10, "the file forgotten")


def test_an_unmanaged_volume_has_no_hard_links(workdir, processes):
    point = workdir / "mnt"
    point.mkdir()
    mount = processes.start([program("skyvol-mount"), "mem://bucket", point, "-f"], "m")
    wait_until(lambda: os.path.ismount(point), 15, "mount", mount)
    (point / "a").write_text("x")
    with pytest.raises(OSError) as e:
        os.link(point / "a", point / "b")
    assert e.value.errno == errno.EPERM
    subprocess.run(["umount", point], check=True)


def test_the_metaserver_counts_names_and_forgets_no_file_that_has_one(meta):
    volume = meta.create("one")
    session = opened(meta, volume, "n1")
    stranger = opened(meta, meta.create("other"), "n1")

    def names(method, session=session, check=True, **fields):
        return meta.call(f"Namespace/{method}", of(session, **fields), check=check)

    def link(*numbers, file="0a-1b", **fields):
        return names("Link", file=file, names=[{"number": n, "key": f"k{n}"} for n in numbers],
                     **fields)

    assert "NotFound" in link(1, check=False)[1]
    assert link(1, 2, make=True) == link(1, 2, make=True) == {"links": 2}
    assert link(3) == {"links": 3}
    assert "AlreadyExists" in link(3, file="0b", make=True, check=False)[1]
    assert names("GetLinks", stranger, files=["0a-1b"]) == {}
    meta.kill()
    meta.start(options=LEASE)
    assert names("GetLinks", files=["x", "0a-1b"]) == {
        "found": [{"index": 1, "links": 3, "file": "0a-1b"}]}
    assert names("Unlink", number=2) == {"links": 2, "file": "0a-1b"}
    assert names("Unlink", number=2) == {}
    assert names("GetLinks", single=True) == {}
    assert names("Unlink", number=3) == {"links": 1, "file": "0a-1b", "lastKey": "k1", "alone": True}
    single = {"found": [{"links": 1, "file": "0a-1b", "last": {"number": "1", "key": "k1"}}]}
    assert names("GetLinks", single=True) == single
    another = opened(meta, volume, "n2")  # it may have the file open
    assert names("GetLinks", single=True) == names("GetLinks", another, single=True) == {}
    assert names("Unlink", number=7) == {}
    link(8)
    assert names("Unlink", another, number=8) == {"links": 1, "file": "0a-1b", "lastKey": "k1"}
    meta.call("Sessions/CloseSession", of(another))
    assert names("GetLinks", single=True) == single
    names("DropLinks", files=["0a-1b"])
    assert link(4) == {"links": 2}
    for number in (1, 4):
        names("Unlink", number=number)
    assert names("GetLinks", files=["0a-1b"]) == {"found": [{"file": "0a-1b"}]}
    assert "NotFound" in link(5, check=False)[1]  # its object is about to go
    assert names("GetLinks", unlinked=True) == {}  # but who unlinked it has a minute for that
    names("DropLinks", files=["0a-1b"])
    assert names("GetLinks", files=["0a-1b"]) == {}
    for wrong in ({"file": ""}, {"file": "../x"}, {"file": "a", "names": [{"number": 0, "key": "k"}]}):
        assert "InvalidArgument" in names("Link", check=False, make=True, **wrong)[1]

# SPDX-License-Identifier: Apache-2.0
"""How many requests the work with names costs, counted at the store."""
import collections
import concurrent.futures
import os
import pathlib
import subprocess
import time
import urllib.parse

import pytest
from rig import BUCKET

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
    mount = mounted(attrs="list", attr_timeout=60)
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
    mount = mounted(attrs="list", attr_timeout=60)
    for name in names:
        assert os.stat(mount.point / name).st_size == 7
    seen = rig.proxy.seen
    assert seen["LIST"] <= 8 and seen["HEAD"] <= 4, seen


def test_one_lookup_does_not_list_a_large_directory(rig, mounted, tree):
    mount = mounted(attrs="list")
    assert os.stat(mount.point / "tree/d0/e00/f0").st_size == 7
    assert sum(rig.proxy.seen.values()) <= 3 * 4


@pytest.mark.parametrize("sync", ["close", "fsync"])
def test_removing_a_tree_deletes_by_the_thousand(rig, mounted, sync):
    names = list(keys(True))
    fill(rig, names, f"gone-{sync}/")
    mount = mounted(attrs="list", sync=sync, attr_timeout=60)
    subprocess.run(["rm", "-r", mount.point / f"gone-{sync}"], check=True, timeout=60)
    assert not (mount.point / f"gone-{sync}").exists()
    mount.end()
    seen = dict(rig.proxy.seen)
    assert not [key for key in rig.keys(f"gone-{sync}/") if key != f"gone-{sync}/"]
    assert sum(seen.values()) - seen.get("OTHER", 0) <= len(names) // 1000 * 2 + 10, seen


def test_a_name_may_be_made_again_at_once(rig, mounted):
    mount = mounted(sync="fsync")
    (mount.point / "d").mkdir()
    for content in ("one", "two", "three"):
        (mount.point / "d/f").write_text(content)
        fd = os.open(mount.point / "d/f", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        assert (mount.point / "d/f").read_text() == content
        (mount.point / "d/f").unlink()
        assert not (mount.point / "d/f").exists()
        assert os.listdir(mount.point / "d") == []
        (mount.point / "d").rmdir()
        assert not (mount.point / "d").exists()
        (mount.point / "d").mkdir()
        assert os.listdir(mount.point / "d") == []
    (mount.point / "d/f").write_text("last")
    mount.end()
    assert rig.objects("d/")["d/f"] == b"last"
    assert [key for key in rig.keys("d/") if "conflict" in key] == []


def test_what_is_removed_is_gone_for_the_store_after_fsync_of_the_directory(rig, mounted):
    mount = mounted(sync="fsync")
    fill(rig, [f"sync/f{n}" for n in range(20)])
    for n in range(20):
        (mount.point / f"sync/f{n}").unlink()
    fd = os.open(mount.point / "sync", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    assert rig.keys("sync/f") == []


def test_what_the_store_does_not_let_go_shows_again(rig, mounted):
    fill(rig, ["kept/a", "kept/b"])
    mount = mounted(sync="fsync", attr_timeout=0.1)
    rig.proxy.add("status", op="DELETE|DELETE_BATCH", code=403, s3="AccessDenied")
    (mount.point / "kept/a").unlink()
    end = time.monotonic() + 10
    while not (mount.point / "kept/a").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(PermissionError):
        (mount.point / "kept/b").unlink()
    rig.proxy.clear()
    assert "refuses to delete" in mount.log.read_text()


def test_a_removal_that_is_tried_again_spares_what_others_made(rig, mounted):
    fill(rig, ["again/a", "again/b"])
    mount = mounted(sync="fsync")
    rig.proxy.add("status", op="DELETE|DELETE_BATCH", code=400, s3="InvalidRequest", count=3)
    (mount.point / "again/a").unlink()
    (mount.point / "again/b").unlink()
    end = time.monotonic() + 10
    while rig.proxy.injected["status"] < 3:  # both at once, then each
        assert time.monotonic() < end
        time.sleep(0.01)
    rig.client().put_object(Bucket=BUCKET, Key="again/a", Body=b"another")
    mount.end()
    assert rig.objects("again/") == {"again/": b"", "again/a": b"another"}


def test_making_a_tree_costs_one_put_each(rig, mounted):
    mount = mounted(sync="fsync", attr_timeout=60)
    base = mount.point / "made"
    base.mkdir()
    for one in range(10):
        (base / f"d{one}").mkdir()
        for two in range(10):
            (base / f"d{one}" / f"f{two}").write_text("x")
            assert not (base / f"d{one}" / f"absent{two}").exists()
        (base / f"d{one}").chmod(0o711)
    assert sorted(os.listdir(base)) == [f"d{n}" for n in range(10)]
    mount.end()
    seen = dict(rig.proxy.seen)
    assert 111 <= seen["PUT"] <= 111 + 5, seen  # notes of modes
    assert seen.get("HEAD", 0) + seen.get("LIST", 0) <= 6, seen
    assert len(rig.keys("made/")) == 111
    again = mounted(sync="fsync")
    assert os.stat(again.point / "made/d3").st_mode & 0o777 == 0o711


def test_a_directory_with_objects_but_no_marker_stays_when_it_is_emptied(rig, mounted):
    fill(rig, ["implied/a", "implied/b"])
    mount = mounted(sync="fsync")
    (mount.point / "implied/a").unlink()
    (mount.point / "implied/b").unlink()
    assert os.listdir(mount.point / "implied") == []
    mount.end()
    assert rig.keys("implied/") == ["implied/"]


@pytest.mark.parametrize("how, heads", [("revalidate", 5), ("cached", 0)])
def test_open_asks_as_often_as_it_is_told_to(rig, mounted, how, heads):
    fill(rig, ["opened"])
    mount = mounted(open=how, attr_timeout=60)
    assert os.stat(mount.point / "opened").st_size == 7
    rig.proxy.reset_counts()
    for _ in range(5):
        os.close(os.open(mount.point / "opened", os.O_RDONLY))
    assert rig.proxy.seen["HEAD"] == heads


def test_small_files_of_a_tree_come_before_they_are_asked_for(rig, mounted, tree):
    """cp -r: one GET a file, though each is opened by itself; no HEAD; listings as for a walk."""
    mount = mounted(attrs="list", sync="fsync", attr_timeout=60)
    files = [key for key in tree if not key.endswith("/")]
    subprocess.run(["cp", "-r", mount.point / "tree", rig.directory / "copied"], check=True, timeout=60)
    seen = dict(rig.proxy.seen)
    assert len(files) <= seen.get("GET", 0) <= len(files) * 1.1, "a late one may be asked for twice"
    assert seen.get("HEAD", 0) <= 2 and seen.get("LIST", 0) <= len(tree) // 1000 + 8, seen
    copied = [p for p in (rig.directory / "copied").rglob("*") if p.is_file()]
    assert len(copied) == len(files) and all(p.read_bytes() == b"content" for p in copied)


def test_what_came_in_advance_is_opened_and_read_without_the_store(rig, mounted, tree):
    """Into the next directory, while the store answers no HEAD any more."""
    mount = mounted(attrs="list", open="revalidate", attr_timeout=60)
    walked(["ls", "-lR", "."], mount.point / "tree")
    files = [key for key in tree if not key.endswith("/")]
    first, then = files[:40], files[40:48]
    for key in first:
        assert (mount.point / key).read_bytes() == b"content"
    end = time.monotonic() + 20
    while rig.proxy.seen.get("GET", 0) < len(first) + len(then):
        assert time.monotonic() < end, rig.proxy.seen
        time.sleep(0.01)
    time.sleep(0.2)
    rig.proxy.add("stall", op="HEAD", seconds=120)
    before = {k: v for k, v in rig.proxy.seen.items() if k == "HEAD"}
    for key in then:
        assert (mount.point / key).read_bytes() == b"content"
    assert {k: v for k, v in rig.proxy.seen.items() if k == "HEAD"} == before
    rig.proxy.clear()


def unpacked(at, files=4):
    """As tar does: a directory's own mode and times when all below it is there."""
    for one in range(4):
        os.mkdir(at / f"d{one}", 0o700)
        for two in range(8):
            below = at / f"d{one}" / f"e{two}"
            os.mkdir(below, 0o700)
            for three in range(files):
                with open(below / f"f{three}", "wb", buffering=0) as file:
                    file.write(b"content")
                    os.utime(file.fileno(), (1500000000, 1500000000 + three))
                os.chmod(below / f"f{three}", 0o640)
            os.utime(below, (1500000000, 1500000001))
            os.chown(below, os.getuid(), os.getgid())
            os.chmod(below, 0o751)
        os.utime(at / f"d{one}", (1500000000, 1500000002))
        os.chmod(at / f"d{one}", 0o751)


def puts(rig):
    return collections.Counter(urllib.parse.unquote(path.partition("?")[0]).removeprefix(f"/{BUCKET}/")
                               for _, op, path, _ in list(rig.proxy.log) if op == "PUT")


def test_unpacking_a_tree_puts_each_object_and_each_note_once(rig, mounted):
    mount = mounted(sync="fsync", attr_timeout=60)
    (mount.point / "unpacked").mkdir()
    unpacked(mount.point / "unpacked")
    mount.end()
    seen, made = dict(rig.proxy.seen), puts(rig)
    notes = {key: n for key, n in made.items() if key.startswith(".skyvol/")}
    assert all(n == 1 for n in notes.values()), notes
    assert sum(made.values()) - len(notes) == 1 + 4 * 9 + 4 * 8 * 4, made
    assert seen.get("COPY", 0) + seen.get("DELETE", 0) == 0 and seen.get("LIST", 0) <= 3, seen
    again = mounted(sync="fsync")
    for name, mtime, mode in (("d2", 1500000002, 0o751), ("d2/e7", 1500000001, 0o751),
                              ("d3/e0/f3", 1500000003, 0o640)):
        status = os.stat(again.point / "unpacked" / name)
        assert (int(status.st_mtime), status.st_mode & 0o777) == (mtime, mode), name


def test_a_directory_that_waits_for_its_attributes_survives_the_mounter(rig):
    mount = rig.held(sync="fsync", attr_timeout=60)
    rig.proxy.clear()
    (mount.point / "waits").mkdir(0o700)
    unpacked(mount.point / "waits", files=1)
    assert mount.kill_mounter() is not None
    assert os.stat(mount.point / "waits/d3/e7").st_mode & 0o777 == 0o751
    mount.again()
    assert len(rig.keys("waits/")) == 1 + 4 * 9 + 4 * 8
    assert os.stat(mount.point / "waits/d3/e7").st_mode & 0o777 == 0o751
    mount.end()


def test_fsync_of_a_directory_does_not_wait_for_its_attributes(rig, mounted):
    mount = mounted(sync="fsync", attr_timeout=60)
    (mount.point / "synced").mkdir()
    fd = os.open(mount.point / "synced", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    assert rig.keys("synced/") == ["synced/"]


def test_a_new_directory_with_a_file_that_only_the_store_has_is_not_removed(rig, mounted):
    mount = mounted(sync="fsync", attr_timeout=60)
    (mount.point / "new").mkdir()
    for n in range(3):
        (mount.point / "new" / f"busy{n}").mkdir()  # "new" waits on
    rig.client().put_object(Bucket=BUCKET, Key="new/theirs", Body=b"theirs")
    (mount.point / "new/f").write_text("x")
    fd = os.open(mount.point / "new/f", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    with pytest.raises(OSError, match="not empty"):
        (mount.point / "new").rmdir()


def test_one_note_for_all_who_want_it(rig, mounted):
    mount = mounted(sync="fsync", attr_timeout=60)
    rig.proxy.add("stall", op="PUT", key="[.]skyvol/attrs/", seconds=0.3)
    (mount.point / "noted").mkdir()

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda n: os.symlink("to", mount.point / f"noted/l{n}"), range(24)))
    notes = {key: n for key, n in puts(rig).items() if key.startswith(".skyvol/attrs/special")}
    assert list(notes.values()) == [1], notes


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_is_given_its_name_when_it_is_written_is_one_put(rig, mounted, there):
    """As rsync, git and editors do."""
    at = f"named-{there}"
    if there:
        fill(rig, [f"{at}/f{n}" for n in range(20)])
    mount = mounted(sync="fsync", attr_timeout=60)
    (mount.point / at).mkdir(exist_ok=True)
    assert len(os.listdir(mount.point / at)) == (20 if there else 0)
    rig.proxy.reset_counts()
    for n in range(20):
        with open(mount.point / at / f".f{n}.tmp", "xb", buffering=0) as file:
            file.write(b"new content")
            os.fchmod(file.fileno(), 0o644)
        os.utime(mount.point / at / f".f{n}.tmp", (1500000000, 1500000000))
        os.rename(mount.point / at / f".f{n}.tmp", mount.point / at / f"f{n}")
        assert not (mount.point / at / f".f{n}.tmp").exists()
        assert (mount.point / at / f"f{n}").read_bytes() == b"new content"
    mount.end()
    seen = {op: n for op, n in rig.proxy.seen.items() if op in ("COPY", "PUT", "DELETE", "DELETE_BATCH")}
    made = {key: n for key, n in puts(rig).items() if not key.startswith(".skyvol/") and key[-1] != "/"}
    assert made == {f"{at}/f{n}": 1 for n in range(20)}, made
    assert set(seen) == {"PUT"}, seen
    assert {k: v for k, v in rig.objects(f"{at}/").items() if k[-1] != "/"} == {
        f"{at}/f{n}": b"new content" for n in range(20)}


def test_a_name_that_was_given_is_in_the_store_after_fsync_of_the_directory(rig, mounted):
    fill(rig, ["durable/old"])
    mount = mounted(sync="fsync", attr_timeout=60)
    assert os.listdir(mount.point / "durable") == ["old"]
    (mount.point / "durable/new").write_text("new content")
    os.rename(mount.point / "durable/new", mount.point / "durable/old")
    fd = os.open(mount.point / "durable", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    assert rig.objects("durable/") == {"durable/old": b"new content"}


def test_a_name_that_was_given_survives_the_mounter(rig):
    fill(rig, ["given/old"])
    mount = rig.held(sync="fsync", attr_timeout=60)
    rig.proxy.add("status", op="PUT", code=503)
    assert os.listdir(mount.point / "given") == ["old"]
    (mount.point / "given/a").write_text("over the old")
    os.rename(mount.point / "given/a", mount.point / "given/old")
    (mount.point / "given/b").write_text("fresh")
    os.rename(mount.point / "given/b", mount.point / "given/new")
    assert mount.kill_mounter() is not None
    assert sorted(os.listdir(mount.point / "given")) == ["new", "old"]
    assert (mount.point / "given/old").read_text() == "over the old"
    rig.proxy.clear()
    mount.end()
    assert rig.objects("given/") == {"given/new": b"fresh", "given/old": b"over the old"}


def test_a_name_that_another_has_made_meanwhile_is_not_overwritten(rig, mounted):
    fill(rig, ["raced/old"])
    mount = mounted(sync="fsync", attr_timeout=60)
    rig.proxy.add("stall", op="PUT", key="raced/", seconds=0.5, count=1)
    assert os.listdir(mount.point / "raced") == ["old"]
    (mount.point / "raced/mine").write_text("mine")
    os.rename(mount.point / "raced/mine", mount.point / "raced/old")
    rig.client().put_object(Bucket=BUCKET, Key="raced/old", Body=b"theirs")
    mount.end()
    left = rig.objects("raced/")
    assert left.pop("raced/old") == b"theirs" and list(left.values()) == [b"mine"]


@pytest.fixture(scope="module")
def large(rig):
    """Some 2,700 keys in three levels, whose subtrees do not end where pages do."""
    names = [f"large/{one}/{two:02}/f{three:03}" for one in range(6) for two in range(20)
             for three in range(20 + one)]
    markers = {name[:i + 1] for name in names for i, c in enumerate(name) if c == "/"}
    fill(rig, [*names, *markers])
    return len(names) + len(markers)


@pytest.mark.parametrize("walk", ["find", "ls -lR"])
def test_no_page_of_a_walk_overlaps_another(rig, mounted, large, walk):
    mount = mounted(attrs="list", attr_timeout=60)
    walked(WALKS[walk], mount.point / "large")
    lists = [path for _, op, path, _ in rig.proxy.log if op == "LIST" and "prefix=large" in path]
    assert len(lists) <= large // 1000 + 1 + 2, lists  # the lookup, and the names of the top


@pytest.mark.parametrize("size", [1, 30000, 3 << 20])
def test_what_was_just_written_is_read_without_the_store(rig, mounted, size):
    mount = mounted(sync="fsync", attr_timeout=60)
    content = os.urandom(size)
    with open(mount.point / "first", "wb") as file:  # whose attributes are noted, by a thread
        os.fsync(file.fileno())
    with open(mount.point / f"back{size}", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fd = os.open(mount.point / f"back{size}", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
    assert (mount.point / f"back{size}").read_bytes() == content
    assert rig.proxy.seen.get("GET", 0) == 0, rig.proxy.seen
    with open(mount.point / f"back{size}", "r+b") as file:  # and what is written over it
        file.write(b"#")
        file.flush()
        os.fsync(file.fileno())
    assert (mount.point / f"back{size}").read_bytes() == b"#" + content[1:]
    mount.end()
    assert rig.objects(f"back{size}") == {f"back{size}": b"#" + content[1:]}

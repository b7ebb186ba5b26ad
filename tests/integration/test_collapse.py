# SPDX-License-Identifier: Apache-2.0
"""Files with hard links of which one name is left become plain objects again, whatever happens meanwhile."""
import fcntl
import hashlib
import json
import os
import sqlite3
import subprocess
import threading
import time

import holder_client
import pytest
from conftest import program, wait_until
from fault_proxy import Rule
from rig import KEYS, Rig
from stack import mounts_below
from test_links import managed, meta, objects, same  # noqa: F401
from test_managed import LEASE, HeldManaged, Managed, attach
from test_meta import Meta


def alone(managed):
    """One mount that has its session."""
    point = managed.mount()
    wait_until(lambda: len(managed.sessions()) == 1, 10, "session")
    return point


def known(meta):
    """Files with hard links that the metaserver knows."""
    with sqlite3.connect(meta.dir / "meta.db") as db:
        return db.execute("SELECT count(*) FROM link_file").fetchone()[0]


def rename_by_link(old, new):
    os.link(old, new)
    os.unlink(old)


def test_what_link_and_unlink_leave_is_a_plain_object_with_all_it_had(managed):
    one = alone(managed)
    (one / "d").mkdir()
    (one / "tmp").write_text("content")
    os.chmod(one / "tmp", 0o640)
    os.setxattr(one / "tmp", "user.mark", b"kept")
    os.utime(one / "tmp", ns=(1_000_000_007, 2_000_000_009))
    before = os.stat(one / "tmp")
    rename_by_link(one / "tmp", one / "d" / "final")
    assert objects(managed) == {"d/", "d/final"} and known(managed.meta) == 0
    after = os.stat(one / "d" / "final")
    assert after.st_ino == before.st_ino and after.st_nlink == 1
    assert after.st_ctime_ns > before.st_ctime_ns
    assert os.listdir(one) == ["d"] and os.listdir(one / "d") == ["final"]
    two = managed.mount()
    for point in (one, two):
        there = os.stat(point / "d" / "final")
        assert (there.st_mode, there.st_mtime_ns, there.st_ctime_ns, there.st_size) == (
            before.st_mode, 2_000_000_009, after.st_ctime_ns, 7)
        assert os.getxattr(point / "d" / "final", "user.mark") == b"kept"
        assert (point / "d" / "final").read_text() == "content"


def test_every_way_to_lose_a_name_but_one_ends_so(managed):
    one = alone(managed)
    (one / "a").write_text("linked")
    os.link(one / "a", one / "b")
    (one / "plain").write_text("plain")
    os.rename(one / "plain", one / "a")  # the name is taken by another file
    assert objects(managed) == {"a", "b"}
    assert (one / "a").read_text() == "plain" and (one / "b").read_text() == "linked"
    os.rename(one / "b", one / "c")  # as any file
    assert objects(managed) == {"a", "c"}
    for kind, make in (("s", lambda p: os.symlink("target", p)), ("p", os.mkfifo)):
        make(one / kind)
        os.link(one / kind, one / (kind + "2"), follow_symlinks=False)
        os.unlink(one / kind)
    assert os.readlink(one / "s2") == "target"
    assert objects(managed) == {"a", "c", "s2", "p2"} and known(managed.meta) == 0
    names = ["c"] + [f"n{i}" for i in range(4)]
    for old, new in zip(names, names[1:]):  # again and again
        rename_by_link(one / old, one / new)
    assert objects(managed) == {"a", "n3", "s2", "p2"}
    assert (one / "n3").read_text() == "linked"


def test_open_handles_go_on(managed):
    one = alone(managed)
    with open(one / "tmp", "w+") as file:
        file.write("begun")  # not published when it gets its second name
        file.flush()
        os.link(one / "tmp", one / "final")
        file.write(", written")
        file.flush()  # nor when it loses the first
        os.unlink(one / "tmp")
        number = os.fstat(file.fileno()).st_ino
        assert os.stat(one / "final").st_ino == number
        file.seek(0)
        assert file.read() == "begun, written"
        file.write(", ended")
    assert (one / "final").read_text() == "begun, written, ended"
    with open(one / "final", "r+") as file:
        rename_by_link(one / "final", one / "last")
        os.pwrite(file.fileno(), b"BEGUN", 0)
        os.fsync(file.fileno())
        os.unlink(one / "last")
        assert os.pread(file.fileno(), 100, 0) == b"BEGUN, written, ended"
    wait_until(lambda: objects(managed) == set(), 10, "nothing")


def test_large_files_are_copied_by_the_store(managed):
    one = alone(managed)
    data = os.urandom(20 << 20)
    (one / "tmp").write_bytes(data)
    with open(one / "tmp", "r+b") as file:
        rename_by_link(one / "tmp", one / "final")
        file.seek(12 << 20)
        file.write(b"changed")
    assert objects(managed) == {"final"}
    two = managed.mount()
    assert (two / "final").read_bytes() == data[:12 << 20] + b"changed" + data[(12 << 20) + 7:]


def test_what_is_locked_stays_linked(managed):
    one = alone(managed)
    (one / "tmp").write_text("content")
    with open(one / "tmp", "r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        rename_by_link(one / "tmp", one / "final")
        assert len([k for k in objects(managed) if k.startswith(".skyvol/links/")]) == 1
    assert same(one / "final") == 1
    assert (one / "final").read_text() == "content"


def test_with_another_mount_the_file_stays_linked_and_its_writers_lose_nothing(managed):
    one, two = managed.two()
    (one / "tmp").write_text("content")
    os.link(one / "tmp", one / "final")
    with open(two / "final", "r+") as theirs:
        theirs.write("CONTENT")
        os.unlink(one / "tmp")  # here their bytes would have become a conflict copy
        theirs.flush()
        os.fsync(theirs.fileno())
    assert (one / "final").read_text() == (two / "final").read_text() == "CONTENT"
    assert sorted(os.listdir(one)) == ["final"]
    assert len([k for k in objects(managed) if k.startswith(".skyvol/links/")]) == 1
    subprocess.run(["umount", two], check=True)
    managed.mounts[1].wait(20)
    rename_by_link(one / "final", one / "last")  # alone: now it is done
    assert objects(managed) == {"last"} and known(managed.meta) == 0
    assert (managed.mount() / "last").read_text() == "CONTENT"


@pytest.mark.full
def test_what_stayed_linked_becomes_plain_when_a_mount_is_alone(managed):
    one, two = managed.two()
    (one / "d").mkdir()
    for name in ("a", "d/b"):
        (one / name).write_text(name)
        rename_by_link(one / name, one / f"{name}2")
    (one / "moved").mkdir()
    (one / "moved" / "c").write_text("c")
    rename_by_link(one / "moved" / "c", one / "moved" / "c2")
    os.rename(one / "moved", one / "there")  # where no sweep finds it
    for i, point in enumerate((one, two)):
        subprocess.run(["umount", point], check=True)
        managed.mounts[i].wait(20)
    three = managed.mount()
    wait_until(lambda: known(managed.meta) == 1, 60, "the sweep")
    assert len([k for k in objects(managed) if k.startswith(".skyvol/links/")]) == 1
    assert {k for k in objects(managed) if not k.startswith(".")} == {
        "a2", "d/", "d/b2", "there/", "there/c2"}
    for name, text in (("a2", "a"), ("d/b2", "d/b"), ("there/c2", "c")):
        assert (three / name).read_text() == text


def git(at, *arguments):
    return subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=n@example.org",
                           "-c", "core.createObject=link", "-C", at, *arguments], check=True,
                          capture_output=True, text=True, env={**os.environ, "HOME": str(at)}).stdout


def test_git_leaves_one_object_for_each_file(managed):
    one = alone(managed)
    (one / "r").mkdir()
    git(one / "r", "init", "-q")
    for i in range(3):
        (one / "r" / f"file{i}").write_text(f"content {i}\n" * 50)
        git(one / "r", "add", ".")
        git(one / "r", "commit", "-q", "-m", f"commit {i}")
    git(one, "clone", "-q", "--local", "--no-hardlinks", "r", "s")
    git(one / "s", "fsck", "--strict")
    assert not [k for k in objects(managed) if k.startswith(".skyvol/links/")]
    assert known(managed.meta) == 0
    assert git(one / "s", "log", "--format=%s").split("\n")[:3] == ["commit 2", "commit 1", "commit 0"]


# ---- on S3, where a copy may have no condition on what it replaces; with faults ----

class OnS3:
    """A managed volume in an S3 store behind the injecting proxy, mounted under a holder."""

    def __init__(self, rig, meta, processes):
        self.rig, self.meta = rig, meta
        meta.call("Stores/AddStore", {
            "store": {"name": "default", "location": "s3://", "endpoint": rig.url,
                      "s3_region": "us-east-1"},
            "credentials": {k: KEYS[0][k] for k in ("access_key", "secret_key")}})
        self.volume = meta.create("one")
        self.point, path = meta.dir / "held", meta.dir / "h.sock"
        self.point.mkdir()
        holder = processes.start([program("skyvol-holder"), "--socket", path,
                                  "--crash-limit", "1000"], "holder")
        wait_until(lambda: "holder is ready" in holder.log.read_text(), 10, "holder", holder)
        config = {"location": f"s3://{self.volume['bucket']}",
                  "options": {"endpoint": rig.url, "attr_timeout": "60"},  # what is counted ages not
                  "meta": {"address": f"unix:{meta.socket}", "volume": self.volume["id"],
                           "node": "n1", "mount": "v1", "exclusive": False}}
        self.client = holder_client.Holder(path)
        self.client.mount("v1", self.point, json.dumps(config), json.dumps(
            {"meta": {"token": attach(meta, self.volume, "n1")},
             **{k: KEYS[0][k] for k in ("access_key", "secret_key")}}))
        wait_until(lambda: len(meta.call("Sessions/ListSessions", {
            "volume_id": self.volume["id"]}).get("sessions", [])) == 1, 10, "session")

    kill = HeldManaged.kill
    mounter = HeldManaged.mounter

    def keys(self):
        pages = self.rig.client().get_paginator("list_objects_v2").paginate(
            Bucket=self.volume["bucket"])
        keys = {o["Key"] for page in pages for o in page.get("Contents", [])}
        return {k for k in keys if not k.startswith(".skyvol/") or k.startswith(".skyvol/links/")}

    def get(self, key):
        return self.rig.client().get_object(Bucket=self.volume["bucket"], Key=key)["Body"].read()


@pytest.fixture(params=["conditions", "blind"])
def s3(workdir, processes, request):
    with Rig() as rig:
        if request.param == "blind":
            rig.proxy.add("blind", op="COPY", store=rig.client())
        server = Meta(workdir, processes)
        server.start(options=LEASE)
        yield OnS3(rig, server, processes)
        rig.proxy.clear()
        for point in mounts_below(workdir):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def test_on_s3_neither_link_nor_unlink_costs_a_publication_of_its_own(s3):
    blind = s3.rig.proxy.injected["blind"] > 0
    for size, name in ((1000, "small"), (9 << 20, "large")):
        data = os.urandom(size)
        (s3.point / "tmp").write_bytes(data)
        s3.rig.proxy.reset_counts()
        os.link(s3.point / "tmp", s3.point / name)
        asked = [entry[1] for entry in s3.rig.proxy.log if entry[1] != "LIST"]  # of the sweep
        assert asked[asked.index("COPY"):] == ["COPY", "PUT", "PUT"]  # the bytes, two names
        s3.rig.proxy.reset_counts()
        os.unlink(s3.point / "tmp")
        asked = [entry[1] for entry in s3.rig.proxy.log if entry[1] != "LIST"]
        # One look at the name that goes; then the bytes.
        by_us = ["GET", "PUT"] if name == "small" else ["CREATE_UPLOAD", "UPLOAD_PART_COPY", "COMPLETE"]
        assert asked == ["HEAD", "DELETE", *(by_us if blind else ["COPY"]), "DELETE"]
        assert s3.get(name) == data
    assert s3.keys() == {"small", "large"} and known(s3.meta) == 0


@pytest.mark.parametrize("fault", ["stall", "lost"])
@pytest.mark.parametrize("s3,op,key,size", [
    ("conditions", "COPY", "final$", 1000), ("conditions", "COPY", "final$", 9 << 20),
    ("conditions", "DELETE", "links", 1000), ("blind", "PUT", "final$", 1000),
    ("blind", "COMPLETE", "final", 9 << 20)], indirect=["s3"])
def test_killed_at_each_step_it_is_finished_by_the_next_mounter(s3, fault, op, key, size):
    data = os.urandom(size)
    (s3.point / "tmp").write_bytes(data)
    os.link(s3.point / "tmp", s3.point / "final")
    with open(s3.point / "final", "r+b") as file:
        number = os.fstat(file.fileno()).st_ino
        s3.rig.proxy.rules.insert(0, Rule(fault, op=op, key=key, count=1, seconds=2))
        done = threading.Thread(target=lambda: os.unlink(s3.point / "tmp"))
        done.start()
        wait_until(lambda: any(e[1] == op and e[3] == fault for e in list(s3.rig.proxy.log)), 10,
                   "the step")
        s3.kill()
        file.write(b"new")  # while it is not known what the store has
        file.flush()
        os.fsync(file.fileno())
        done.join(30)
        assert not done.is_alive()
        assert os.fstat(file.fileno()).st_ino == os.stat(s3.point / "final").st_ino == number
    time.sleep(2.2)  # what was held back has arrived
    assert hashlib.sha256((s3.point / "final").read_bytes()).digest() == \
        hashlib.sha256(b"new" + data[3:]).digest()
    assert s3.get("final") == b"new" + data[3:]
    left = s3.keys()
    assert left - {k for k in left if k.startswith(".skyvol/links/")} == {"final"}
    if op != "DELETE":
        assert left == {"final"} and known(s3.meta) == 0
    s3.client.unmount("v1")


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.full)])
def test_kills_at_any_time_lose_nothing(meta, processes, kills):
    victim = HeldManaged(meta, processes)
    errors, i = [], 0

    def work(n):
        try:
            (victim.point / f"t{n}").write_text(f"content {n}")
            rename_by_link(victim.point / f"t{n}", victim.point / f"f{n}")
            with open(victim.point / f"f{n}", "a") as file:
                file.write(", more")
            rename_by_link(victim.point / f"f{n}", victim.point / f"g{n}")
        except OSError as e:
            errors.append((n, e))

    for _ in range(kills):
        thread = threading.Thread(target=lambda: [work(n) for n in range(i, i + 6)])
        thread.start()
        time.sleep(int.from_bytes(os.urandom(1), "big") / 1024)
        victim.kill()
        thread.join(60)
        assert not thread.is_alive() and not errors, errors
        i += 6
    assert set(os.listdir(victim.point)) == {f"g{n}" for n in range(i)}
    for n in range(i):
        assert (victim.point / f"g{n}").read_text() == f"content {n}, more"
        assert same(victim.point / f"g{n}") == 1
    victim.unmount()
    managed = Managed.__new__(Managed)
    managed.meta, managed.volume, managed.options, managed.mounts = meta, victim.volume, [], []
    with sqlite3.connect(meta.dir / "meta.db") as db:  # what has no name has had none for long
        db.execute("UPDATE link_file SET unlinked_ns = 1")
    point = managed.mount()
    for n in range(i):
        assert (point / f"g{n}").read_text() == f"content {n}, more"
    if kills > 3:
        wait_until(lambda: objects(managed) == {f"g{n}" for n in range(i)}, 60, "a plain bucket")

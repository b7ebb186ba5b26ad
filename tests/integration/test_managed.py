# SPDX-License-Identifier: Apache-2.0
"""Managed volumes: sessions with the metaserver, what they keep others from, and how they end."""
import errno
import fcntl
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import threading
import time

import holder_client
import pytest
from conftest import program, stop_whole, wait_until
from rig import KEYS, Rig
from stack import mounts_below
from test_meta import Meta

LEASE = ("--session-lease", "20s")
BRIEF = ("--session-lease", "2s")


def started(workdir, processes, lease):
    server = Meta(workdir, processes)
    server.start(options=lease)
    server.call("Stores/AddStore", {"store": {"name": "default",
                                              "location": f"dir://{server.store}"}})
    return server


@pytest.fixture
def meta(workdir, processes):
    return started(workdir, processes, LEASE)


@pytest.fixture
def brief(workdir, processes):
    """For what is to be seen when a lease ends. The calls of a test take a while, too."""
    return started(workdir, processes, BRIEF)


def attach(meta, volume, node):
    return meta.call("Volumes/AttachVolume", {"id": volume["id"], "node": node})["volumeToken"]


def opened(meta, volume, node, token=None, check=True, **wishes):
    return meta.call("Sessions/OpenSession", {
        "volume_id": volume["id"], "node": node, "mount": "m",
        "volume_token": token or attach(meta, volume, node), **wishes}, check=check)


def of(session, **fields):
    return {"session_id": session["sessionId"], "epoch": session["epoch"], **fields}


def lock(meta, session, check=True, **fields):
    return meta.call("Leases/AcquireLease", of(
        session, **{"key": "k", "kind": "LEASE_LOCK_EXCLUSIVE", **fields}), check=check)


def test_a_token_opens_one_volume_for_one_node(meta):
    one, other = meta.create("one"), meta.create("other")
    token = attach(meta, one, "n1")
    assert opened(meta, one, "n1", token)["leaseMs"] == "20000"
    for volume, node, wrong in ((other, "n1", token), (one, "n2", token), (one, "n1", "0" * 64),
                                (one, "n1", token[:-1])):
        assert "Unauthenticated" in opened(meta, volume, node, wrong, check=False)[1]
    assert "InvalidArgument" in opened(meta, one, "", token, check=False)[1]
    meta.processes.stop(meta.process)
    for file in [*meta.dir.glob("meta.db*"), meta.process.log]:
        assert token.encode() not in file.read_bytes(), file


def test_a_volume_for_one_node_refuses_the_next_until_the_lease_ends(brief):
    volume = brief.create("one")
    opened(brief, volume, "n1", exclusive=True)
    why = opened(brief, volume, "n2", check=False, exclusive=True)[1]
    assert "FailedPrecondition" in why and "node n1" in why and "lease ends at 20" in why
    wait_until(lambda: opened(brief, volume, "n2", check=False, exclusive=True)[0] == 0, 5, "lapse")


def test_a_volume_is_not_deleted_while_it_is_mounted(meta):
    volume = meta.create("one")
    sessions = [opened(meta, volume, node) for node in ("n1", "n2")]
    why = meta.call("Volumes/DeleteVolume", {"id": volume["id"]}, check=False)[1]
    assert "FailedPrecondition" in why and "nodes n1, n2" in why
    shown = subprocess.run([program("skyvolctl"), "volume", "show", "one", "--meta",
                            f"unix:{meta.socket}"], capture_output=True, text=True, check=True)
    assert "n1" in shown.stdout and "several nodes" in shown.stdout
    assert sessions[0]["sessionId"] not in shown.stdout
    for session in sessions:
        meta.call("Sessions/CloseSession", of(session))
    meta.call("Volumes/DeleteVolume", {"id": volume["id"]})
    assert "NotFound" in opened(meta, volume, "n1", "x", check=False)[1] or \
           "Unauthenticated" in opened(meta, volume, "n1", "x", check=False)[1]


def test_a_newer_session_fences_the_older_and_a_session_touches_its_own_volume_only(meta):
    one, other = meta.create("one"), meta.create("other")
    old = opened(meta, one, "n1")
    assert lock(meta, old)["granted"]
    new = opened(meta, one, "n1")
    assert "Aborted" in meta.call("Sessions/RenewSession", of(old), check=False)[1]
    assert "Aborted" in lock(meta, old, check=False)[1]
    assert lock(meta, new)["granted"]  # the older one's are gone
    stranger = opened(meta, other, "n1")
    assert lock(meta, stranger)["granted"]  # the same key of another volume
    taken = lock(meta, opened(meta, one, "n2"))
    assert not taken.get("granted") and taken["conflict"]["node"] == "n1"
    meta.call("Leases/ReleaseLease", of(stranger, key="k", kind="LEASE_LOCK_SHARED"))
    assert not lock(meta, opened(meta, one, "n2")).get("granted")


def test_a_lock_is_waited_for_and_outlives_the_metaserver_but_not_its_session(brief):
    volume = brief.create("one")
    holder = opened(brief, volume, "n1")
    assert lock(brief, holder)["granted"]
    brief.kill()
    brief.start(options=BRIEF)
    waiter = opened(brief, volume, "n2")
    taken = lock(brief, waiter, wait_ms=10)
    assert not taken.get("granted") and taken["conflict"]["node"] == "n1"
    waiter = opened(brief, volume, "n3")
    assert lock(brief, waiter, wait_ms=10000)["granted"]  # the holder's lease has ended
    assert "NotFound" in brief.call("Sessions/RenewSession", of(holder), check=False)[1]


@pytest.mark.parametrize("fields", [
    {"key": ""}, {"key": "k" * 1100}, {"kind": 0}, {"kind": 77}, {"offset": 1 << 63},
    {"offset": 9, "len": (1 << 63) - 1}])
def test_what_is_no_lock_is_refused(meta, fields):
    session = opened(meta, meta.create("one"), "n1")
    assert "InvalidArgument" in lock(meta, session, check=False, **fields)[1]


class Managed:
    """A volume of `meta`, mounted by skyvolctl mount: each place has a session of its own."""

    def __init__(self, meta, name, options=()):
        self.meta, self.volume = meta, meta.create(name)
        self.options = options
        self.mounts = []

    def mount(self, *options):
        point = self.meta.dir / f"mnt{len(self.mounts)}"
        point.mkdir()
        self.mounts.append(self.meta.processes.start(
            [program("skyvolctl"), "mount", self.volume["id"], point, "--meta",
             f"unix:{self.meta.socket}", "-f", *(f"-o{o}" for o in (*self.options, *options))],
            f"mount{len(self.mounts)}"))
        wait_until(lambda: os.path.ismount(point), 15, "mount", self.mounts[-1])
        return point

    def sessions(self):
        return self.meta.call("Sessions/ListSessions",
                              {"volume_id": self.volume["id"]}).get("sessions", [])

    def two(self):
        points = self.mount(), self.mount()
        wait_until(lambda: len(self.sessions()) == 2, 10, "two sessions")
        return points


class HeldManaged:
    """A volume mounted for node n1 under a holder: programs' calls outlive its mounters."""

    def __init__(self, meta, processes):
        self.meta, self.volume = meta, meta.create("one")
        self.point, path = meta.dir / "held", meta.dir / "h.sock"
        self.point.mkdir()
        holder = processes.start([program("skyvol-holder"), "--socket", path,
                                  "--crash-limit", "1000"], "holder")
        wait_until(lambda: "holder is ready" in holder.log.read_text(), 10, "holder", holder)
        config = {"location": f"dir://{meta.store}/{self.volume['bucket']}", "options": {},
                  "meta": {"address": f"unix:{meta.socket}", "volume": self.volume["id"],
                           "node": "n1", "mount": "v1", "exclusive": False}}
        self.client = holder_client.Holder(path)
        self.client.mount("v1", self.point, json.dumps(config), json.dumps(
            {"meta": {"token": attach(meta, self.volume, "n1")}}))

    def mounter(self):
        return self.client.status("v1")["mounter"]

    def kill(self):
        mounter = self.mounter()
        holder_client.kill9(mounter)
        wait_until(lambda: self.mounter() not in (0, mounter), 60, "successor")

    def unmount(self):
        self.client.unmount("v1")


def try_lock(file, kind=fcntl.LOCK_EX, *span):
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB, *span)
        return True
    except BlockingIOError:
        return False


def test_a_mount_has_a_session_until_it_ends_and_no_token_is_to_be_seen(brief):
    managed = Managed(brief, "one")
    point = managed.mount()
    wait_until(lambda: len(managed.sessions()) == 1, 10, "session")
    assert managed.sessions()[0]["mount"] == str(point)
    time.sleep(2)  # longer than the lease
    assert len(managed.sessions()) == 1
    told = [open(f"/proc/{managed.mounts[0].pid}/{a}", "rb").read() for a in ("cmdline", "environ")]
    for text in (*told, managed.mounts[0].log.read_bytes(), brief.process.log.read_bytes()):
        assert not re.search(rb"[0-9a-f]{64}", text)  # as tokens are
    subprocess.run(["umount", point], check=True)
    managed.mounts[0].wait(20)
    assert managed.sessions() == []
    brief.call("Volumes/DeleteVolume", {"id": managed.volume["id"]})


def test_a_mount_begins_reads_and_writes_while_the_metaserver_is_down(meta):
    managed = Managed(meta, "one")
    point = managed.mount()
    meta.kill()
    (point / "file").write_text("content")
    assert (point / "file").read_text() == "content"
    with open(point / "file", "r+") as file:
        with pytest.raises(OSError) as e:
            fcntl.lockf(file, fcntl.LOCK_EX)
        assert e.value.errno == errno.ENOLCK
    meta.start(options=LEASE)
    wait_until(lambda: len(managed.sessions()) == 1, 15, "session again")
    with open(point / "file", "r+") as file:
        wait_until(lambda: try_lock(file), 10, "lock")


def test_locks_hold_between_two_mounts(meta):
    one, two = Managed(meta, "one").two()
    (one / "file").write_text("x" * 100)
    with open(one / "file", "r+") as a, open(two / "file", "r+") as b:
        assert try_lock(a, fcntl.LOCK_EX, 10, 0)
        assert try_lock(b, fcntl.LOCK_EX, 10, 10)
        assert not try_lock(b, fcntl.LOCK_SH, 5, 5)
        fcntl.lockf(a, fcntl.LOCK_UN, 5, 5)
        assert try_lock(b, fcntl.LOCK_SH, 5, 5)
        fcntl.flock(a, fcntl.LOCK_EX)  # another family
        with pytest.raises(BlockingIOError):
            fcntl.flock(b, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(a, fcntl.LOCK_UN)
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(one / "file", "r+") as a:  # all ends with the close, of flock in the background
        assert try_lock(a)
        wait_until(lambda: flock_now(a), 5, "flock")


def flock_now(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def test_who_waits_for_a_lock_gets_it_with_the_other_ones_bytes(meta):
    one, two = Managed(meta, "one").two()
    (one / "file").write_text("old")
    a = open(one / "file", "r+")
    b = open(two / "file", "r+")
    assert b.read() == "old"
    fcntl.lockf(a, fcntl.LOCK_EX)
    got = []
    waiter = threading.Thread(target=lambda: (fcntl.lockf(b, fcntl.LOCK_EX), got.append(1)))
    waiter.start()
    time.sleep(0.3)
    assert not got
    os.pwrite(a.fileno(), b"newer", 0)
    fcntl.lockf(a, fcntl.LOCK_UN)  # publishes
    waiter.join(10)
    assert got and os.pread(b.fileno(), 10, 0) == b"newer"
    a.close()
    b.close()


def test_a_signal_ends_the_wait_for_a_lock(meta):
    one, two = Managed(meta, "one").two()
    (one / "file").write_text("x")
    with open(one / "file", "r+") as a:
        fcntl.lockf(a, fcntl.LOCK_EX)
        waits = subprocess.run(["python3", "-c", f"""
import fcntl, signal
def ring(*_): raise TimeoutError
signal.signal(signal.SIGALRM, ring)
signal.alarm(1)
try:
    fcntl.lockf(open('{two}/file', 'r+'), fcntl.LOCK_EX)
except TimeoutError:
    print('interrupted')
"""], capture_output=True, text=True, timeout=20, check=False)
        assert waits.stdout == "interrupted\n", waits.stderr
    with open(two / "file", "r+") as b:
        assert try_lock(b)


def test_two_nodes_that_wait_for_each_other_are_told(meta):
    one, two = Managed(meta, "one").two()
    (one / "file").write_text("x" * 10)
    a, b = open(one / "file", "r+"), open(two / "file", "r+")
    assert try_lock(a, fcntl.LOCK_EX, 1, 0) and try_lock(b, fcntl.LOCK_EX, 1, 1)
    results = []

    def wait(file, at):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, at)
            results.append("locked")
        except OSError as e:
            results.append(e.errno)
            file.close()

    threads = [threading.Thread(target=wait, args=x) for x in ((a, 1), (b, 0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, results)) == [str(errno.EDEADLK), "locked"]


def lock_error(file):
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        return e.errno
    return 0


def test_locks_that_are_lost_with_the_session_are_told_by_name(brief):
    managed = Managed(brief, "one")
    one, two = managed.two()
    (one / "file").write_text("x")
    a = open(one / "file", "r+b", buffering=0)
    fcntl.lockf(a, fcntl.LOCK_EX)
    stop_whole(managed.mounts[0])
    with open(two / "file", "r+b", buffering=0) as b:
        wait_until(lambda: try_lock(b), 10, "the end of the lease")
        managed.mounts[0].send_signal(signal.SIGCONT)
        wait_until(lambda: lock_error(a) == errno.EIO, 10, "the loss to be noticed")
        with pytest.raises(OSError) as e:
            os.pwrite(a.fileno(), b"y", 0)
        assert e.value.errno == errno.EIO
        b.write(b"z")
    a.close()
    with open(one / "file", "r+b", buffering=0) as a:
        wait_until(lambda: try_lock(a), 10, "lock")
        assert a.read() == b"z"


def test_a_metaserver_that_is_back_is_asked_again_at_once(meta):
    managed = Managed(meta, "one")
    point = managed.mount()
    wait_until(lambda: len(managed.sessions()) == 1, 10, "session")
    (point / "a").write_text("x")
    meta.kill()
    with pytest.raises(OSError) as e:  # asks for three seconds, in vain
        os.link(point / "a", point / "b")
    assert e.value.errno == errno.EIO
    meta.start(options=LEASE)
    os.link(point / "a", point / "b")
    assert os.stat(point / "a").st_nlink == 2


def test_no_lock_is_lost_when_the_metaserver_restarts_and_none_is_given_while_it_is_away(meta):
    one, two = Managed(meta, "one").two()
    (one / "file").write_text("x")
    with open(one / "file", "r+") as a, open(two / "file", "r+") as b:
        fcntl.lockf(a, fcntl.LOCK_EX)
        meta.kill()
        with pytest.raises(OSError) as e:
            fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert e.value.errno == errno.ENOLCK
        meta.start(options=LEASE)
        time.sleep(0.5)
        assert not try_lock(b)
        os.pwrite(a.fileno(), b"y", 0)
        fcntl.lockf(a, fcntl.LOCK_UN)
        wait_until(lambda: try_lock(b), 5, "lock")


def test_two_nodes_count_in_one_sqlite_database(meta):
    one, two = Managed(meta, "one").two()
    with sqlite3.connect(one / "db") as db:
        db.execute("CREATE TABLE t(n INTEGER)")
        db.execute("INSERT INTO t VALUES(0)")
    db.close()
    errors = []

    def count(point):
        db = sqlite3.connect(point / "db", timeout=30, isolation_level=None)
        for _ in range(10):
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("UPDATE t SET n = n + 1")
                db.execute("COMMIT")
            except sqlite3.Error as e:
                errors.append(str(e))
                raise
        db.close()

    threads = [threading.Thread(target=count, args=(point,)) for point in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    with sqlite3.connect(two / "db") as db:
        assert db.execute("SELECT n FROM t").fetchone() == (20,)
    db.close()


def test_global_locks_need_a_managed_volume(meta):
    done = subprocess.run([program("skyvol-mount"), "mem://b", meta.dir, "-o", "locks=global"],
                          capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0 and "locks=global needs a managed volume" in done.stderr


@pytest.fixture
def counted(workdir, processes):
    """A managed volume in an S3 store behind a proxy that counts requests."""
    with Rig() as rig:
        server = Meta(workdir, processes)
        server.start(options=LEASE)
        server.call("Stores/AddStore", {
            "store": {"name": "default", "location": "s3://", "endpoint": rig.url,
                      "s3_region": "us-east-1"},
            "credentials": {k: KEYS[0][k] for k in ("access_key", "secret_key")}})
        managed = Managed(server, "one", ["attr_timeout=60"])
        managed.rig = rig
        yield managed
        for point in mounts_below(workdir):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def modes(point):
    return {e.name: stat.S_IMODE(e.stat().st_mode) for e in os.scandir(point)}


def told(managed):
    """How many objects the metaserver knows attributes of."""
    with sqlite3.connect(f"file:{managed.meta.dir}/meta.db.facts?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM fact").fetchone()[0]


def test_attributes_of_a_thousand_files_cost_no_head_each(counted):
    first = counted.mount()
    (first / "d").mkdir()
    for i in range(1000):
        (first / "d" / f"f{i:04}").touch(mode=0o600)
    for i in range(0, 1000, 2):
        os.chmod(first / "d" / f"f{i:04}", 0o640)
    wait_until(lambda: told(counted) >= 1000, 20, "attributes told")
    os.sync()
    second = counted.mount()
    wait_until(lambda: len(counted.sessions()) == 2, 10, "session")
    list(os.scandir(second))
    counted.rig.proxy.reset_counts()
    seen = modes(second / "d")
    counts = dict(counted.rig.proxy.seen)
    assert seen == {f"f{i:04}": 0o640 if i % 2 == 0 else 0o600 for i in range(1000)}
    assert counts.get("HEAD", 0) <= 2 and counts.get("LIST", 0) <= 3, counts
    # What somebody else writes is not taken for what we know, and neither is what has gone.
    s3 = counted.rig.client()
    bucket = counted.volume["bucket"]
    key = "d/f0002"
    time.sleep(2.5)  # attributes changed past us sooner after our own change may not be seen
    s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key},
                   MetadataDirective="REPLACE", Metadata={"mode": str(0o100444)})
    os.unlink(first / "d" / "f0004")
    third = counted.mount()
    wait_until(lambda: len(counted.sessions()) == 3, 10, "session")
    wait_until(lambda: "d/f0004" not in bucket_keys(s3, bucket), 10, "removal")
    seen = modes(third / "d")
    assert seen["f0002"] == 0o444 and seen["f0003"] == 0o600 and "f0004" not in seen


def bucket_keys(s3, bucket):
    return {o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for o in page.get("Contents", [])}


def test_attributes_come_from_the_store_while_the_metaserver_is_down(counted):
    first = counted.mount()
    (first / "file").touch(mode=0o640)
    counted.meta.kill()
    (first / "other").touch(mode=0o604)
    time.sleep(0.2)
    counted.meta.start(options=LEASE)
    second = counted.mount()
    counted.meta.kill()
    assert modes(second) == {"file": 0o640, "other": 0o604}


def test_a_killed_mounter_loses_no_lock(meta, processes):
    held = HeldManaged(meta, processes)
    volume, point = held.volume, held.point
    other = opened(meta, volume, "n2")
    (point / "file").write_text("x" * 100)
    with open(point / "file", "r+") as file:
        wait_until(lambda: try_lock(file, fcntl.LOCK_EX, 10, 0), 10, "lock")
        holder_client.kill9(held.mounter())
        assert try_lock(file, fcntl.LOCK_EX, 10, 20)  # by its successor
        for at in (0, 20):
            assert not lock(meta, other, key="file", offset=at, len=5).get("granted")
        os.pwrite(file.fileno(), b"y", 0)
    wait_until(lambda: lock(meta, other, key="file", len=5).get("granted"), 10, "the close")
    held.unmount()
    wait_until(lambda: [s["node"] for s in meta.call(
        "Sessions/ListSessions", {"volume_id": volume["id"]})["sessions"]] == ["n2"], 10, "close")


def test_a_directory_that_another_mount_makes_where_one_was_moved_away_is_found(meta):
    one, two = Managed(meta, "one").two()
    (one / "d").mkdir()
    (one / "d/file").write_text("first")
    assert (two / "d/file").read_text() == "first"
    os.rename(one / "d", one / "e")
    wait_until(lambda: os.listdir(two) == ["e"] and not (two / "d").exists(), 20, "the new name")
    (two / "d").mkdir()
    (two / "d/file").write_text("second")
    assert (one / "d/file").read_text() == "second"

# SPDX-License-Identifier: Apache-2.0
"""The metadata server by itself: its rules, its crashes, its database lost and found again."""
import datetime
import hashlib
import json
import random
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
from conftest import ROOT, program, tool, wait_until


class Meta:
    def __init__(self, workdir, processes):
        self.dir, self.processes = workdir, processes
        self.socket = workdir / "meta.sock"
        self.store = workdir / "store"
        self.process = None

    def start(self, database="meta.db", options=()):
        self.process = self.processes.start(
            [program("skyvol-meta"), "--listen", f"unix:{self.socket}", "--database",
             self.dir / database, "--seal-key-file", self.dir / "seal.keys", *options], "meta")
        wait_until(lambda: self.call("Stores/ListStores", {}, check=False)[0] == 0, 15,
                   "answer of skyvol-meta", self.process)

    def kill(self):
        self.processes.stop(self.process, how=signal.SIGKILL)

    def call(self, method, message, check=True, seconds=20):
        done = subprocess.run(
            [tool("grpcurl"), "-plaintext", "-unix", "-max-time", str(seconds),
             "-connect-timeout", "1", "-import-path",
             ROOT / "proto", "-proto", "skyvol/meta/v1/meta.proto", "-d", json.dumps(message),
             self.socket, f"skyvol.meta.v1.{method}"], capture_output=True, text=True, check=False)
        if check:
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)
        return done.returncode, done.stderr

    def create(self, name, **wishes):
        return self.call("Volumes/CreateVolume", {"name": name, **wishes})["volume"]

    def index(self, sql):
        with sqlite3.connect(self.store / "index.sqlite") as db:
            return db.execute(sql).fetchall()

    def buckets(self):
        return {row[0] for row in self.index("SELECT name FROM bucket")}

    def rows(self, database="meta.db"):
        with sqlite3.connect(self.dir / database) as db:
            return db.execute("SELECT id, bucket, state FROM volume").fetchall()


@pytest.fixture
def meta(workdir, processes):
    server = Meta(workdir, processes)
    server.start()
    server.call("Stores/AddStore", {"store": {"name": "default",
                                              "location": f"dir://{server.store}"},
                                    "credentials": {"access_key": "AK", "secret_key": "s3cr3t-xyz"}})
    return server


def test_the_same_wishes_give_the_same_volume_and_others_do_not(meta):
    one = meta.create("a", required_bytes=5)
    assert meta.create("a", required_bytes=5) == one
    assert "AlreadyExists" in meta.call("Volumes/CreateVolume", {"name": "a", "required_bytes": 9},
                                        check=False)[1]
    assert "OutOfRange" in meta.call("Volumes/CreateVolume", {
        "name": "b", "required_bytes": 9, "limit_bytes": 5}, check=False)[1]
    assert "InvalidArgument" in meta.call("Volumes/CreateVolume", {"name": ""}, check=False)[1]
    assert "FailedPrecondition" in meta.call("Volumes/CreateVolume",
                                          {"name": "c", "store": "nowhere"}, check=False)[1]


def test_any_name_gives_a_bucket_of_its_own(meta):
    names = ["a", "A", "a ", "a/b", "ä", "x" * 200, "x" * 201]
    assert len({meta.create(name)["bucket"] for name in names}) == len(names)


def test_what_a_deletion_spares(meta):
    one = meta.create("vol1", bucket="shared")
    ten = meta.create("vol10", bucket="shared")
    assert one["prefix"] != ten["prefix"]
    meta.call("Volumes/DeleteVolume", {"id": one["id"]})
    keys = [row[0].decode() for row in meta.index("SELECT key FROM object")]
    assert keys == [ten["prefix"] + ".skyvol/volume.json"]
    meta.call("Volumes/DeleteVolume", {"id": ten["id"]})
    assert meta.buckets() == {"shared"}  # named by the user: never deleted


def test_a_bucket_with_content_is_only_adopted_when_asked_and_then_never_deleted(meta):
    first = meta.create("first")
    objects = meta.dir / "objects"
    objects.mkdir()
    (objects / "theirs").write_text("precious")
    # An object that somebody else put, beside a marker that is removed: content without an owner.
    mount = subprocess.run([program("skyvol-mount"), f"dir://{meta.store}/{first['bucket']}",
                            objects], check=False, capture_output=True, text=True)
    assert mount.returncode == 0, mount.stderr
    (objects / "theirs").write_text("precious")
    subprocess.run(["umount", objects], check=True)
    wait_until(lambda: subprocess.run(["pgrep", "-f", str(objects)], check=False,
                                      capture_output=True).returncode != 0, 20, "end of the mount")
    with sqlite3.connect(meta.store / "index.sqlite") as db:
        db.execute("UPDATE bucket SET name = 'adopted-one'")
        db.execute("DELETE FROM object WHERE key = CAST('.skyvol/volume.json' AS BLOB)")
    with sqlite3.connect(meta.dir / "meta.db") as db:
        db.execute("DELETE FROM volume")
    # the bucket named by the user holds something outside the volume's own prefix: no matter
    second = meta.create("second", bucket="adopted-one")
    meta.call("Volumes/DeleteVolume", {"id": second["id"]})
    left = [row[0].decode() for row in meta.index("SELECT key FROM object")]
    assert [key for key in left if not key.startswith(".skyvol/attrs/")] == ["theirs"]


@pytest.mark.parametrize("held", ["retention", "legal hold"])
def test_what_is_retained_stops_a_deletion_and_says_until_when(workdir, processes, minio, held):
    client = minio.client()
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    server = Meta(workdir, processes)
    server.start()
    server.call("Stores/AddStore", {
        "store": {"name": "default", "location": "s3://", "endpoint": minio.url},
        "credentials": {"access_key": minio.access_key, "secret_key": minio.secret_key}})
    volume = server.create("kept", bucket="locked")
    until = datetime.datetime(2099, 5, 6, 7, 8, 9, tzinfo=datetime.timezone.utc)
    lock = {"ObjectLockLegalHoldStatus": "ON"} if held == "legal hold" else {
        "ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    client.put_object(Bucket="locked", Key=volume["prefix"] + "kept", Body=b"1", **lock)
    version = client.head_object(Bucket="locked", Key=volume["prefix"] + "kept")["VersionId"]
    why = server.call("Volumes/DeleteVolume", {"id": volume["id"]}, check=False)[1]
    assert "FailedPrecondition" in why
    assert ("2099-05-06T07:08:09" if held == "retention" else "legal hold") in why
    body = client.get_object(Bucket="locked", Key=volume["prefix"] + "kept", VersionId=version)
    assert body["Body"].read() == b"1"
    # Once it is let go, the deletion ends by itself, with all versions and delete markers.
    target = {"Bucket": "locked", "Key": volume["prefix"] + "kept", "VersionId": version}
    if held == "legal hold":
        client.put_object_legal_hold(LegalHold={"Status": "OFF"}, **target)
    else:
        client.delete_object(BypassGovernanceRetention=True, **target)
    assert server.call("Volumes/DeleteVolume", {"id": volume["id"]}) == {}
    left = client.list_object_versions(Bucket="locked")
    assert not left.get("Versions") and not left.get("DeleteMarkers")


def test_an_access_key_without_its_secret_opens_nobodys_store(workdir, processes, minio):
    server = Meta(workdir, processes)
    server.start()
    store = {"name": "default", "location": "s3://", "endpoint": minio.url}
    keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
    server.call("Stores/AddStore", {"store": store, "credentials": keys})
    for wrong in ({**keys, "secret_key": "guessed"}, {**keys, "access_key": "other"}):
        why = server.call("Stores/AddStore", {"store": store, "credentials": wrong}, check=False)[1]
        assert "PermissionDenied" in why and wrong["secret_key"] not in why
    server.call("Stores/AddStore", {"store": store, "credentials": keys})
    assert server.create("still works")["bucket"]


def test_keys_are_rotated_by_a_new_line_and_a_signal(meta):
    file = meta.dir / "seal.keys"
    old = file.read_text()
    file.write_text("k2 " + "ab" * 32 + "\n" + old)
    meta.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "under the newest key" in meta.process.log.read_text(), 15, "sealing anew")
    file.write_text("k2 " + "ab" * 32 + "\n")  # the old key may go
    meta.processes.stop(meta.process)
    meta.start()
    attached = meta.call("Volumes/AttachVolume", {"id": meta.create("a")["id"]})
    assert attached["credentials"]["secretKey"] == "s3cr3t-xyz"


def test_deleting_what_is_not_there_is_fine(meta):
    assert meta.call("Volumes/DeleteVolume", {"id": "v-" + "0" * 32}) == {}
    assert meta.call("Volumes/DeleteVolume", {"id": "what ever"}) == {}


def test_secrets_are_nowhere_in_the_clear(meta):
    meta.create("a")
    meta.call("Volumes/AttachVolume", {"id": meta.create("a")["id"]})
    meta.processes.stop(meta.process)
    for file in meta.dir.glob("meta*"):
        assert b"s3cr3t-xyz" not in file.read_bytes(), file


def test_what_comes_later_says_so(meta):
    for method in ("Feed/WatchChanges", "Placement/BeginWrite", "Volumes/GetUsage"):
        assert "Unimplemented" in meta.call(method, {}, check=False)[1], method


def test_a_lost_database_is_rebuilt_from_the_buckets(meta):
    volumes = [meta.create("own", required_bytes=7, parameters={"k": "v"}),
               meta.create("in a bucket", bucket="shared")]
    meta.processes.stop(meta.process)
    meta.start("fresh.db")
    meta.call("Stores/AddStore", {"store": {"name": "default", "location": f"dir://{meta.store}"}})
    assert meta.call("Admin/Rebuild", {"store": "default"}) == {"volumesFound": 2, "volumesAdded": 2}
    for volume in volumes:
        again = meta.call("Volumes/GetVolume", {"id": volume["id"]})["volume"]
        assert {k: again.get(k) for k in ("name", "bucket", "prefix", "sizeBytes", "parameters")} == \
               {k: volume.get(k) for k in ("name", "bucket", "prefix", "sizeBytes", "parameters")}


def test_a_volume_that_a_restored_database_does_not_know_is_found_by_its_marker(meta):
    meta.call("Admin/Backup", {"file": str(meta.dir / "old.db")})
    late = meta.create("made after the backup")
    meta.processes.stop(meta.process)
    meta.start("old.db")
    meta.call("Volumes/DeleteVolume", {"id": late["id"]})
    assert meta.buckets() == set()


def test_a_newer_database_is_refused_in_plain_words(meta):
    meta.processes.stop(meta.process)
    with sqlite3.connect(meta.dir / "meta.db") as db:
        db.execute("PRAGMA user_version = 99")
    done = subprocess.run([program("skyvol-meta"), "--listen", f"unix:{meta.dir}/x.sock",
                           "--database", meta.dir / "meta.db", "--seal-key-file",
                           meta.dir / "seal.keys"], capture_output=True, text=True, check=False,
                          timeout=20)
    assert done.returncode == 1 and "format 99" in done.stderr


# The schema of version 1 as it was released: never to be edited.
VERSION_1 = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE store(name TEXT PRIMARY KEY, location TEXT NOT NULL, endpoint TEXT NOT NULL,
 s3_region TEXT NOT NULL, region TEXT NOT NULL, virtual_host INTEGER NOT NULL,
 sealed BLOB, created_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE volume(id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL,
 bucket TEXT NOT NULL, prefix TEXT NOT NULL, size_bytes INTEGER NOT NULL,
 state INTEGER NOT NULL, adopted INTEGER NOT NULL, own_bucket INTEGER NOT NULL,
 adopt_asked INTEGER NOT NULL, parameters TEXT NOT NULL, created_ns INTEGER NOT NULL,
 deleted INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX volume_store ON volume(store);
CREATE INDEX volume_state ON volume(state, id);
INSERT INTO meta VALUES('incarnation', 'born-in-1');
INSERT INTO store VALUES('secret-1', 's3://', '', '', '', 0, NULL, 5);
INSERT INTO volume VALUES('v-old', 'old', 'default', 'b', '', 11, 2, 0, 1, 0, '{"k":"v"}', 5, 17, '');
PRAGMA user_version=1; PRAGMA application_id=1397446989;
"""


def test_a_database_of_version_1_is_brought_up_to_date_with_all_it_holds(meta):
    meta.processes.stop(meta.process)
    with sqlite3.connect(meta.dir / "old.db") as db:
        db.executescript(VERSION_1)
    for _ in range(2):  # migrated, then found as it is to be
        meta.start("old.db")
        volume = meta.call("Volumes/GetVolume", {"id": "v-old"})["volume"]
        assert (volume["sizeBytes"], volume["parameters"]) == ("11", {"k": "v"})
        assert meta.call("Stores/GetStore", {"name": "secret-1"})["store"]["publicOnly"]
        meta.processes.stop(meta.process)
    with sqlite3.connect(meta.dir / "old.db") as db:
        assert db.execute("SELECT value FROM meta").fetchall() == [("born-in-1",)]
        assert db.execute("PRAGMA user_version").fetchone()[0] > 1


def test_another_programs_database_is_left_as_it_is(meta):
    with sqlite3.connect(meta.dir / "other.db") as db:
        db.executescript("CREATE TABLE theirs(x); PRAGMA user_version=1; PRAGMA application_id=5;")
    done = subprocess.run([program("skyvol-meta"), "--listen", f"unix:{meta.dir}/x.sock",
                           "--database", meta.dir / "other.db", "--seal-key-file",
                           meta.dir / "seal.keys"], capture_output=True, text=True, check=False,
                          timeout=20)
    assert done.returncode == 1 and "another program's" in done.stderr
    with sqlite3.connect(meta.dir / "other.db") as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def make_trouble(meta, ended, answered):
    """Create and delete, again and again, whether or not anybody answers."""
    dice = random.Random()
    while not ended.is_set():
        name = f"volume-{dice.randrange(7)}"
        code, why = meta.call(*dice.choice([
            ("Volumes/CreateVolume", {"name": name}),
            ("Volumes/DeleteVolume", {"id": volume_id(name)})]), check=False, seconds=5)
        # ABORTED is what two calls for one volume at a time may get: an answer all the same.
        answered.append(code == 0 or "Aborted" in why)


def volume_id(name):
    return "v-" + hashlib.sha256(name.encode()).hexdigest()[:32]


def crash_loop(meta, cycles):
    """Kill at a random moment of many creations and deletions; then finish what was begun."""
    ended, answered = threading.Event(), []
    callers = [threading.Thread(target=make_trouble, args=(meta, ended, answered))
               for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(cycles):
            time.sleep(random.uniform(0.02, 0.5))  # the crash's moment, not a wait
            meta.kill()
            meta.start()
    finally:
        ended.set()
        for caller in callers:
            caller.join()
    print(f"{cycles} kills, {sum(answered)} of {len(answered)} calls were answered")
    assert sum(answered) > cycles and not all(answered), "the kills must meet calls"
    for row in meta.rows():
        meta.call("Volumes/DeleteVolume", {"id": row[0]}, check=False)
    wait_until(lambda: not meta.rows(), 60, "end of all volumes")
    assert meta.buckets() == set()
    assert meta.index("SELECT count(*) FROM object") == [(0,)]


def test_kills_during_create_and_delete_leave_no_orphan(meta):
    crash_loop(meta, 12)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_hundred_kills_leave_no_orphan(meta):
    crash_loop(meta, 100)

# SPDX-License-Identifier: Apache-2.0
"""The power goes while small objects have their bytes in the index only: what was acknowledged is there."""
import fcntl
import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess

import pytest

from test_s3 import Endpoint, code_of
from test_s3_versions import kill, workers_of

B, V = {"Bucket": "bucket"}, {"Bucket": "versions"}
ROUNDS = 12
GROUPED = ("ext2/ext3", "xfs", "btrfs")  # where a flush of all tells what it could not write


def rows(store):
    with sqlite3.connect(store / "index.sqlite") as index:
        return [(store / "data" / file, size)
                for file, size in index.execute("SELECT file, length(bytes) FROM pending")]


def damage(path, size, how):
    """What a disk may have of a file that nobody flushed."""
    path.parent.mkdir(parents=True, exist_ok=True)  # nobody flushed: nobody made it
    if how:
        path.write_bytes((b"", bytes(size), bytes(size // 2))[how - 1])


def end_at_once(processes, served):
    workers = workers_of(served)
    processes.stop(served.process, how=signal.SIGKILL)
    for pid in workers:
        kill(pid)
    shutil.rmtree(served.directory / "run", ignore_errors=True)


def write_all(s3):
    """(bucket, key, version): ETag of what must be there afterwards."""
    s3.create_bucket(**B)
    s3.create_bucket(**V)
    s3.put_bucket_versioning(**V, VersioningConfiguration={"Status": "Enabled"})
    kept = {}
    for i in range(ROUNDS):
        for size in (100 + i, 4096, 16384, 20000):
            put = s3.put_object(**B, Key=f"{i}/{size}", Body=os.urandom(size))
            kept["bucket", f"{i}/{size}", None] = put["ETag"]
        put = s3.put_object(**B, Key="over", Body=b"%d" % i)
        kept["bucket", "over", None] = put["ETag"]
        put = s3.put_object(**V, Key="k", Body=b"%d" % i)
        kept["versions", "k", put["VersionId"]] = put["ETag"]
        s3.put_object(**B, Key=f"gone-{i}", Body=b"gone")
        s3.delete_object(**B, Key=f"gone-{i}")
    return kept


def verify(s3, kept):
    for (bucket, key, version), etag in kept.items():
        more = {"VersionId": version} if version else {}
        got = s3.get_object(Bucket=bucket, Key=key, **more)
        assert got["ETag"] == etag and f'"{hashlib.md5(got["Body"].read()).hexdigest()}"' == etag, key
    for i in range(ROUNDS):
        assert code_of(s3.get_object, **B, Key=f"gone-{i}") == ("NoSuchKey", 404)


def test_what_was_acknowledged_outlives_files_that_were_not_flushed(processes, workdir):
    kind = subprocess.run(["stat", "-f", "-c", "%T", workdir], check=True, capture_output=True, text=True).stdout
    if kind.strip() not in GROUPED:
        pytest.skip(f"on {kind.strip()} each write flushes its own file")
    store = workdir / "store"
    served = Endpoint(processes, workdir)
    held = os.open(store / "data", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # nobody flushes
        kept = write_all(served.client())
        end_at_once(processes, served)
    finally:
        os.close(held)
    pending = rows(store)
    assert len(pending) == ROUNDS * 4 + 1  # of what was replaced and deleted nothing is left
    for i, (path, size) in enumerate(pending):
        damage(path, size, i % 4)
    served = Endpoint(processes, workdir, name="again")
    assert rows(store) == []
    verify(served.client(), kept)
    served.close()
    served = Endpoint(processes, workdir, name="third")
    verify(served.client(), kept)
    served.close()

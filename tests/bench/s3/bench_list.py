#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Listings of the embedded store with many objects beside few.

bench_list.py [--objects 10000000] [--few 10000] [--directory DIR]
The rows are written into the index by SQL, as empty objects: a listing reads nothing else. Each request is sent 20 times to both
stores in turn; printed are the medians of the server's CPU and their ratio.
"""
import argparse
import pathlib
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "bench" / "s3"))
from bench_s3 import BUCKET, Skyvol, cpu_ns  # noqa: E402

TIMES = 20
MANY_DIRS = 1000  # dir0000/ to dir0999/, the objects among them in equal parts


def fill(index, count):
    """As the store writes an object of no bytes, copied from one that it did write."""
    with sqlite3.connect(index) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(object)")]
        row = dict(zip(columns, db.execute("SELECT * FROM object").fetchone()))
        marks = ", ".join("?" * len(columns))
        at = columns.index("key")
        values = [row[name] for name in columns]

        def rows():
            per = count // MANY_DIRS
            for d in range(MANY_DIRS):
                for i in range(per):
                    values[at] = b"dir%04d/object-%08d" % (d, i)
                    yield values
        db.execute("PRAGMA synchronous=OFF")
        db.executemany(f"INSERT INTO object({', '.join(columns)}) VALUES({marks})", rows())
        db.execute("DELETE FROM object WHERE key = ?", (row["key"],))


def requests(count):
    middle = f"dir0500/object-{count // MANY_DIRS // 2:08d}"
    return {
        "first 1,000 keys": {},
        "1,000 keys from the middle": {"StartAfter": middle},
        "10 keys of the end": {"StartAfter": "dir0999/", "MaxKeys": 10},
        "1,000 common prefixes": {"Delimiter": "/"},
        "one directory": {"Prefix": "dir0777/", "Delimiter": "/", "MaxKeys": 10},
        "a prefix that nothing has": {"Prefix": "nothing/"},
    }


def serve(directory, count):
    directory.mkdir()
    server = Skyvol(directory, False)
    server.start(None, None)
    server.prepare()
    server.client().put_object(Bucket=BUCKET, Key="one", Body=b"")
    server.stop()
    start = time.monotonic()
    fill(directory / "data" / "index.sqlite", count)
    print(f"{count:,} objects written in {time.monotonic() - start:.0f} s", file=sys.stderr)
    server.start(None, None)
    return server


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--objects", type=int, default=10_000_000)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--directory")
    given = parser.parse_args()
    top = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-bench-list-", dir=given.directory))
    servers = []
    try:
        for count in (given.objects, given.few):
            servers.append((serve(top / str(count), count), count))
        print(f"| listing | {given.objects:,} objects, us | {given.few:,} objects, us | ratio |\n|---|---|---|---|")
        for name in requests(given.few):
            found = {}
            for server, count in servers:
                client, wish = server.client(), requests(count)[name]
                client.list_objects_v2(Bucket=BUCKET, **wish)
                found[count] = []
                for _ in range(TIMES):
                    before = cpu_ns(server.process.pid)
                    client.list_objects_v2(Bucket=BUCKET, **wish)
                    found[count].append((cpu_ns(server.process.pid) - before) / 1000)
            many, few = (statistics.median(found[count]) for _, count in servers)
            print(f"| {name} | {many:.0f} | {few:.0f} | {many / few:.2f} |", flush=True)
    finally:
        for server, _ in servers:
            server.stop()
        shutil.rmtree(top)
    return 0


if __name__ == "__main__":
    sys.exit(main())

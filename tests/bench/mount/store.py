# SPDX-License-Identifier: Apache-2.0
"""The store of a bench run: versitygw with its data on tmpfs, the slow network before it, what it was asked."""
import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
from stack import free_port, listening  # noqa: E402

BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve()
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench-secret-1", "AWS_REGION": "us-east-1"}
OURS = " skyvol-bench "  # the user agent of rawclient in a line of the access log
OPERATION = 7  # its column there
DELAY, RATE = "10ms", "90"  # one way; MB/s of one connection in one direction


class BenchError(Exception):
    """The bench itself cannot go on; the text says why."""


def tool(name):
    found = BUILD / "tools" / name
    return str(found) if found.exists() else shutil.which(name)


def environment(**more):
    """Ours, and nothing that the user's own environment says of S3."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS", "S3_"))}
    return dict(plain, **KEYS, **more)


class Store:
    """One gateway on one tmpfs directory; endpoints by the name of the network before it."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.log = self.directory / "access.log"
        self.endpoints = {}
        self.running = []
        self.made = 0

    def start(self, slow):
        gateway = tool("versitygw")
        if not gateway:
            raise BenchError("versitygw is not installed: make deps")
        self.data.mkdir()
        port = free_port()
        self.spawn([gateway, "--keep-alive", "--quiet", "--access-log", self.log, "--port",
                    f"127.0.0.1:{port}", "posix", self.data], port,
                   dict(os.environ, ROOT_ACCESS_KEY_ID=KEYS["AWS_ACCESS_KEY_ID"],
                        ROOT_SECRET_ACCESS_KEY=KEYS["AWS_SECRET_ACCESS_KEY"]))
        self.endpoints["loopback"] = f"http://127.0.0.1:{port}"
        if slow:
            near = free_port()
            self.spawn([BUILD / "bench/slowproxy", "-listen", f"127.0.0.1:{near}", "-target",
                        f"127.0.0.1:{port}", "-delay", DELAY, "-rate", RATE], near, None)
            self.endpoints["rtt20"] = f"http://127.0.0.1:{near}"

    def spawn(self, argv, port, env):
        with open(self.directory / "servers.log", "ab") as log:
            process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, env=env)
        self.running.append(process)
        end = time.monotonic() + 20
        while not listening(port):
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{argv[0]} does not serve: see {self.directory}/servers.log")
            time.sleep(0.02)

    def stop(self):
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.running.clear()

    def raw(self, network, bucket, *arguments, timeout=300):
        """Run rawclient; its figures."""
        argv = [BUILD / "bench/rawclient", "-endpoint", self.endpoints[network], "-bucket", bucket,
                *arguments]
        done = subprocess.run([str(a) for a in argv], env=environment(), capture_output=True, text=True,
                              timeout=timeout, check=False)
        if done.returncode != 0:
            raise BenchError(f"rawclient {arguments[-1]}: {done.stderr.strip()[:300]}")
        return json.loads(done.stdout)

    def new_bucket(self):
        self.made += 1
        bucket = f"bench-{self.made:04}"
        self.raw("loopback", bucket, "mb")
        return bucket

    def remove(self, bucket, below=""):
        """From under the gateway, which keeps nothing in memory: fast, and asks it nothing."""
        shutil.rmtree(self.data / bucket / below, ignore_errors=True)

    def path(self, bucket, key):
        return self.data / bucket / key

    def totals(self, bucket, below):
        """(count, bytes) of the objects below a prefix, as they lie on the store's disk."""
        count = size = 0
        for folder, folders, names in os.walk(self.data / bucket / below):
            folders[:] = [f for f in folders if not f.startswith((".sgwtmp", ".skyvol"))]
            for name in names:
                try:
                    size += os.lstat(f"{folder}/{name}").st_size
                    count += 1
                except FileNotFoundError:
                    continue
        return count, size

    def size(self, bucket, key):
        try:
            return self.path(bucket, key).stat().st_size
        except FileNotFoundError:
            return -1

    def listed(self, bucket, prefix):
        """(count, bytes) as LIST tells them."""
        found = self.raw("loopback", bucket, "-prefix", prefix, "list")
        return found["objects"], found["bytes"]

    def mark(self):
        return self.log.stat().st_size if self.log.exists() else 0

    def requests(self, start, end=None):
        """How often each operation was asked for between two marks, but for rawclient's own."""
        counts = collections.Counter()
        with open(self.log, "rb") as log:
            log.seek(start)
            text = log.read((end if end is not None else self.mark()) - start)
        for line in text.decode(errors="replace").splitlines():
            words = line.split()
            if OURS not in line and len(words) > OPERATION:
                counts[words[OPERATION].removeprefix("s3_")] += 1
        return dict(counts)

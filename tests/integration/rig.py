# SPDX-License-Identifier: Apache-2.0
"""An S3 store, the injecting proxy before it, and mounts on that: for tests and conformance suites.

    with Rig() as rig:                      # a directory of its own, a bucket, the proxy
        mount = rig.mount(sync="fsync")     # skyvol-mount by itself
        held = rig.held(sync="fsync")       # under a skyvol-holder
        rig.proxy.add("status", op="PUT", code=503, count=2)
        ... mount.point ...
        mount.end()
        assert rig.objects() == {...}       # straight from the store, not by the proxy
"""
import contextlib
import errno
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "scripts")]
import holder_client  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from stack import BIN, ROOT, free_port, listening, mounts_below  # noqa: E402

BUCKET = "bucket"
KEYS = [{"access_key": "first", "secret_key": "first-secret", "internal": True},
        {"access_key": "second", "secret_key": "second-secret", "internal": True}]


def tool(name):
    path = ROOT / "build" / "tools" / name
    return str(path) if path.exists() else shutil.which(name)


def wait_for(condition, what, seconds=20.0, process=None):
    end = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"process ended with {process.returncode} before {what}")
        if time.monotonic() > end:
            raise RuntimeError(f"no {what} after {seconds} s")
        time.sleep(0.02)


class Mount:
    """skyvol-mount by itself, in the foreground."""

    def __init__(self, rig, number, options, environment=None):
        self.rig, self.options = rig, options
        self.point = rig.directory / f"mnt{number}"
        self.log = rig.directory / f"mount{number}.log"
        self.point.mkdir()
        self.environment = dict(rig.environment, **(environment or {}))
        self.begin()

    def begin(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BIN / "skyvol-mount", self.rig.location, self.point, "-f", "-o",
                 ",".join(f"{k}={v}" for k, v in self.options.items())],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: os.path.ismount(self.point), f"mount (see {self.log})",
                     process=self.process)
        except BaseException:
            self.kill()  # nobody else knows of it
            raise

    def end(self, seconds=120):
        """Unmount and wait until all is in the store; its exit status."""
        subprocess.run(["umount", self.point], check=True, timeout=60)
        return self.process.wait(seconds)

    def again(self):
        status = self.end()
        assert status == 0, f"skyvol-mount ended with {status}"
        self.begin()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        subprocess.run(["umount", "-l", self.point], check=False, capture_output=True, timeout=60)


class Held:
    """A mount under a skyvol-holder: mount, unmount, kill."""

    def __init__(self, rig, number, options, arguments=(), memory_bytes=0):
        self.rig, self.memory_bytes = rig, memory_bytes
        self.point = rig.directory / f"held{number}"
        self.log = rig.directory / f"holder{number}.log"
        self.point.mkdir()
        self.config = json.dumps({"location": rig.location, "options": {
            k: str(v) for k, v in options.items()}})
        socket = rig.directory / f"h{number}.sock"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BIN / "skyvol-holder", "--socket", socket, "--crash-limit", "100000", *arguments],
                env=rig.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: "holder is ready" in self.log.read_text(), "holder",
                     process=self.process)
            self.client = holder_client.Holder(socket)
            self.mount()
        except BaseException:
            self.kill()  # nobody else knows of it
            raise

    def mount(self):
        self.client.mount("v1", self.point, self.config, self.rig.credentials_json(),
                          memory_bytes=self.memory_bytes)

    def unmount(self, drain_ms=60000):
        self.client.unmount("v1", drain_ms)

    def again(self):
        self.unmount()
        self.mount()

    def kill_mounter(self):
        """Seconds from the kill to the next answer; None: there was none to kill."""
        try:
            pid = self.client.status("v1")["mounter"]
        except (OSError, holder_client.Refused):  # its supervisor is just being started again
            return None
        if not pid:
            return None
        start = time.monotonic()
        try:
            holder_client.kill9(pid)
        except ProcessLookupError:
            return None
        os.statvfs(self.point)
        return time.monotonic() - start

    def replace_mounter(self):
        """A planned upgrade: seconds until the next answer after it was asked for; None: not now."""
        start = time.monotonic()
        try:
            self.client.replace("v1")
        except (OSError, holder_client.Refused):
            return None
        os.statvfs(self.point)
        return time.monotonic() - start

    def kill_supervisor(self):
        pid = holder_client.supervisor_of(self.process.pid)
        if not pid:
            return None
        start = time.monotonic()
        holder_client.kill9(pid)
        os.statvfs(self.point)
        return time.monotonic() - start

    def end(self):
        try:
            self.unmount()
        finally:
            self.kill()
        return 0

    def kill(self):
        if self.process.poll() is None:
            supervisor = holder_client.supervisor_of(self.process.pid)
            below = holder_client.children(supervisor) if supervisor else []
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            for pid in below:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        subprocess.run(["umount", "-l", self.point], check=False, capture_output=True, timeout=60)


class Rig:
    def __init__(self, store="s3", proxy=True, directory=None):
        self.kind, self.with_proxy = store, proxy
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="skyvol-rig-"))
        self.own = directory is None
        self.proxy = self.server = None
        self.mounts, self.made, self.key, self.prefix = [], 0, KEYS[0], ""

    def __enter__(self):
        if self.kind == "dir":
            self.root = self.directory / "store"
            subprocess.run([ROOT / "build/tests/unit/mounter/test_takeover", "--make-bucket",
                            f"dir://{self.root}", BUCKET], check=True, timeout=20)
            self.location = f"dir://{self.root}/{BUCKET}"
            self.environment = dict(os.environ)
            return self
        self.location = f"s3://{BUCKET}"
        keys = self.directory / "keys.json"
        keys.write_text(json.dumps({"keys": KEYS}))
        keys.chmod(0o600)
        self.credentials_file = self.directory / "credentials"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.environment["AWS_SHARED_CREDENTIALS_FILE"] = str(self.credentials_file)
        self.use_key(self.key)
        self.port = free_port()
        self.start_store()
        self.client().create_bucket(Bucket=BUCKET)
        if self.with_proxy:
            self.proxy = FaultProxy(self.store_url).start()
        return self

    def start_store(self):
        with open(self.directory / "s3.log", "ab") as log:
            self.server = subprocess.Popen(
                [BIN / "skyvol-s3", "--listen", f"127.0.0.1:{self.port}", "--dir",
                 self.directory / "store", "--credentials-file", self.directory / "keys.json",
                 "--run-dir", self.directory / "run"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        wait_for(lambda: listening(self.port), "S3 endpoint", process=self.server)

    def stop_store(self):
        self.server.terminate()
        self.server.wait(40)

    @property
    def store_url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self):
        return self.proxy.url if self.proxy else self.store_url

    def use_key(self, key):
        """Into the credentials file, whole at every time."""
        self.key = key
        fresh = self.directory / "credentials.new"
        fresh.touch(0o600)
        fresh.write_text(f"[default]\naws_access_key_id = {key['access_key']}\n"
                         f"aws_secret_access_key = {key['secret_key']}\n")
        fresh.rename(self.credentials_file)

    def credentials_json(self):
        return json.dumps({k: self.key[k] for k in ("access_key", "secret_key")}) \
            if self.kind == "s3" else ""

    def options(self, given):
        own = {} if self.kind == "dir" else {"endpoint": self.url}
        return {**own, **given}

    def mount(self, environment=None, **options):
        self.made += 1
        self.mounts.append(Mount(self, self.made, self.options(options), environment))
        return self.mounts[-1]

    def held(self, *arguments, memory_bytes=0, **options):
        self.made += 1
        self.mounts.append(Held(self, self.made, self.options(options), arguments, memory_bytes))
        return self.mounts[-1]

    @contextlib.contextmanager
    def alone(self, name):
        """For one test: no faults, counts from 0, a prefix of its own, and its mounts end with it."""
        self.proxy.clear()
        self.proxy.reset_counts()
        self.prefix = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        self.location = f"s3://{BUCKET}/{self.prefix}"
        begun = len(self.mounts)
        yield self
        self.proxy.clear()
        for mount in self.mounts[begun:]:
            mount.kill()

    def client(self):
        """Straight to the store."""
        import boto3
        from botocore.config import Config
        return boto3.client("s3", endpoint_url=self.store_url, region_name="us-east-1",
                            aws_access_key_id=KEYS[0]["access_key"],
                            aws_secret_access_key=KEYS[0]["secret_key"],
                            config=Config(signature_version="s3v4",
                                          retries={"max_attempts": 2}))

    def keys(self, prefix=""):
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", [])
                if "/.skyvol/" not in "/" + o["Key"]]

    def objects(self, prefix=""):
        """Content by key."""
        s3 = self.client()
        return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                for key in self.keys(prefix)}

    def digests(self, prefix=""):
        return {key: hashlib.sha256(data).hexdigest() for key, data in self.objects(prefix).items()}

    def __exit__(self, *error):
        for mount in self.mounts:
            mount.kill()
        if self.proxy:
            self.proxy.stop()
        if self.server and self.server.poll() is None:
            self.stop_store()
        for point in reversed(mounts_below(self.directory)):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True, timeout=20)
        if self.own and not mounts_below(self.directory):
            shutil.rmtree(self.directory, ignore_errors=True)


def stored(rig):
    """Content by name, as the store has it."""
    found = rig.objects(rig.prefix + "/")
    return {key[len(rig.prefix) + 1:]: data for key, data in found.items()}


def fails(call, *arguments, **more):
    """errno, or 0."""
    try:
        call(*arguments, **more)
    except OSError as error:
        return error.errno
    return 0


def stuck_processes():
    """Those of ours that sleep in FUSE and cannot be killed, twice within a second."""
    def look():
        parents, asleep = {}, {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text()
                    where = (entry / "wchan").read_text()
                except OSError:
                    continue
                state, parent = fields.rsplit(")", 1)[1].split()[:2]
                parents[int(entry.name)] = int(parent)
                if state == "D" and ("fuse" in where or "request_wait" in where):
                    name = fields[fields.index("(") + 1:fields.rindex(")")]
                    asleep[int(entry.name)] = f"{name} ({entry.name}) in {where}"
        found = set()
        for pid, text in asleep.items():
            above = pid
            while above in parents and above != os.getpid():
                above = parents[above]
            if above == os.getpid():
                found.add(text)
        return found
    first = look()
    if first:
        time.sleep(1)
    return sorted(first & look())

# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by the integration tests: real processes on free ports in directories of their own.

Everything started here is ended here, by pid; every mount below a test's directory is taken down.
"""
import contextlib
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from rig import Rig  # noqa: E402
from stack import BIN, ROOT, Stack, free_port, listening, mounts_below  # noqa: E402

TOOLS = ROOT / "build" / "tools"


def program(name):
    """Path of one of our programs; a test that needs one that was not built must fail, not skip."""
    path = BIN / name
    assert path.exists(), f"{path} is absent: run make"
    return str(path)


def tool(name):
    """Path of a suite or server that others wrote; skips the test where it could not be installed."""
    path = TOOLS / name
    found = str(path) if path.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed (make deps)")
    return found


def wait_until(condition, seconds=20, what="condition", process=None):
    """Poll until condition() is true; fails with what, or at once when process has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        if process is not None and process.poll() is not None:
            raise AssertionError(f"process ended with {process.returncode} before {what}")
        time.sleep(0.02)
    raise AssertionError(f"no {what} after {seconds} s")


def wait_for_files(store):
    """Until the small objects of an embedded store are files that are read: about a second."""
    def none_pending():
        with contextlib.closing(sqlite3.connect(f"file:{store}/index.sqlite?mode=ro", uri=True)) as index:
            return index.execute("SELECT count(*) FROM pending").fetchone() == (0,)
    wait_until(none_pending, what="files of small objects")


def stop_whole(process):
    """SIGSTOP to a process or pid, and until all of it stands: on a busy machine other threads go on for a while."""
    def stands(thread):
        try:
            return (thread / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        except OSError:
            return True  # it has just ended

    pid = getattr(process, "pid", process)
    os.kill(pid, signal.SIGSTOP)
    threads = pathlib.Path(f"/proc/{pid}/task")
    wait_until(lambda: all(map(stands, threads.iterdir())), what=f"stop of process {pid}")


class Processes:
    """Processes of one test, with a log file each."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.running = []

    def start(self, argv, name=None, **kwargs):
        name = name or pathlib.Path(argv[0]).name
        log = open(self.directory / f"{name}.log", "ab")
        process = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, **kwargs)
        log.close()
        process.log = self.directory / f"{name}.log"
        self.running.append(process)
        return process

    def stop(self, process, seconds=15, how=signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"{process.args[0]} did not end in {seconds} s") from None
        finally:
            if process in self.running:
                self.running.remove(process)

    def end(self):
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)
        self.running.clear()


@pytest.fixture
def workdir():
    """A short path (unix sockets have 107 bytes); removed with everything mounted below it."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-"))
    yield directory
    for point in reversed(mounts_below(directory)):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True, timeout=20)
    if not mounts_below(directory):
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def processes(workdir):
    group = Processes(workdir)
    yield group
    group.end()


class Endpoint:
    """An S3 endpoint and the keys that open it."""

    def __init__(self, url, access_key, secret_key, region="us-east-1"):
        self.url, self.region = url, region
        self.access_key, self.secret_key = access_key, secret_key

    def client(self, **config):
        import boto3
        from botocore.config import Config
        return boto3.client("s3", endpoint_url=self.url, region_name=self.region,
                            aws_access_key_id=self.access_key,
                            aws_secret_access_key=self.secret_key,
                            config=Config(retries={"max_attempts": 2}, **config))


@pytest.fixture(scope="module")
def rig():
    """A store and the proxy before it, for the tests of one file."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    with Rig() as one:
        yield one


@pytest.fixture(scope="module")
def stack():
    """All of Skyvol, for the tests of one file."""
    one = Stack()
    one.start()
    yield one
    one.stop()


def http_ok(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture
def minio(workdir, processes):
    port, console = free_port(), free_port()
    data = workdir / "minio"
    data.mkdir()
    env = dict(os.environ, MINIO_ROOT_USER="minioroot", MINIO_ROOT_PASSWORD="minio-secret-1")
    server = processes.start([tool("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}",
                              "--console-address", f"127.0.0.1:{console}", data], "minio", env=env)
    wait_until(lambda: http_ok(f"http://127.0.0.1:{port}/minio/health/cluster"), what="MinIO",
               process=server)
    return Endpoint(f"http://127.0.0.1:{port}", "minioroot", "minio-secret-1")


@pytest.fixture
def versitygw(workdir, processes):
    port = free_port()
    data = workdir / "versitygw"
    data.mkdir()
    env = dict(os.environ, ROOT_ACCESS_KEY_ID="versity", ROOT_SECRET_ACCESS_KEY="versity-secret-1")
    server = processes.start([tool("versitygw"), "--port", f"127.0.0.1:{port}", "posix", data],
                             "versitygw", env=env)
    wait_until(lambda: listening(port), what="versitygw", process=server)
    return Endpoint(f"http://127.0.0.1:{port}", "versity", "versity-secret-1")

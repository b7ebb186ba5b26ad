# SPDX-License-Identifier: Apache-2.0
"""A skyvol-s3 in a directory of its own, for the suites of this folder."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVER = ROOT / os.environ.get("BUILD", "build") / "bin" / "skyvol-s3"
ACCESS, SECRET = "test", "test-secret"


def in_venv():
    """Goes on as a program of build/venv, where boto3 is, if there is one."""
    python = ROOT / "build" / "venv" / "bin" / "python3"
    if python.exists() and pathlib.Path(sys.prefix) != python.parents[1]:
        os.execv(python, [str(python), *sys.argv])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, what):
    for _ in range(3000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise SystemExit(f"{what} did not start")


class Served:
    """`serve`: what it serves, given the directory; the embedded store by default."""

    def __init__(self, serve=None, more=()):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-s3-"))
        self.store = self.directory / "store"
        self.serve = list(serve) if serve else ["--dir", self.store]
        self.more = list(more)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys = self.directory / "keys.json"
        self.keys.write_text(json.dumps({"keys": [{"access_key": ACCESS, "secret_key": SECRET}]}))
        self.keys.chmod(0o600)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.stop()
        shutil.rmtree(self.directory)

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [SERVER, "--listen", f"127.0.0.1:{self.port}", *self.serve,
                 "--credentials-file", self.keys, "--run-dir", self.directory / "run", *self.more],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_for_port(self.port, self.process, "skyvol-s3")

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)

    def kill(self):
        """Launcher, nginx and its workers in one instant, as a node that loses power does it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def workers(self):
        """The processes that serve: the children's children."""
        return [pid for child in children(self.process.pid) for pid in children(child)]


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found

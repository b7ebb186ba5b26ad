#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Memory of skyvol-s3 (launcher, nginx's master, one worker) while many connections move bodies.

bench_memory.py [--connections 256] [--cells NAME,...] [--tls] [--most MIB]
Cells: idle; and on the embedded store (dir-) and on a volume in another skyvol-s3 (volume-):
  put    PUTs of 1 MiB, over and over
  get    GETs of 1 MiB, over and over
  stall  uploads of 64 MiB that nobody goes on with: of a directory the client stops after 1 MiB, of a volume its
         store reads nothing
  unread GETs of 64 MiB that the client does not read
"together" counts a page once that several of them have; RSS counts it in each, PSS divides it by all on the machine that
have it. All are the highest of what was seen every 100 ms, or less often where the machine is busy. --most fails
when a cell has more together than that.
"""
import argparse
import contextlib
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
sys.path.insert(0, str(ROOT / "tests" / "bench" / "s3"))
from s3_served import ACCESS, SECRET, free_port, in_venv, wait_for_port  # noqa: E402

in_venv()
import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402

from bench_s3 import BUILD, certificate, family  # noqa: E402

CELLS = ("idle", "dir-put", "dir-get", "dir-stall", "dir-unread", "volume-put", "volume-get", "volume-stall",
         "volume-unread")
KEYS, LARGE, STILL_S = 16, 64 << 20, 2
EACH = 8  # requests of a connection


def memory(pid):
    """KiB of all of them together; a page of a file that several have counts once."""
    found, files = {"together": 0, "Pss": 0, "Rss": 0}, {}
    for each in family(pid):
        place = ""
        for line in pathlib.Path(f"/proc/{each}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                place = " ".join(words[2:3] + words[5:]) if len(words) > 5 and words[5][0] == "/" else ""
            elif words[0] in ("Pss:", "Rss:"):
                found[words[0][:-1]] += int(words[1])
                if not place:
                    found["together"] += int(words[1]) if words[0] == "Pss:" else 0
                elif words[0] == "Rss:":
                    rss = int(words[1])
            elif words[0] == "Anonymous:" and place: # written to since it was mapped
                files.setdefault(place, {}).setdefault(each, 0)
                files[place][each] += rss - int(words[1])
                found["together"] += int(words[1])
    return found | {"together": found["together"] + sum(max(each.values()) for each in files.values())}


class Watch:
    """Looks at the memory of a process until the block is left."""

    def __init__(self, pid):
        self.pid, self.most = pid, {"together": 0, "Pss": 0, "Rss": 0}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while True:
            found = memory(self.pid)
            self.most = {name: max(value, self.most[name]) for name, value in found.items()}
            if self.over.wait(0.1):
                return

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()


class Served:
    def __init__(self, directory, serve, tls=None):
        self.port, self.tls = free_port(), tls
        directory.mkdir()
        keys = directory / "keys.json"
        keys.write_text(json.dumps({"keys": [{"access_key": ACCESS, "secret_key": SECRET}]}))
        keys.chmod(0o600)
        more = ["--tls-cert-file", tls[0], "--tls-key-file", tls[1]] if tls else []
        with open(directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [BUILD / "bin" / "skyvol-s3", "--listen", f"127.0.0.1:{self.port}", *serve, "--workers", "1",
                 "--credentials-file", keys, "--run-dir", directory / "run", *more],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for_port(self.port, self.process, "skyvol-s3")
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.client = boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", verify=False,
                                   aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                                   config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))

    def urls(self, method, name):
        return [self.client.generate_presigned_url(f"{method}_object", ExpiresIn=86400, Params={
            "Bucket": "data", "Key": f"{name}-{i}"}) for i in range(KEYS)]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


class Deaf:
    """A store that accepts connections and reads nothing."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def stop(self):
        self.listener.close()


def load(server, method, name, connections):
    urls = "\n".join(server.urls(method, name)) + "\n\ngo\n"
    subprocess.run([BUILD / "bench" / "s3load", "-method", method.upper(), "-connections", str(connections),
                    "-count", str(connections * EACH), "-size", str(1 << 20)],
                   input=urls, text=True, check=True, stdout=subprocess.DEVNULL)


def connect(server):
    sock = socket.create_connection(("127.0.0.1", server.port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if server.tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        sock = context.wrap_socket(sock)
    return sock


def push(sock, left):
    """How many of so many bytes go out now."""
    sent = 0
    with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError):
        while sent < left:
            sent += sock.send(bytes(min(65536, left - sent)))
    return sent


def hold(server, method, connections, most):
    """Connections that began, of which nothing moves any more."""
    socks, sent = [], [0] * connections
    urls = server.urls(method, "large")
    for i in range(connections):
        socks.append(connect(server))
        target = urls[i % KEYS].split(str(server.port), 1)[1]
        length = f"Content-Length: {LARGE}\r\n" if method == "put" else ""
        socks[-1].sendall(f"{method.upper()} {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{length}\r\n"
                          .encode())
        socks[-1].setblocking(False)
    moved = time.monotonic()
    while time.monotonic() - moved < STILL_S:
        for i, sock in enumerate(socks):
            n = push(sock, most - sent[i]) if method == "put" else 0
            sent[i] += n
            moved = time.monotonic() if n > 0 else moved
        time.sleep(0.01)
    return socks


class Bench:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.tls = certificate(directory) if options.tls else None
        self.started = []

    def serve(self, name, arguments, tls=None):
        self.started.append(Served(self.directory / f"{name}-{len(self.started)}", arguments, tls))
        return self.started[-1]

    def behind(self, name, url):
        keys = self.directory / "store.json"
        keys.write_text(json.dumps({"access_key": ACCESS, "secret_key": SECRET}))
        keys.chmod(0o600)
        return self.serve(name, ["--volume", "data=s3://data/volume", "--store-endpoint", url,
                                 "--store-credentials-file", keys], self.tls)

    def server(self, where, what):
        if where == "volume" and what == "stall":
            self.started.append(Deaf())
            return self.behind("volume", self.started[-1].url)
        tls = self.tls if where != "volume" else None
        store = self.serve("dir", ["--dir", self.directory / f"store-{len(self.started)}"], tls)
        store.client.create_bucket(Bucket="data")
        return store if where != "volume" else self.behind("volume", store.url)

    def cell(self, name):
        where, _, what = name.partition("-")
        server = self.server(where, what)
        count = self.options.connections
        held = []
        if what == "get":
            load(server, "put", "small", 4)
        if what == "unread":
            server.client.put_object(Bucket="data", Key="large-0", Body=bytes(LARGE))
            for i in range(1, KEYS):
                server.client.copy_object(Bucket="data", Key=f"large-{i}", CopySource="data/large-0")
        with Watch(server.process.pid) as watch:
            if what in ("put", "get"):
                load(server, what, "small", count)
            elif what:
                held = hold(server, "put" if what == "stall" else "get", count,
                            LARGE if where == "volume" else 1 << 20)
        after = memory(server.process.pid)
        for sock in held:
            sock.close()
        return watch.most, after

    def stop(self):
        for each in reversed(self.started):
            each.stop()
        self.started = []


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--cells", type=lambda text: text.split(","), default=CELLS)
    parser.add_argument("--tls", action="store_true", help="of the clients")
    parser.add_argument("--most", type=float)
    options = parser.parse_args()
    worst = 0
    print("| cell, MiB | together | PSS | RSS | together, after it |\n|---|---|---|---|---|")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-bench-memory-"))
    try:
        for name in options.cells:
            bench = Bench(options, directory)
            try:
                most, after = bench.cell(name)
            finally:
                bench.stop()
            line = [most["together"], most["Pss"], most["Rss"], after["together"]]
            worst = max(worst, most["together"] / 1024)
            print(f"| {name} |", " | ".join(f"{kib / 1024:.1f}" for kib in line), "|", flush=True)
            for each in directory.iterdir():
                if each.is_dir():
                    shutil.rmtree(each)
    finally:
        shutil.rmtree(directory)
    return 0 if options.most is None or worst <= options.most else 1


if __name__ == "__main__":
    sys.exit(main())

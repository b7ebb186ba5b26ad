#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""skyvol-s3 beside versitygw and nginx (static files, DAV): CPU of a request.

bench_s3.py [--runs 3] [--cells get-4k,put-1m] [--connections 1,16,256] [--schemes http,https] [--json FILE]
            [--table FILE] [--plot FILE]
All serve one disk of this machine, each from a directory of its own; the client has URLs that were signed beforehand
(UNSIGNED-PAYLOAD, the signature is checked). In each run a cell is measured on all three in turn. CPU is what the
kernel counted for all threads of the server, in nanoseconds; it does not depend on how much of the machine the client
got. After PUTs it is read a while later, for what a server does behind them. nginx is the floor: no signature, no ETag
of the content, no flush to the disk. skyvol-s3 flushes each object (small ones in the index) before it answers;
versitygw does not flush.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "conformance"))
sys.path.insert(0, str(ROOT / "tests" / "bench" / "s3"))
from s3_served import ACCESS, SECRET, children, free_port, in_venv, wait_for_port  # noqa: E402

in_venv()
import boto3  # noqa: E402
import figures  # noqa: E402
from botocore.config import Config  # noqa: E402

BUILD = pathlib.Path(os.environ.get("BUILD", ROOT / "build")).resolve()
BUCKET, KEYS = "bench", 16
SIZES = {"4k": 4096, "1m": 1 << 20, "64m": 64 << 20}
# Requests of a cell, at least three for each connection: the first and the last of a wave have less company.
COUNTS = {("get", "4k"): 6000, ("put", "4k"): 4000, ("get", "1m"): 600, ("put", "1m"): 200,
          ("get", "64m"): 24, ("put", "64m"): 16}
WAVES = 3
ALONE = 4  # with one connection a cell has a fraction of them
LATER_S = 1.5  # skyvol-s3 flushes small objects, and removes what they replaced, about once a second


class BenchError(Exception):
    pass


def family(pid):
    return [pid] + [each for child in children(pid) for each in family(child)]


def cpu_ns(pid):
    """All threads of the process and of its children; nobody of them ends during a cell."""
    total = 0
    for each in family(pid):
        for task in pathlib.Path(f"/proc/{each}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total


def memory(pid):
    """PSS of all of them together, bytes."""
    total = 0
    for each in family(pid):
        for line in pathlib.Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


class Server:
    """One peer: start() gives a process, url() what the client calls."""

    def __init__(self, directory, tls):
        self.directory, self.tls = directory, tls
        self.process = None
        self.port = free_port()
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def spawn(self, arguments, **more):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, **more)
        wait_for_port(self.port, self.process, type(self).__name__)

    def client(self):
        return boto3.client("s3", endpoint_url=self.base, region_name="us-east-1", verify=False,
                            aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))

    def prepare(self):
        self.client().create_bucket(Bucket=BUCKET)

    def urls(self, operation, size):
        sign = self.client().generate_presigned_url
        return [sign(f"{operation}_object", Params={"Bucket": BUCKET, "Key": f"{size}-{i}"},
                     ExpiresIn=86400) for i in range(KEYS)]

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


class Skyvol(Server):
    name = "skyvol-s3"

    def start(self, certificate, key):
        tls = ["--tls-cert-file", certificate, "--tls-key-file", key] if self.tls else []
        keys = self.directory / "keys.json"
        keys.write_text(json.dumps({"keys": [{"access_key": ACCESS, "secret_key": SECRET}]}))
        keys.chmod(0o600)
        self.spawn([BUILD / "bin" / "skyvol-s3", "--listen", f"127.0.0.1:{self.port}", "--dir",
                    self.directory / "data", "--credentials-file", keys, "--run-dir",
                    self.directory / "run", *tls])


class Versitygw(Server):
    name = "versitygw"

    def start(self, certificate, key):
        tls = ["--cert", certificate, "--key", key] if self.tls else []
        (self.directory / "data").mkdir()
        self.spawn([BUILD / "tools" / "versitygw", "--keep-alive", "--quiet", "--port",
                    f"127.0.0.1:{self.port}", *tls, "posix", self.directory / "data"],
                   env=os.environ | {"ROOT_ACCESS_KEY_ID": ACCESS, "ROOT_SECRET_ACCESS_KEY": SECRET})


class Nginx(Server):
    name = "nginx"

    def start(self, certificate, key):
        top = self.directory
        (top / "data").mkdir()
        tls = f"ssl_certificate {certificate}; ssl_certificate_key {key};" if self.tls else ""
        (top / "nginx.conf").write_text(f"""
            daemon off; user root; worker_processes 2; pid {top}/pid; error_log {top}/error.log;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
                client_max_body_size 0; client_body_temp_path {top}/body;
                server {{
                    listen 127.0.0.1:{self.port} {"ssl" if self.tls else ""}; {tls}
                    root {top}/data;
                    location / {{ dav_methods PUT DELETE; create_full_put_path on; }}
                }}
            }}""")
        self.spawn(["nginx", "-p", top, "-c", top / "nginx.conf", "-e", top / "error.log"])

    def prepare(self):
        pass

    def urls(self, operation, size):
        return [f"{self.base}/{BUCKET}/{size}-{i}" for i in range(KEYS)]


PEERS = (Skyvol, Versitygw, Nginx)


def certificate(directory):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
                   check=True, capture_output=True)
    return directory / "cert.pem", directory / "key.pem"


def measure(server, operation, size, connections):
    waves = 1 if size == "64m" and connections == 256 else WAVES  # 16 GiB each
    count = max(COUNTS[operation, size] // (ALONE if connections == 1 else 1), waves * connections)
    urls = "\n".join(server.urls(operation, size)) + "\n\n"
    client = subprocess.Popen(
        [BUILD / "bench" / "s3load", "-method", operation.upper(), "-connections", str(connections),
         "-count", str(count), "-size", str(SIZES[size])], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True)
    try:
        client.stdin.write(urls)
        client.stdin.flush()
        if client.stdout.readline() != "ready\n":
            raise BenchError("s3load ended early")
        before = cpu_ns(server.process.pid)
        client.stdin.write("go\n")
        client.stdin.flush()
        found = json.loads(client.stdout.readline())
        if operation == "put":
            time.sleep(LATER_S)
        spent = cpu_ns(server.process.pid) - before
    finally:
        client.kill()
        client.wait()
    if found["failed"]:
        raise BenchError(f"{server.name} {operation} {size}: {found['failed']} failed: {found['error']}")
    found["cpu_us"] = spent / found["answered"] / 1000
    found["memory"] = memory(server.process.pid)
    return found


class Bench:
    def __init__(self, options):
        self.options = options
        self.results = []
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-bench-s3-"))
        self.certificate = certificate(self.directory)

    def cells(self):
        for cell in self.options.cells:
            for connections in self.options.connections:
                # 256 bodies of 64 MiB under way are 16 GiB of disk.
                if cell != "put-64m" or connections < 256:
                    yield *cell.split("-"), connections

    def scheme(self, scheme, run):
        servers = []
        try:
            for peer in PEERS:
                directory = self.directory / f"{peer.name}-{scheme}-{run}"
                directory.mkdir()
                servers.append(peer(directory, scheme == "https"))
                servers[-1].start(*self.certificate)
                servers[-1].prepare()
            for operation, size, connections in self.cells():
                # A disk may make files slowly where files were removed lately: nobody is always the last.
                for server in servers[run % len(servers):] + servers[:run % len(servers)]:
                    if operation == "get":
                        self.fill(server, size)
                    found = measure(server, operation, size, connections)
                    self.results.append(found | {
                        "server": server.name, "scheme": scheme, "operation": operation, "size": size,
                        "connections": connections, "run": run})
                    print(f"run {run} {scheme:5} {operation} {size:3} x{connections:<3} {server.name:10}"
                          f" {found['cpu_us']:10.0f} us  {found['answered'] / found['seconds']:8.0f}/s",
                          file=sys.stderr, flush=True)
        finally:
            for server in servers:
                if server.process is not None:
                    server.stop()
                shutil.rmtree(server.directory)

    def fill(self, server, size):
        if size in getattr(server, "filled", ()):
            return
        urls = "\n".join(server.urls("put", size)) + "\n\ngo\n"
        subprocess.run([BUILD / "bench" / "s3load", "-method", "PUT", "-connections", "4", "-count",
                        str(KEYS), "-size", str(SIZES[size])], input=urls, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        server.filled = getattr(server, "filled", ()) + (size,)

    def run(self):
        for run in range(self.options.runs):
            for scheme in self.options.schemes[::-1 if run % 2 else 1]:
                self.scheme(scheme, run)


def words(text):
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cells", type=words,
                        default=words("get-4k,put-4k,get-1m,put-1m,get-64m,put-64m"))
    parser.add_argument("--connections", type=lambda t: [int(w) for w in words(t)], default=[1, 16, 256])
    parser.add_argument("--schemes", type=words, default=["http", "https"])
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    options = parser.parse_args()
    for needed in ("tools/versitygw", "bench/s3load", "bin/skyvol-s3"):
        if not (BUILD / needed).exists():
            print(f"{BUILD / needed} is not there: make deps all bench-s3", file=sys.stderr)
            return 1
    bench = Bench(options)
    try:
        bench.run()
    except BenchError as error:
        print(f"bench_s3: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(bench.directory, ignore_errors=True)
    text = figures.table(bench.results)
    print(text)
    for path, content in ((options.table, text), (options.json, json.dumps(bench.results)),
                          (options.plot, figures.plot(bench.results))):
        if path is not None:
            path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

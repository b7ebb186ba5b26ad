# SPDX-License-Identifier: Apache-2.0
"""The servers of run_s3_clients: skyvol-s3 over http, over https and as a sidecar, and their authority."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BIN = ROOT / os.environ.get("BUILD", "build") / "bin"
HOST, SEEDED = "s3.skyvol.test", "seeded"
KEYS = {"AWS_ACCESS_KEY_ID": "app", "AWS_SECRET_ACCESS_KEY": "app-secret"}
INNER = {"AWS_ACCESS_KEY_ID": "inner", "AWS_SECRET_ACCESS_KEY": "inner-secret"}


class LeftOut(Exception):
    """A client that cannot be had here; the text says why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(argv, timeout=600, **kwargs):
    """Runs a program; its output, or an AssertionError with the end of it."""
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout, check=False, **kwargs)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        named = [line for line in lines if "FAILED" in line] or lines[-8:]
        raise AssertionError(f"{pathlib.Path(argv[0]).name} {done.returncode}: " + " | ".join(named)[-1500:])
    return done.stdout


def make_authority(directory):
    """An authority and a certificate by it for the address, the name and all names below."""
    names = f"subjectAltName=IP:127.0.0.1,DNS:{HOST},DNS:*.{HOST}"
    ca, key = directory / "ca.pem", directory / "ca.key"
    run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=Authority of run_s3_clients", "-keyout", key, "-out", ca])
    run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={HOST}", "-keyout",
         directory / "tls.key", "-out", directory / "tls.csr"])
    (directory / "names").write_text(names)
    run(["openssl", "x509", "-req", "-in", directory / "tls.csr", "-CA", ca, "-CAkey", key,
         "-CAcreateserial", "-days", "2", "-extfile", directory / "names", "-out",
         directory / "tls.pem"])
    return ca


class Place:
    """What a client is told: endpoint, and the environment that has region, keys and nothing else."""

    keys = KEYS

    def __init__(self, servers, kind, url, by_name, environment):
        self.servers, self.url, self.by_name = servers, url, by_name
        self.ca = servers.ca if kind == "https" else None
        self.seeded = servers.seeded.get(kind)  # SHA-256 of what boto3 wrote: whole, parts
        self.environment = environment | {"AWS_ENDPOINT_URL": url}

    def make_bucket(self, bucket):
        self.servers.boto3(self, "make", bucket)


class Servers:
    def __init__(self, directory, buckets):
        self.directory, self.ca = directory, make_authority(directory)
        hosts = directory / "hosts"
        names = [HOST] + [f"{bucket}.{HOST}" for bucket in [SEEDED, *buckets]]
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {n}\n" for n in names))
        run(["mount", "--bind", hosts, "/etc/hosts"])  # of this mount namespace only
        home = directory / "home"
        home.mkdir()
        self.plain = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8",
                      "AWS_REGION": "us-east-1"}
        self.processes, self.ports, self.seeded = {}, {}, {}

    def __enter__(self):
        try:
            self.start("http")
            self.start("https", "--tls-cert-file", self.directory / "tls.pem", "--tls-key-file",
                       self.directory / "tls.key")
            self.identity = free_port()
            self.start("sidecar", "--sidecar", "--identity-listen", f"127.0.0.1:{self.identity}")
            for kind in self.processes:
                self.seeded[kind] = self.boto3(self.place(kind, "ip"), "seed", SEEDED).split()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, kind, *options):
        own, self.ports[kind] = self.directory / kind, free_port()
        own.mkdir()
        keys = own / "keys.json"
        keys.write_text(json.dumps({"keys": [
            {"access_key": k["AWS_ACCESS_KEY_ID"], "secret_key": k["AWS_SECRET_ACCESS_KEY"],
             "internal": k is INNER} for k in (KEYS, INNER)]}))
        keys.chmod(0o600)
        if kind != "sidecar":
            options += ("--credentials-file", keys)
        with open(own / "log", "wb") as log:
            self.processes[kind] = subprocess.Popen(
                [BIN / "skyvol-s3", "--listen", f"127.0.0.1:{self.ports[kind]}", "--dir", own / "store",
                 "--run-dir", own / "run", "--host-suffix", HOST, *options], stdout=log, stderr=log)
        for _ in range(2000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.ports[kind])) == 0:
                    return
            if self.processes[kind].poll() is not None:
                break
            time.sleep(0.01)
        raise SystemExit(f"skyvol-s3 did not start: {(own / 'log').read_text()[-2000:]}")

    def __exit__(self, *error):
        for kind, process in self.processes.items():
            process.send_signal(signal.SIGTERM)
            if process.wait(40) != 0:
                print(f"FAILED skyvol-s3 ({kind}) ended with {process.returncode}")
        run(["umount", "/etc/hosts"])

    def place(self, kind, by):
        scheme = "https" if kind == "https" else "http"
        host = HOST if by == "name" else "127.0.0.1"
        keys = KEYS if kind != "sidecar" else {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.identity}/credentials"}
        return Place(self, kind, f"{scheme}://{host}:{self.ports[kind]}", by == "name",
                     self.plain | keys)

    def boto3(self, where, *arguments, keys=None):
        environment = where.environment | (keys or {})
        if where.ca:
            environment = environment | {"AWS_CA_BUNDLE": str(where.ca)}
        return run([sys.executable, HERE / "boto3_client.py", *arguments], env=environment)

    def verify(self, where, bucket, key, sha256, keys):
        self.boto3(where, "verify", bucket, key, sha256, keys=keys)

    def style_seen(self, kind, bucket, name):
        """path or host: how that client addressed its bucket, by the server's own log."""
        text = (self.directory / kind / "log").read_text()
        # A client's other runs on this server have buckets of their own. boto3's verification is in path style, too,
        # and no more than 8 requests for objects.
        of_bucket = [line for line in text.splitlines() if f'"bucket":"{bucket}","key":"{name}/' in line]
        in_path = sum(f'"path":"/{bucket}/' in line for line in of_bucket)
        in_host = len(of_bucket) - in_path
        if not of_bucket:
            raise AssertionError("the server's log has none of its requests")
        return "host" if in_host > in_path else "path"

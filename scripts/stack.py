# SPDX-License-Identifier: Apache-2.0
"""All of Skyvol on one machine, in a directory of its own: what the demo and the end-to-end tests drive.

    stack = Stack()
    stack.start()
    volume = stack.create_volume("pvc-1", 2**30)
    target = stack.publish(volume)
    ...
    stack.unpublish(volume)
    stack.delete_volume(volume)
    stack.stop()

CSI calls go through skyvolctl, as an operator would make them. stop() may be called at any time and more
than once: it ends what was started here, by pid, and takes down what is mounted below the directory.
"""
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("SKYVOL_BIN", ROOT / "build" / "bin"))
DRIVER = "csi.skyvol.io"


class StackError(Exception):
    """Something did not do what it should; the text says what."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listening(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def mounts_below(directory):
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            point = line.split()[4].encode().decode("unicode_escape")
            if point == str(directory) or point.startswith(str(directory) + "/"):
                found.append(point)
    return found


class Stack:
    def __init__(self, keep=False):
        self.keep = keep
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-"))
        self.processes = {}
        self.port = free_port()
        self.s3_url = f"http://127.0.0.1:{self.port}"
        self.access_key = "demo-" + secrets.token_hex(4)
        self.secret_key = secrets.token_hex(20)
        self.store = self.directory / "store"
        self.commands = {}

    # ---- processes ----

    def spawn(self, name):
        """Start (again) one of the programs; its log is appended."""
        with open(self.directory / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(a) for a in self.commands[name]], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)
        return self.processes[name]

    def wait(self, condition, what, name=None, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            if name and self.processes[name].poll() is not None:
                raise StackError(f"{name} ended with {self.processes[name].returncode} "
                                 f"(see {self.directory}/{name}.log)")
            time.sleep(0.02)
        raise StackError(f"no {what} after {seconds} s (see the logs in {self.directory})")

    def ctl(self, *arguments, stdin=None):
        done = subprocess.run([BIN / "skyvolctl", *[str(a) for a in arguments]], input=stdin,
                              capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise StackError(f"skyvolctl {' '.join(map(str, arguments[:3]))}: {done.stderr.strip()}")
        return done.stdout

    @property
    def has_s3(self):
        return (BIN / "skyvol-s3").exists()

    def start_s3(self):
        keys = self.directory / "keys.json"
        keys.write_text(json.dumps({"keys": [{"access_key": self.access_key,
                                              "secret_key": self.secret_key}]}))
        keys.chmod(0o600)
        self.commands["s3"] = [BIN / "skyvol-s3", "--listen", f"127.0.0.1:{self.port}", "--dir",
                               self.store, "--credentials-file", keys, "--run-dir",
                               self.directory / "s3-run"]
        self.spawn("s3")
        self.wait(lambda: listening(self.port), "S3 endpoint", "s3")

    def start_meta(self):
        address = f"unix:{self.directory}/meta.sock"
        self.meta = address
        self.commands["meta"] = [BIN / "skyvol-meta", "--listen", address, "--database",
                                 self.directory / "meta.sqlite", "--seal-key-file",
                                 self.directory / "seal.keys"]
        self.spawn("meta")
        self.wait(lambda: (self.directory / "meta.sock").exists(), "metaserver", "meta")
        self.ctl("store", "add", "default", f"dir://{self.store}", "--meta", address)

    def start(self):
        if self.has_s3:
            self.start_s3()
        self.start_meta()
        d = self.directory
        self.commands["controller"] = [BIN / "skyvol-controller", "--endpoint",
                                       f"unix:{d}/controller.sock", "--meta", self.meta]
        self.commands["holder"] = [BIN / "skyvol-holder", "--socket", d / "holder.sock"]
        self.commands["node"] = [BIN / "skyvol-node", "--endpoint", f"unix:{d}/node.sock",
                                 "--node-id", "demo-node", "--holder", d / "holder.sock",
                                 "--state-dir", d / "node", "--mounts-dir", d / "mounts",
                                 "--meta", self.meta]
        for name in ("controller", "holder", "node"):
            self.spawn(name)
            self.wait(lambda n=name: (d / f"{n}.sock").exists(), f"socket of the {name}", name)

    def stop(self):
        for point in reversed(mounts_below(self.directory)):
            subprocess.run(["umount", "-l", point], check=False, capture_output=True, timeout=30)
        for name in reversed(list(self.processes)):
            self.end(name)
        if not self.keep and not mounts_below(self.directory):
            shutil.rmtree(self.directory, ignore_errors=True)

    def end(self, name):
        if name == "holder":  # none of its mounters may outlive the stack
            for pid in self.mounters():
                os.kill(pid, signal.SIGKILL)
        process = self.processes.pop(name)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        if process.poll() is None:
            process.kill()
            process.wait(10)

    def kill(self, name):
        """As a crash: SIGKILL, nothing else."""
        self.processes[name].kill()
        self.processes[name].wait(10)

    def mounters(self):
        """Process ids of the mounters of this stack's holder: its descendants of that name."""
        parents, names = {}, {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text()
                except OSError:
                    continue
                names[int(entry.name)] = fields[fields.index("(") + 1:fields.rindex(")")]
                parents[int(entry.name)] = int(fields.rsplit(")", 1)[1].split()[1])
        found = []
        for pid, name in names.items():
            above = pid
            while above in parents and above != self.processes["holder"].pid:
                above = parents[above]
            if name == "skyvol-mount" and above == self.processes["holder"].pid:
                found.append(pid)
        return found

    def explain(self, out):
        """The last lines of each log, after a failure."""
        for name, process in self.processes.items():
            log = self.directory / f"{name}.log"
            print(f"--- {name} (status {process.poll()})", file=out)
            if log.exists():
                print("".join(log.read_text(errors="replace").splitlines(True)[-6:]), file=out)

    # ---- CSI ----

    def csi(self, plugin, method, request):
        return json.loads(self.ctl("csi", "call", f"unix:{self.directory}/{plugin}.sock", method,
                                   "--request", "-", stdin=json.dumps(request)))

    @staticmethod
    def capability(flags=()):
        return {"mount": {"mountFlags": list(flags)},
                "accessMode": {"mode": "MULTI_NODE_MULTI_WRITER"}}

    def create_volume(self, name, size, parameters=None):
        answer = self.csi("controller", "Controller.CreateVolume", {
            "name": name, "capacityRange": {"requiredBytes": str(size)},
            "volumeCapabilities": [self.capability()], "parameters": parameters or {}})["volume"]
        return {"volume_id": answer["volumeId"], "context": answer.get("volumeContext", {})}

    def bucket_of(self, volume):
        shown = json.loads(self.ctl("volume", "show", volume["volume_id"], "--meta", self.meta,
                                    "--json"))
        return shown.get("volume", shown)["bucket"]

    def delete_volume(self, volume):
        self.csi("controller", "Controller.DeleteVolume", {"volumeId": volume["volume_id"]})

    def paths(self, volume):
        return (self.directory / "staging" / volume["volume_id"],
                self.directory / "pods" / volume["volume_id"])

    def publish(self, volume, flags=()):
        staging, target = self.paths(volume)
        staging.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        common = {"volumeId": volume["volume_id"], "stagingTargetPath": str(staging),
                  "volumeCapability": self.capability(flags), "volumeContext": volume["context"]}
        self.csi("node", "Node.NodeStageVolume", common)
        self.csi("node", "Node.NodePublishVolume", {**common, "targetPath": str(target)})
        return str(target)

    def unpublish(self, volume):
        staging, target = self.paths(volume)
        self.csi("node", "Node.NodeUnpublishVolume",
                 {"volumeId": volume["volume_id"], "targetPath": str(target)})
        self.csi("node", "Node.NodeUnstageVolume",
                 {"volumeId": volume["volume_id"], "stagingTargetPath": str(staging)})
        left = mounts_below(self.directory)
        if left:
            raise StackError(f"still mounted: {left}")

    def store_content(self):
        """How many buckets and objects the embedded store has; a data file too many is an error."""
        with sqlite3.connect(self.store / "index.sqlite") as index:
            counts = tuple(index.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                           for table in ("bucket", "object"))
        self.wait(lambda: counts[1] > 0 or not [p for p in (self.store / "data").rglob("*")
                                                if p.is_file()], "removal of all data files")
        return counts

    # ---- S3 ----

    def s3_client(self):
        """Which of the two clients the next calls use: Ubuntu 24.04 packages no awscli."""
        return "awscli" if os.path.exists("/usr/bin/aws") or shutil.which("aws") else "boto3"

    def s3_fetch(self, bucket, prefix, directory):
        """All objects below prefix/ as files below the directory."""
        if self.s3_client() == "awscli":
            self._aws("s3", "sync", "--only-show-errors", f"s3://{bucket}/{prefix}", str(directory))
            return
        client = self._boto3()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/")
        for item in (item for page in pages for item in page.get("Contents", [])):
            if item["Key"].endswith("/"):
                continue  # marks a directory
            path = pathlib.Path(directory, item["Key"][len(prefix) + 1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, item["Key"], str(path))

    def s3_put(self, bucket, key, text):
        if self.s3_client() == "awscli":
            self._aws("s3", "cp", "--only-show-errors", "-", f"s3://{bucket}/{key}", stdin=text)
        else:
            self._boto3().put_object(Bucket=bucket, Key=key, Body=text.encode())

    def _boto3(self):
        import boto3  # the distribution's package; only where there is no awscli

        return boto3.client("s3", endpoint_url=self.s3_url, region_name="us-east-1",
                            aws_access_key_id=self.access_key,
                            aws_secret_access_key=self.secret_key)

    def _aws(self, *arguments, stdin=None):
        """awscli against our endpoint; the keys reach it by a file that only we can read."""
        credentials = self.directory / "aws-credentials"
        if not credentials.exists():
            credentials.touch(0o600)
            credentials.write_text(f"[default]\naws_access_key_id = {self.access_key}\n"
                                   f"aws_secret_access_key = {self.secret_key}\n")
        env = dict(os.environ, AWS_SHARED_CREDENTIALS_FILE=str(credentials),
                   AWS_CONFIG_FILE=str(self.directory / "aws-config"),
                   AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true")
        env.pop("AWS_PROFILE", None)
        done = subprocess.run(["/usr/bin/aws" if os.path.exists("/usr/bin/aws") else "aws",
                               "--endpoint-url", self.s3_url, *arguments], input=stdin,
                              capture_output=True, text=True, env=env, check=False, timeout=300)
        if done.returncode != 0:
            raise StackError(f"aws {' '.join(arguments[:2])}: {done.stderr.strip()}")
        return done.stdout

# SPDX-License-Identifier: Apache-2.0
"""The clients of run_s3_clients: how each is installed, called and told the authority."""
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from server import HERE, ROOT, LeftOut, run

CACHE = pathlib.Path(os.environ.get("SKYVOL_TOOLS_CACHE") or pathlib.Path(
    os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "skyvol-tools") / "s3-clients"
LINK = ROOT / "build" / "tools" / "s3-clients"


def kept(name, sources, make):
    """The folder that make(folder) fills, once for these sources: it is shared by all trees of a user."""
    digest = hashlib.sha256(b"\0".join(s if isinstance(s, bytes) else s.read_bytes() for s in sources))
    folder = CACHE / f"{name}-{digest.hexdigest()[:12]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = CACHE / f"{name}-{os.getpid()}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            make(fresh)
            fresh.rename(folder)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            if not folder.exists():  # else another was faster
                raise LeftOut(f"could not be installed: {error}") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    if not LINK.exists():
        LINK.parent.mkdir(parents=True, exist_ok=True)
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(CACHE)
    return folder


def needed(program, least, *version):
    """Path of a program whose version is at least so high."""
    path = shutil.which(program)
    if not path:
        raise LeftOut(f"no {program} here")
    told = subprocess.run([path, *version], capture_output=True, text=True, check=False, timeout=60)
    text = re.sub(r"\x1b\[\d*m", "", told.stdout + told.stderr)
    found = re.search(r"(\d+)(?:\.(\d+))?", text)
    if not found or (int(found[1]), int(found[2] or 0)) < least:
        raise LeftOut(f"{program} is too old: {'.'.join(map(str, least))} is needed")
    return path


def pip_folder(name, *packages):
    def make(folder):
        run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, *packages])
    return kept(name, ["\n".join([sys.version, *packages]).encode()], make)


class Client:
    """One client. A program of ours: it does all steps and prints a line for each."""
    name = title = version = ""
    in_slice = in_sidecar = True
    seen_by = None  # keys that see all that it left, if not its own
    other_style = "path"  # what is asked for where the default is not wanted
    expected = ("bucket", "put get", "stream", "range", "list", "multipart", "copy", "condition",
                "presign", "seeded", "delete")

    def __init__(self):
        self.steps = ()

    def prepare(self, directory):
        raise NotImplementedError

    def can(self, style):
        """Whether it can be told to address buckets so."""
        return True

    def argv(self, where):
        raise NotImplementedError

    def authority(self, ca):
        raise NotImplementedError

    def run(self, where, bucket, style):
        environment = where.environment | (self.authority(where.ca) if where.ca else {})
        text = run([*self.argv(where), bucket, self.name, "seeded",
                    *([self.other_style] if style else [])], env=environment)
        self.steps = tuple(re.findall(r"^ok (.*)$", text, re.M))
        assert self.steps == self.expected, f"steps: {text[-1000:]}"
        return self.steps, "-"  # the metadata of NAME/kept tells its SHA-256


class Boto3(Client):
    name = title = "boto3"
    other_style = "virtual"
    expected = tuple(s for s in Client.expected if s != "stream")

    def prepare(self, directory):
        self.version = importlib.metadata.version("boto3")

    def argv(self, where):
        return [sys.executable, HERE / "boto3_client.py", "steps"]

    def authority(self, ca):
        return {"AWS_CA_BUNDLE": str(ca), "SSL_CERT_FILE": str(ca)}  # the latter for URLs without boto3


class MinioPy(Client):
    name, title = "minio", "minio-py"
    other_style = "virtual"
    package = "minio==7.2.20"

    def prepare(self, directory):
        self.folder = pip_folder("minio", self.package)
        self.version = self.package.split("==")[1]

    def argv(self, where):
        return ["/usr/bin/env", f"PYTHONPATH={self.folder}", sys.executable, HERE / "minio_client.py"]

    def authority(self, ca):
        return {"SSL_CERT_FILE": str(ca)}


class Go(Client):
    name, title = "go", "aws-sdk-go-v2"
    in_slice = False  # a minute of compiling where nothing is cached

    def prepare(self, directory):
        go = needed("go", (1, 24), "version")
        sources = [HERE / "go" / n for n in ("go.mod", "go.sum", "main.go")]

        def make(folder):
            run([go, "build", "-buildvcs=false", "-o", folder / "client", "."], cwd=HERE / "go",
                env=os.environ | {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"})
        self.program = kept("go", sources, make) / "client"
        self.version = "service/s3 " + re.search(r"service/s3 v(\S+)", sources[0].read_text())[1]

    def argv(self, where):
        return [self.program]

    def authority(self, ca):
        return {"AWS_CA_BUNDLE": str(ca)}


class JavaScript(Client):
    name, title = "js", "aws-sdk-js v3"

    def prepare(self, directory):
        self.node = needed("node", (20, 0), "--version")
        npm = needed("npm", (8, 0), "--version")
        sources = [HERE / "js" / n for n in ("package.json", "package-lock.json")]

        def make(folder):
            for source in sources:
                shutil.copy(source, folder)
            run([npm, "ci", "--no-audit", "--no-fund"], cwd=folder)
        self.folder = kept("js", sources, make)
        self.version = json.loads(sources[0].read_text())["dependencies"]["@aws-sdk/client-s3"]

    def argv(self, where):
        return ["/usr/bin/env", f"NODE_PATH={self.folder}/node_modules", self.node,
                HERE / "js" / "client.js"]

    def authority(self, ca):
        return {"NODE_EXTRA_CA_CERTS": str(ca)}


class Java(Client):
    name, title = "java", "AWS SDK for Java v2"
    in_slice = False  # as Go
    copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"

    def prepare(self, directory):
        self.java, javac = needed("java", (17, 0), "-version"), needed("javac", (17, 0), "-version")
        maven = needed("mvn", (3, 6), "--version")
        sources = [HERE / "java" / n for n in ("pom.xml", "Client.java")]

        def libraries(folder):
            run([maven, "-B", "-q", "-f", sources[0], f"-DoutputDirectory={folder}", self.copy])

        def classes(folder):
            run([javac, "-encoding", "UTF-8", "-cp", f"{self.libraries}/*", "-d", folder, sources[1]])
        self.libraries = kept("java", sources[:1], libraries)
        self.classes = kept("java-classes", sources, classes)
        self.trusted = directory / "trusted.p12"
        self.version = re.search(r"<aws>(.*)</aws>", sources[0].read_text())[1]

    def argv(self, where):
        trust = []
        if where.ca:
            if not self.trusted.exists():
                fresh = self.trusted.with_suffix(f".{os.urandom(4).hex()}")
                run(["keytool", "-importcert", "-noprompt", "-file", where.ca, "-alias", "ca", "-keystore",
                     fresh, "-storepass", "changeit", "-storetype", "PKCS12"])
                fresh.rename(self.trusted)
            trust = [f"-Djavax.net.ssl.trustStore={self.trusted}",
                     "-Djavax.net.ssl.trustStorePassword=changeit"]
        return [self.java, "-XX:TieredStopAtLevel=1", *trust, "-cp", f"{self.classes}:{self.libraries}/*", "Client"]

    def authority(self, ca):
        return {}


ALL = [Boto3(), MinioPy(), Go(), JavaScript(), Java()]

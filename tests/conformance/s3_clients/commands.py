# SPDX-License-Identifier: Apache-2.0
"""The clients of run_s3_clients that are programs of others: command lines, and mounts."""
import hashlib
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from programs import Client, pip_folder
from server import BIN, INNER, LeftOut, run

MIB = 1024 * 1024
SIZES = {"0": 0, "1": 1, "a b+ü&=%41~'/5242880": 5 * MIB}
PARTS = 20 * MIB


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def check(truth, *told):
    if not truth:
        raise AssertionError(*told)


class Session:
    """One client at one place, with one bucket and a folder of its own."""
    missing = ()  # steps that the client has no way to do
    seen_by = None  # keys that see all of the bucket

    def __init__(self, client, where, bucket, style):
        self.client, self.where, self.bucket, self.style = client, where, bucket, style
        self.name, self.contents = client.name, {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{bucket}-", dir=where.environment["HOME"]))
        self.environment = where.environment | {"HOME": str(self.folder)}
        self.begin()

    def begin(self):
        """Writes what the client is configured by."""

    def end(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *argv):
        return run(argv, env=self.environment, cwd=self.folder)

    def write(self, short, body):
        key = f"{self.name}/{short}"
        self.contents[key] = body
        (self.folder / "body").write_bytes(body)
        self.put(self.folder / "body", key)
        return key

    def read(self, key, bucket=None):
        back = self.folder / "back"
        back.unlink(missing_ok=True)
        self.get(bucket or self.bucket, key, back)
        return back.read_bytes()

    def expect(self, key):
        check(self.read(key) == self.contents[key], key, "came back as something else")

    def bucket_step(self):
        other = f"{self.bucket}-2"
        for bucket in (self.bucket, other):
            self.make(bucket)
        self.unmake(other)
        names = self.buckets()
        check(self.bucket in names and other not in names, names)

    def put_get(self):
        for short, size in SIZES.items():
            self.expect(self.write(short, os.urandom(size)))

    def range_step(self):
        key = f"{self.name}/{list(SIZES)[2]}"
        for first, count in ((0, 1), (100, 1000000), (len(self.contents[key]) - 7, 7)):
            check(self.part(key, first, count) == self.contents[key][first:first + count],
                  f"bytes {first}+{count} of {key}")

    def list_step(self):
        found = self.keys()
        check(found == set(self.contents), found)

    def multipart(self):
        self.expect(self.write("kept", os.urandom(PARTS)))

    def copy_step(self):
        to = f"{self.name}/copy ü"
        self.copy(f"{self.name}/kept", to)
        self.contents[to] = self.contents[f"{self.name}/kept"]
        self.expect(to)

    def presign(self):
        key = f"{self.name}/{list(SIZES)[2]}"
        context = ssl.create_default_context(cafile=self.where.ca) if self.where.ca else None
        with urllib.request.urlopen(self.link(key), timeout=60, context=context) as reply:
            check(reply.read() == self.contents[key], "another body came back by URL")

    def seeded(self):
        for key, want in zip(("whole", "parts"), self.where.seeded):
            check(sha256(self.read(key, "seeded")) == want, key)

    def delete(self):
        for key in sorted(self.contents):
            if key != f"{self.name}/kept":
                self.remove(key)
        check(self.keys() == {f"{self.name}/kept"}, self.keys())

    def steps(self):
        done = []
        for name, step in (("bucket", self.bucket_step), ("put get", self.put_get),
                           ("range", self.range_step), ("list", self.list_step),
                           ("multipart", self.multipart), ("copy", self.copy_step),
                           ("presign", self.presign), ("seeded", self.seeded),
                           ("delete", self.delete)):
            if name in self.missing:
                continue
            try:
                step()
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                raise AssertionError(f"{name}: {' '.join(map(str, error.args))[-1000:]}") from error
            done.append(name)
        return tuple(done)


class Aws(Session):
    def begin(self):
        if self.style:
            (self.folder / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
            self.environment["AWS_CONFIG_FILE"] = str(self.folder / "config")
        if self.where.ca:
            self.environment["AWS_CA_BUNDLE"] = str(self.where.ca)

    def aws(self, *argv):
        return self.call("/usr/bin/env", f"PYTHONPATH={self.client.folder}", sys.executable,
                         self.client.folder / "bin" / "aws", *argv)

    def make(self, bucket):
        self.aws("s3", "mb", f"s3://{bucket}")

    def unmake(self, bucket):
        self.aws("s3", "rb", f"s3://{bucket}")

    def buckets(self):
        return self.aws("s3", "ls").split()

    def put(self, path, key):
        self.aws("s3", "cp", "--no-progress", path, f"s3://{self.bucket}/{key}")

    def get(self, bucket, key, path):
        self.aws("s3", "cp", "--no-progress", f"s3://{bucket}/{key}", path)

    def part(self, key, first, count):
        self.aws("s3api", "get-object", "--bucket", self.bucket, "--key", key, "--range",
                 f"bytes={first}-{first + count - 1}", self.folder / "part")
        return (self.folder / "part").read_bytes()

    def keys(self):
        lines = self.aws("s3", "ls", "--recursive", f"s3://{self.bucket}/").splitlines()
        return {line.split(None, 3)[3] for line in lines}

    def copy(self, key, to):
        self.aws("s3", "cp", "--no-progress", f"s3://{self.bucket}/{key}", f"s3://{self.bucket}/{to}")

    def link(self, key):
        return self.aws("s3", "presign", f"s3://{self.bucket}/{key}").strip()

    def remove(self, key):
        self.aws("s3", "rm", f"s3://{self.bucket}/{key}")


class S3cmd(Session):
    def begin(self):
        url = urllib.parse.urlsplit(self.where.url)
        bucket = f"%(bucket)s.{url.netloc}" if self.where.by_name and not self.style else url.netloc
        keys = self.where.keys
        (self.folder / ".s3cfg").write_text(
            f"[default]\naccess_key = {keys['AWS_ACCESS_KEY_ID']}\n"
            f"secret_key = {keys['AWS_SECRET_ACCESS_KEY']}\nhost_base = {url.netloc}\n"
            f"host_bucket = {bucket}\nuse_https = {url.scheme == 'https'}\n"
            f"signurl_use_https = {url.scheme == 'https'}\n"
            + (f"ca_certs_file = {self.where.ca}\n" if self.where.ca else ""))

    def s3cmd(self, *argv):
        return self.call("/usr/bin/env", f"PYTHONPATH={self.client.folder}", sys.executable,
                         self.client.folder / "bin" / "s3cmd", "--no-progress", *argv)

    def make(self, bucket):
        self.s3cmd("mb", f"s3://{bucket}")

    def unmake(self, bucket):
        self.s3cmd("rb", f"s3://{bucket}")

    def buckets(self):
        return re.findall(r"s3://(\S+)", self.s3cmd("ls"))

    def put(self, path, key):
        self.s3cmd("put", path, f"s3://{self.bucket}/{key}")

    def get(self, bucket, key, path):
        self.s3cmd("get", f"s3://{bucket}/{key}", path)

    def part(self, key, first, count):
        """It has ranges to go on with what is there in part: the end of the object."""
        begun = self.folder / "begun"
        begun.write_bytes(self.contents[key][:first])
        self.s3cmd("get", "--continue", f"s3://{self.bucket}/{key}", begun)
        return begun.read_bytes()[first:first + count]

    def keys(self):
        lines = self.s3cmd("ls", "--recursive", f"s3://{self.bucket}").splitlines()
        return {line.split(f"s3://{self.bucket}/", 1)[1] for line in lines}

    def copy(self, key, to):
        self.s3cmd("cp", f"s3://{self.bucket}/{key}", f"s3://{self.bucket}/{to}")

    def link(self, key):
        return self.s3cmd("signurl", f"s3://{self.bucket}/{key}", "+600").strip()

    def remove(self, key):
        self.s3cmd("del", f"s3://{self.bucket}/{key}")


class Rclone(Session):
    def begin(self):
        self.environment |= {"RCLONE_CONFIG_X_TYPE": "s3", "RCLONE_CONFIG_X_PROVIDER": "Other",
                             "RCLONE_CONFIG_X_ENV_AUTH": "true",
                             "RCLONE_CONFIG_X_ENDPOINT": self.where.url}
        if self.style:
            self.environment["RCLONE_CONFIG_X_FORCE_PATH_STYLE"] = "false"

    def rclone(self, *argv, **kwargs):
        return run([self.client.program, *(["--ca-cert", self.where.ca] if self.where.ca else []),
                    *argv], env=self.environment, **kwargs)

    def make(self, bucket):
        self.rclone("mkdir", f"x:{bucket}")

    def unmake(self, bucket):
        self.rclone("rmdir", f"x:{bucket}")

    def buckets(self):
        return [line.split()[-1] for line in self.rclone("lsd", "x:").splitlines()]

    def put(self, path, key):
        self.rclone("copyto", path, f"x:{self.bucket}/{key}")

    def multipart(self):
        """By default a file goes in parts from 200 MiB on, a stream from 100 KiB on."""
        key, body = f"{self.name}/kept", os.urandom(PARTS)
        self.contents[key] = body
        (self.folder / "body").write_bytes(body)
        self.call("sh", "-c", 'exec <"$0"; exec "$@"', self.folder / "body", self.client.program,
                  *(["--ca-cert", self.where.ca] if self.where.ca else []), "rcat",
                  f"x:{self.bucket}/{key}")
        self.expect(key)

    def get(self, bucket, key, path):
        self.rclone("copyto", f"x:{bucket}/{key}", path)

    def part(self, key, first, count):
        done = subprocess.run(
            [self.client.program, *(["--ca-cert", str(self.where.ca)] if self.where.ca else []), "cat",
             "--offset", str(first), "--count", str(count), f"x:{self.bucket}/{key}"],
            env=self.environment, capture_output=True, check=True, timeout=120)
        return done.stdout

    def keys(self):
        return set(self.rclone("lsf", "-R", "--files-only", f"x:{self.bucket}").splitlines())

    def copy(self, key, to):
        self.rclone("copyto", f"x:{self.bucket}/{key}", f"x:{self.bucket}/{to}")

    def link(self, key):
        return self.rclone("link", "--expire", "10m", f"x:{self.bucket}/{key}").strip()

    def remove(self, key):
        self.rclone("deletefile", f"x:{self.bucket}/{key}")


class Mounted(Session):
    """Steps on a file system: copy is a rename, and everything is read by a new mount."""
    missing = ("presign",)

    def bucket_step(self):
        self.point = self.folder / "mnt"
        self.point.mkdir()
        self.where.make_bucket(self.bucket)
        self.mount(self.bucket)
        (self.point / self.name).mkdir()

    def unmount(self):
        run(["umount", self.point])
        self.ended()

    def again(self):
        self.unmount()
        self.mount(self.bucket)

    def write(self, short, body):
        key = f"{self.name}/{short}"
        (self.point / key).parent.mkdir(exist_ok=True)
        (self.point / key).write_bytes(body)
        self.contents[key] = body
        return key

    def put_get(self):
        written = [self.write(short, os.urandom(size)) for short, size in SIZES.items()]
        self.again()
        for key in written:
            self.expect(key)

    def read(self, key, bucket=None):
        if bucket:
            self.unmount()
            self.mount(bucket, "ro")
        body = (self.point / key).read_bytes()
        if bucket:
            self.again()
        return body

    def part(self, key, first, count):
        with open(self.point / key, "rb") as file:
            file.seek(first)
            return file.read(count)

    def range_step(self):
        self.again()
        super().range_step()

    def keys(self):
        self.again()
        return {str(path.relative_to(self.point)) for path in self.point.rglob("*") if path.is_file()}

    def multipart(self):
        key = self.write("kept", os.urandom(PARTS))
        self.again()
        self.expect(key)

    def copy_step(self):
        """Objects have no rename: it is a copy, of 20 MiB."""
        for old, new in (("kept", "moved ü"), ("moved ü", "kept")):
            (self.point / self.name / old).rename(self.point / self.name / new)
            self.contents[f"{self.name}/{new}"] = self.contents.pop(f"{self.name}/{old}")
            self.again()
            self.expect(f"{self.name}/{new}")

    def remove(self, key):
        (self.point / key).unlink()
        if "/" in key.split("/", 1)[1]:
            (self.point / key).parent.rmdir()

    def end(self):
        if os.path.ismount(self.folder / "mnt"):
            subprocess.run(["umount", "-l", self.folder / "mnt"], check=False)
        super().end()

    def wait(self, process):
        end = time.monotonic() + 60
        while not os.path.ismount(self.point):
            check(process.poll() is None and time.monotonic() < end,
                  f"no mount: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.02)
        self.process = process

    def ended(self):
        check(self.process.wait(60) == 0, f"it ended with {self.process.returncode}: "
              f"{(self.folder / 'log').read_text()[-1000:]}")


class S3fs(Mounted):
    def mount(self, bucket, *options):
        secret = self.folder / "passwd"
        secret.write_text(":".join(self.where.keys.values()))
        secret.chmod(0o600)
        options += (f"passwd_file={secret}", f"url={self.where.url}")
        if not self.where.by_name or self.style:
            options += ("use_path_request_style",)
        if self.where.ca:
            self.environment["CURL_CA_BUNDLE"] = str(self.where.ca)
        with open(self.folder / "log", "ab") as log:
            self.wait(subprocess.Popen([self.client.program, bucket, self.point, "-f", "-o",
                                        ",".join(options)], env=self.environment, stdout=log, stderr=log))


class SkyvolMount(Mounted):
    seen_by = INNER

    def mount(self, bucket, *options):
        environment = self.environment | INNER
        if self.where.ca:
            options += (f"ca_file={self.where.ca}",)
        with open(self.folder / "log", "ab") as log:
            self.wait(subprocess.Popen(
                [self.client.program, f"s3://{bucket}", self.point, "-f",
                 *(["-o", ",".join(options)] if options else [])], env=environment, stdout=log,
                stderr=log))


class Command(Client):
    other_style = None

    def __init__(self, session, name, title, in_slice=True, in_sidecar=False):
        super().__init__()
        self.session, self.name, self.title = session, name, title
        self.in_slice, self.in_sidecar = in_slice, in_sidecar

    def can(self, style):
        return style is None or self.session is not SkyvolMount  # which knows path style only

    def run(self, where, bucket, style):
        session = self.session(self, where, bucket, style)
        try:
            self.steps = session.steps()
            if isinstance(session, Mounted):
                session.unmount()
            self.seen_by = session.seen_by
            return self.steps, sha256(session.contents[f"{self.name}/kept"])
        finally:
            session.end()


class Packaged(Command):
    """By pip, in a folder of its own."""

    def __init__(self, package, *arguments, **named):
        super().__init__(*arguments, **named)
        self.package = package

    def prepare(self, directory):
        self.folder = pip_folder(self.name, self.package)
        self.version = self.package.split("==")[1]


class Installed(Command):
    """Of the distribution, or ours."""

    def prepare(self, directory):
        own = BIN / self.title
        self.program = str(own) if own.exists() else shutil.which(self.title)
        if not self.program:
            raise LeftOut("not installed (make deps)")
        if issubclass(self.session, Mounted) and not (os.path.exists("/dev/fuse") and os.geteuid() == 0):
            raise LeftOut("needs root and /dev/fuse")
        told = run([self.program, "--version"])
        self.version = re.search(r"v?(\d+\.\d[\w.]*)", told)[1]


ALL = [Packaged("awscli==1.46.2", Aws, "aws", "awscli", in_slice=False, in_sidecar=True),
       Packaged("s3cmd==2.4.0", S3cmd, "s3cmd", "s3cmd"),
       Installed(Rclone, "rclone", "rclone", in_sidecar=True),
       Installed(S3fs, "s3fs", "s3fs"),
       Installed(SkyvolMount, "mount", "skyvol-mount")]

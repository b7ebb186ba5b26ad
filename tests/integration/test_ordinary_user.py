# SPDX-License-Identifier: Apache-2.0
"""Without root: skyvol-mount through fusermount3, and the servers and tools that need no privilege."""
import json
import os
import pathlib
import shutil
import stat
import subprocess

import boto3
import pytest
from botocore.config import Config

from conftest import free_port, listening, program, tool, wait_until

UID = GID = 65534
USER = {"user": UID, "group": GID, "extra_groups": []}
ENTER = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def home(workdir):
    os.chown(workdir, UID, GID)
    return workdir


class Mount:
    """In a mount namespace of its own, where /dev/fuse is open to all, as on any desktop."""

    def __init__(self, home, processes, *words):
        self.home, self.point = home, home / "mnt"
        self.point.mkdir()
        os.chown(self.point, UID, GID)
        device = home / "fuse"
        os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        device.chmod(0o666)
        command = [*ENTER, program("skyvol-mount"), *words, self.point, "-f"]
        self.process = processes.start(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f'mount --bind {device} /dev/fuse && exec "$@"', "sh", *command],
            "skyvol-mount", env={"PATH": os.environ["PATH"], "HOME": str(home)})
        wait_until(lambda: str(self.point) in self.table(), what="mount", process=self.process)

    def table(self):
        return pathlib.Path("/proc", str(self.process.pid), "mountinfo").read_text("utf-8")

    def run(self, script, as_user=True):
        return subprocess.run(
            ["nsenter", "--mount", f"--target={self.process.pid}", *(ENTER if as_user else []),
             "sh", "-c", script], cwd=self.home, capture_output=True, text=True, check=False,
            timeout=60)


def test_an_ordinary_user_mounts_through_fusermount3(home, processes):
    if not shutil.which("fusermount3") or not os.path.exists("/dev/fuse"):
        pytest.skip("no fusermount3 or no /dev/fuse")
    helper = pathlib.Path(program("skyvol-mount")).parents[1] / "tests/unit/mounter/test_takeover"
    subprocess.run([helper, "--make-bucket", f"dir://{home}/store", "bucket"], check=True, **USER)
    for expected in ("", "0123456789"):  # and again, with what the first mount left
        one = Mount(home, processes, f"dir://{home}/store/bucket")
        status = pathlib.Path("/proc", str(one.process.pid), "status").read_text("utf-8")
        assert f"Uid:\t{UID}\t{UID}\t{UID}\t{UID}" in status
        assert "CapEff:\t0000000000000000" in status
        done = one.run(f"cat {one.point}/file 2>/dev/null; printf 0123456789 >{one.point}/file && "
                       f"mkdir -p {one.point}/d && mv {one.point}/file {one.point}/d/file && "
                       f"mv {one.point}/d/file {one.point}/file && stat -c %u:%s {one.point}/file")
        assert done.stdout == f"{expected}{UID}:10\n", done.stderr
        assert one.run(f"cat {one.point}/file", as_user=False).returncode != 0  # no allow_other
        assert one.run(f"fusermount3 -u {one.point}").returncode == 0
        assert one.process.wait(30) == 0
        one.point.rmdir()
        (home / "fuse").unlink()


# A mount whose program dies, one over it, and two signals to that one while the store takes nothing.
DEAD = """
mounts() { grep -c " $PWD/mnt " /proc/self/mountinfo; }
until_serves() { until [ "$(stat -f -c %T mnt)" = fuseblk ] || [ "$(stat -f -c %T mnt)" = fuse ]; do sleep 0.05; done; }
"$PROGRAM" mem://bucket mnt -f &
first=$!
until_serves
kill -9 $first
wait $first
stat -f mnt || echo dead
export SKYVOL_TEST_FAULTS=put:2+:hang
"$PROGRAM" mem://bucket mnt -f -o sync=fsync 2>log &
second=$!
until_serves
mounts
echo works >mnt/a; cat mnt/a
kill -TERM $second
until grep -q LOST log; do sleep 0.05; done
kill -TERM $second
wait $second
echo "status $?"
mounts
ls mnt
"""


def test_an_ordinary_users_dead_mount_makes_way_and_two_signals_leave_none(home):
    if not shutil.which("fusermount3") or not os.path.exists("/dev/fuse"):
        pytest.skip("no fusermount3 or no /dev/fuse")
    (home / "mnt").mkdir()
    os.chown(home / "mnt", UID, GID)
    device = home / "fuse"
    os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
    device.chmod(0o666)
    done = subprocess.run(  # timeout(1) ends all of it
        ["timeout", "-k", "2", "100", "unshare", "--mount", "--propagation", "private", "sh", "-c",
         f'mount --bind {device} /dev/fuse && exec "$@"', "sh", *ENTER, "sh", "-c", DEAD], cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PROGRAM": program("skyvol-mount")},
        capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["dead", "1", "works", "status", "1", "0"], done
    assert "a mount whose program had ended was unmounted here" in (home / "log").read_text()


def test_servers_and_tools_run_without_root(home, processes):
    def ctl(*words, stdin=""):
        return subprocess.run([program("skyvolctl"), *map(str, words)], input=stdin, text=True,
                              capture_output=True, check=True, timeout=60, **USER).stdout

    address = f"unix:{home}/meta.sock"
    meta = processes.start([program("skyvol-meta"), "--listen", address, "--database",
                            home / "meta.db", "--seal-key-file", home / "seal.keys"], **USER)
    wait_until((home / "meta.sock").exists, 15, "socket of skyvol-meta", meta)
    controller = processes.start([program("skyvol-controller"), "--endpoint",
                                  f"unix://{home}/controller.sock", "--meta", address], **USER)
    wait_until((home / "controller.sock").exists, 15, "socket of the controller", controller)
    ctl("store", "add", f"--meta={address}", "default", f"dir://{home}/store")
    made = json.loads(ctl("volume", "create", f"--meta={address}", "mine", "--size", "1GiB",
                          "--json"))["volume"]
    listed = ctl("csi", "call", home / "controller.sock", "Controller.ListVolumes", "{}")
    assert made["id"] in listed
    ctl("volume", "delete", f"--meta={address}", "mine", "--yes")
    ctl("certs", "init", home / "certs")
    for process in (controller, meta):
        processes.stop(process)


def test_the_s3_endpoint_runs_without_root(home, processes):
    tool("nginx")
    port = free_port()
    keys = home / "keys.json"
    keys.write_text(json.dumps({"keys": [{"access_key": "a", "secret_key": "b"}]}), "utf-8")
    keys.chmod(0o600)
    log = home / "skyvol-s3.log"
    log.touch()
    for path in (keys, log):  # nginx opens its log by name
        os.chown(path, UID, GID)
    process = processes.start(
        [program("skyvol-s3"), "--listen", f"127.0.0.1:{port}", "--dir", home / "store",
         "--credentials-file", keys, "--run-dir", home / "run"], **USER)
    wait_until(lambda: listening(port), what="S3 endpoint", process=process)
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="a",
                          aws_secret_access_key="b", region_name="us-east-1",
                          config=Config(s3={"addressing_style": "path"}))
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="k", Body=b"x" * 100_000)
    assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"x" * 100_000
    processes.stop(process)

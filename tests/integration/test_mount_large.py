# SPDX-License-Identifier: Apache-2.0
"""Files of several parts, and what becomes of them when the store refuses or somebody interferes."""
import errno
import os
import pathlib
import subprocess
import sys

import pytest

from conftest import free_port, program, wait_until
from test_mount import LateAnswers

MIB = 1024 * 1024
BYTES = os.urandom(64 * MIB)


class Rig:
    def __init__(self, workdir, processes, minio, options=""):
        self.client = minio.client()
        self.client.create_bucket(Bucket="bucket")
        port = free_port()
        self.proxy = LateAnswers(port, int(minio.url.rsplit(":", 1)[1]), 0)
        self.point = pathlib.Path(workdir / "mnt")
        self.point.mkdir()
        env = dict(os.environ, AWS_ACCESS_KEY_ID=minio.access_key,
                   AWS_SECRET_ACCESS_KEY=minio.secret_key)
        process = processes.start(
            [program("skyvol-mount"), "s3://bucket", self.point, "-f", "-o",
             f"endpoint=http://127.0.0.1:{port},region={minio.region},memory=100663296{options}"], env=env)
        wait_until(lambda: os.path.ismount(self.point), what="mount", process=process)

    def refuse(self, *words):
        self.proxy.refuses = lambda line: any(word.encode() in line for word in words)

    def stored(self, key):
        return self.client.get_object(Bucket="bucket", Key=key)["Body"].read()

    def keys(self):
        listed = self.client.list_objects_v2(Bucket="bucket").get("Contents", [])
        return [o["Key"] for o in listed if not o["Key"].startswith(".skyvol/")]

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket="bucket").get("Uploads", [])


@pytest.fixture
def rig(workdir, processes, minio):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    one = Rig(workdir, processes, minio)
    yield one
    one.refuse()
    subprocess.run(["umount", one.point], check=False, timeout=60)
    one.proxy.listener.close()


def write(file, data, offset=0):
    while data:
        count = os.pwrite(file, data[:MIB], offset)
        data, offset = data[count:], offset + count


@pytest.mark.parametrize("first, second", [(10, 1), (12, 20), (40, 3)])
def test_a_file_that_grew_after_a_refused_upload_is_stored_whole(rig, first, second):
    """Parts of the refused try are of another length than those of the next."""
    file = os.open(rig.point / "file", os.O_CREAT | os.O_RDWR)
    rig.refuse("POST /bucket/file?uploadId")  # the completion
    write(file, BYTES[:first * MIB])
    with pytest.raises(OSError):
        os.fsync(file)
    assert rig.keys() == []
    write(file, BYTES[first * MIB:(first + second) * MIB], first * MIB)
    write(file, b"changed", 100)
    rig.refuse()
    os.fsync(file)
    os.close(file)
    wanted = BYTES[:100] + b"changed" + BYTES[107:(first + second) * MIB]
    assert rig.stored("file") == wanted
    assert (rig.point / "file").read_bytes() == wanted
    assert rig.uploads() == []


def test_of_two_writers_of_a_large_new_file_both_keep_their_bytes(rig):
    """What was sent ahead cannot be sent again: the other's object goes beside."""
    file = os.open(rig.point / "file", os.O_CREAT | os.O_RDWR)
    write(file, BYTES[:40 * MIB])
    rig.client.put_object(Bucket="bucket", Key="file", Body=b"theirs")
    os.fsync(file)
    os.close(file)
    assert rig.stored("file") == BYTES[:40 * MIB]
    beside = [key for key in rig.keys() if key.startswith("file.conflict-")]
    assert [rig.stored(key) for key in beside] == [b"theirs"]
    assert len(rig.keys()) == 2


@pytest.mark.parametrize("gone", ["unlinked", "replaced"])
def test_a_large_file_that_loses_its_name_while_it_is_open_keeps_its_bytes(rig, gone):
    file = os.open(rig.point / "file", os.O_CREAT | os.O_RDWR)
    write(file, BYTES[:40 * MIB])
    if gone == "unlinked":
        os.unlink(rig.point / "file")
    else:
        (rig.point / "other").write_bytes(b"other")
        os.rename(rig.point / "other", rig.point / "file")
    for offset in range(0, 40 * MIB, 4 * MIB):
        assert os.pread(file, 4 * MIB, offset) == BYTES[offset:offset + 4 * MIB]
    os.close(file)
    assert os.listdir(rig.point) == ([] if gone == "unlinked" else ["file"])
    assert rig.uploads() == []


def test_a_file_whose_upload_vanished_is_lost_and_not_published(rig):
    file = os.open(rig.point / "file", os.O_CREAT | os.O_RDWR)
    write(file, BYTES[:40 * MIB])
    wait_until(rig.uploads, what="parts sent ahead")
    for upload in rig.uploads():
        rig.client.abort_multipart_upload(Bucket="bucket", Key="file",
                                          UploadId=upload["UploadId"])
    for _ in range(2):
        with pytest.raises(OSError) as failed:
            os.fsync(file)
        assert failed.value.errno == errno.EIO
    with pytest.raises(OSError) as failed:
        os.pwrite(file, b"more", 0)
    assert failed.value.errno == errno.EIO
    with pytest.raises(OSError):
        os.close(file)
    assert rig.keys() == []


MAPS = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
with mmap.mmap(file, int(sys.argv[2])) as pages:
    for at in range(0, len(pages), 4096):
        pages[at:at + 4] = b"page"
    pages.flush()
"""


@pytest.mark.full  # it waits for memory, for 55 s
def test_a_mapped_file_whose_pages_found_no_room_is_lost_and_not_published(rig):
    """A third of the memory is for dirty bytes; the pages' errors go to nobody but fsync."""
    size = 60 * MIB
    (rig.point / "file").write_bytes(b"old")
    file = os.open(rig.point / "file", os.O_RDWR)
    rig.refuse("PUT /", "POST /")
    os.ftruncate(file, size)
    writer = subprocess.run([sys.executable, "-c", MAPS, rig.point / "file", str(size)],
                            check=False, capture_output=True, timeout=120)
    assert writer.returncode != 0  # msync's error, or SIGBUS
    rig.refuse()
    with pytest.raises(OSError) as failed:
        os.fsync(file)
    assert failed.value.errno == errno.EIO
    with pytest.raises(OSError):
        os.close(file)
    assert rig.stored("file") == b"old"

# SPDX-License-Identifier: Apache-2.0
"""What POSIX promises and object stores do not have: space, holes, special files, attributes, names.

Most tests mount a directory store, change files, and look again after a remount: what is seen then
is in the store.
"""
import ast
import ctypes
import errno
import hashlib
import mmap
import os
import random
import socket
import stat
import struct
import subprocess
import threading
import time

import boto3
import pytest
from conftest import BIN, program, wait_until

HELPER = BIN.parent / "tests" / "unit" / "mounter" / "test_takeover"
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT = 1, 2, 8, 16, 32
MIB = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def fallocate(file, mode, offset, length):
    check(libc.fallocate(file, mode, ctypes.c_long(offset), ctypes.c_long(length)))


class Volume:
    """A directory store with one bucket, mounted; again() mounts it anew."""

    def __init__(self, workdir, processes):
        self.processes, self.target, self.count = processes, workdir / "target", 0
        self.target.mkdir()
        workdir.chmod(0o711)
        self.location = f"dir://{workdir}/store/bucket"
        subprocess.run([HELPER, "--make-bucket", f"dir://{workdir}/store", "bucket"], check=True,
                       timeout=20)
        self.options = ()
        self.process = None

    def mount(self, *options):
        self.count += 1
        self.options = options
        self.process = self.processes.start(
            [program("skyvol-mount"), self.location, self.target, "-f", *options],
            f"mount{self.count}")
        wait_until(lambda: os.path.ismount(self.target), what="mount", process=self.process)
        return self.target

    def unmount(self):
        subprocess.run(["umount", self.target], check=True, timeout=20)
        self.process.wait(20)

    def again(self):
        self.unmount()
        return self.mount(*self.options)


@pytest.fixture
def volume(workdir, processes):
    return Volume(workdir, processes)


@pytest.fixture
def target(volume):
    return volume.mount()


def opened(path, flags=os.O_RDWR | os.O_CREAT):
    return os.open(path, flags, 0o644)


def test_a_punched_range_reads_as_zeros_before_and_after_it_is_in_the_store(volume, target):
    content = bytearray(os.urandom(3 * MIB))
    (target / "f").write_bytes(content)
    target = volume.again()
    file = opened(target / "f")
    for start, length in ((4097, 700000), (MIB, MIB), (5, 1), (2 * MIB + 1, 2 * MIB)):
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, start, length)
        end = min(start + length, len(content))
        content[start:end] = bytes(end - start)
        assert os.pread(file, 4 * MIB, 0) == content
    os.pwrite(file, b"over", MIB + 77)
    content[MIB + 77:MIB + 81] = b"over"
    assert os.pread(file, 4 * MIB, 0) == content
    os.fsync(file)
    assert os.pread(file, 4 * MIB, 0) == content
    fallocate(file, ZERO_RANGE, 3 * MIB - 10, 20)
    content[3 * MIB - 10:] = bytes(20)
    os.close(file)
    assert (volume.again() / "f").read_bytes() == content


def test_a_hole_of_any_length_holds_no_memory(target):
    """More is punched than the mount has memory for."""
    file = opened(target / "f")
    os.pwrite(file, b"begin", 0)
    os.ftruncate(file, 1 << 40)
    fallocate(file, PUNCH_HOLE | KEEP_SIZE, 0, 1 << 40)
    assert os.pread(file, 10, 0) == bytes(10)
    assert os.fstat(file).st_size == 1 << 40
    os.ftruncate(file, 10)
    os.close(file)
    assert (target / "f").read_bytes() == bytes(10)


def test_fallocate_grows_a_file_or_keeps_its_size(volume, target):
    file = opened(target / "f")
    fallocate(file, 0, 0, 10000)
    assert os.fstat(file).st_size == 10000
    fallocate(file, KEEP_SIZE, 0, 50000)
    assert os.fstat(file).st_size == 10000
    fallocate(file, ZERO_RANGE | KEEP_SIZE, 9000, 50000)
    assert os.fstat(file).st_size == 10000
    fallocate(file, ZERO_RANGE, 9000, 2000)
    assert os.fstat(file).st_size == 11000
    for mode in (COLLAPSE, INSERT):
        with pytest.raises(OSError) as failed:
            fallocate(file, mode, 0, 4096)
        assert failed.value.errno == errno.EOPNOTSUPP
    os.close(file)
    assert (volume.again() / "f").read_bytes() == bytes(11000)


def test_holes_and_data_are_found(target):
    file = opened(target / "f")
    os.pwrite(file, b"x" * 100, MIB)
    os.ftruncate(file, 4 * MIB)
    seek = os.lseek
    assert seek(file, 0, os.SEEK_DATA) == MIB
    assert seek(file, MIB, os.SEEK_HOLE) == MIB + 100
    assert seek(file, 0, os.SEEK_HOLE) == 0
    with pytest.raises(OSError) as failed:
        seek(file, 2 * MIB, os.SEEK_DATA)
    assert failed.value.errno == errno.ENXIO
    os.fsync(file)  # an object has no holes
    assert seek(file, 0, os.SEEK_DATA) == 0
    assert seek(file, 0, os.SEEK_HOLE) == 4 * MIB
    fallocate(file, PUNCH_HOLE | KEEP_SIZE, MIB, MIB)
    os.pwrite(file, b"y", MIB + 500)
    assert seek(file, 7, os.SEEK_HOLE) == MIB
    assert seek(file, MIB, os.SEEK_DATA) == MIB + 500
    assert seek(file, MIB + 500, os.SEEK_HOLE) == MIB + 501
    assert seek(file, MIB + 501, os.SEEK_DATA) == 2 * MIB
    assert seek(file, 2 * MIB, os.SEEK_HOLE) == 4 * MIB
    with pytest.raises(OSError) as failed:
        seek(file, 4 * MIB, os.SEEK_HOLE)
    assert failed.value.errno == errno.ENXIO
    os.close(file)


def test_a_mapped_file_sees_the_hole_and_can_be_written_over_it(volume, target):
    (target / "f").write_bytes(b"a" * 65536)
    file = opened(target / "f")
    with mmap.mmap(file, 65536) as mapped:
        assert mapped[5000] == ord("a")
        fallocate(file, PUNCH_HOLE | KEEP_SIZE, 4096, 8192)
        assert mapped[5000] == 0 and mapped[4095] == ord("a") and mapped[12288] == ord("a")
        mapped[5000] = ord("b")
        mapped.flush()
    os.close(file)
    content = (volume.again() / "f").read_bytes()
    assert content == b"a" * 4096 + bytes(904) + b"b" + bytes(7287) + b"a" * (65536 - 12288)


def test_what_is_written_over_a_cut_file_while_it_is_published_stays(target):
    """A block that went and came back is not the block whose bytes were sent."""
    path = target / "f"
    for i in range(60):
        file = opened(path)
        os.pwrite(file, bytes([i + 1]) * 300000, 0)
        child = os.fork()
        if child == 0:
            os.fsync(file)
            os._exit(0)
        os.ftruncate(file, 0)
        os.pwrite(file, bytes([i + 101]) * 1000, 0)
        os.waitpid(child, 0)
        os.fsync(file)
        os.close(file)
        assert path.read_bytes() == bytes([i + 101]) * 1000


# ---- attributes ----

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 65534


def acl(*entries):
    """(tag, bits) or (tag, bits, id), in the order of tags."""
    out = struct.pack("<I", 2)
    for tag, bits, *who in entries:
        out += struct.pack("<HHI", tag, bits, who[0] if who else 0xffffffff)
    return out


def as_user(function, uid=NOBODY, gid=NOBODY):
    """In a child that is this user; its return value, or the errno of its OSError."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            answer = repr(function())
        except OSError as error:
            answer = repr(-error.errno)
        except BaseException as error:  # pylint: disable=broad-except
            answer = repr(repr(error))
        os.write(write_end, answer.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return ast.literal_eval(answer)


def test_attributes_of_every_namespace_are_kept(volume, target):
    path, directory = target / "f", target / "d"
    path.write_bytes(b"x")
    directory.mkdir()
    values = {"user.a": b"1", "user.empty": b"", "user.bytes": bytes(range(256)),
              "trusted.b": b"2", "security.c": b"3"}
    for name, value in values.items():
        os.setxattr(path, name, value)
        os.setxattr(directory, name, value)
    target = volume.again()
    for one in (target / "f", target / "d"):
        assert set(os.listxattr(one)) == set(values)
        assert {name: os.getxattr(one, name) for name in values} == values
    assert as_user(lambda: sorted(os.listxattr(path))) == ["security.c", "user.a", "user.bytes",
                                                           "user.empty"]
    with pytest.raises(OSError) as failed:
        os.setxattr(path, "user.a", b"", os.XATTR_CREATE)
    assert failed.value.errno == errno.EEXIST
    with pytest.raises(OSError) as failed:
        os.setxattr(path, "user.new", b"", os.XATTR_REPLACE)
    assert failed.value.errno == errno.ENODATA
    with pytest.raises(OSError) as failed:
        os.setxattr(path, "other.name", b"")
    assert failed.value.errno == errno.EOPNOTSUPP
    with pytest.raises(OSError) as failed:
        os.setxattr(path, "user.large", bytes(2000))
    assert failed.value.errno == errno.ENOSPC
    for name in values:
        os.removexattr(path, name)
    assert os.listxattr(path) == []


def test_an_access_list_and_the_mode_say_the_same(volume, target):
    path = target / "f"
    path.write_bytes(b"secret")
    os.chmod(path, 0o600)
    assert as_user(lambda: open(path, "rb").read()) == -errno.EACCES
    os.setxattr(path, ACCESS, acl((USER_OBJ, 6), (USER, 4, NOBODY), (GROUP_OBJ, 0), (MASK, 4),
                                  (OTHER, 0)))
    assert path.stat().st_mode & 0o777 == 0o640
    assert as_user(lambda: open(path, "rb").read()) == b"secret"
    target = volume.again()
    assert as_user(lambda: open(path, "rb").read()) == b"secret"
    os.chmod(path, 0o600)
    assert os.getxattr(path, ACCESS) == acl((USER_OBJ, 6), (USER, 4, NOBODY), (GROUP_OBJ, 0),
                                            (MASK, 0), (OTHER, 0))
    assert as_user(lambda: open(path, "rb").read()) == -errno.EACCES
    os.setxattr(path, ACCESS, acl((USER_OBJ, 6), (GROUP_OBJ, 4), (OTHER, 4)))
    assert path.stat().st_mode & 0o777 == 0o644
    assert ACCESS not in os.listxattr(path)


def test_new_files_have_their_directorys_default_list(volume, target):
    directory = target / "d"
    directory.mkdir()
    default = acl((USER_OBJ, 7), (USER, 7, NOBODY), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 5))
    os.setxattr(directory, DEFAULT, default)
    old = os.umask(0o077)  # does not count where there is a default list
    try:
        (directory / "f").write_bytes(b"x")
        (directory / "sub").mkdir()
        (target / "plain").write_bytes(b"x")
    finally:
        os.umask(old)
    target = volume.again()
    assert (target / "plain").stat().st_mode & 0o777 == 0o600
    assert os.listxattr(target / "plain") == []
    assert (directory / "f").stat().st_mode & 0o777 == 0o664
    assert os.getxattr(directory / "f", ACCESS) == acl(
        (USER_OBJ, 6), (USER, 7, NOBODY), (GROUP_OBJ, 5), (MASK, 6), (OTHER, 4))
    assert DEFAULT not in os.listxattr(directory / "f")
    assert os.getxattr(directory / "sub", DEFAULT) == default
    assert os.getxattr(directory / "sub", ACCESS) == acl(
        (USER_OBJ, 7), (USER, 7, NOBODY), (GROUP_OBJ, 5), (MASK, 7), (OTHER, 5))
    with pytest.raises(OSError) as failed:
        os.setxattr(target / "plain", DEFAULT, default)
    assert failed.value.errno == errno.EACCES


def test_an_access_list_ends_setgid_for_who_is_not_in_the_group(volume, target):
    path = target / "f"
    path.write_bytes(b"x")
    os.chown(path, NOBODY, 1234)
    wanted = acl((USER_OBJ, 6), (USER, 4, 1), (GROUP_OBJ, 5), (MASK, 5), (OTHER, 0))
    for name, who, stays in (("root", None, True), ("a member", (NOBODY, 1234), True),
                             ("a stranger", (NOBODY, NOBODY), False)):
        os.chmod(path, 0o2750)

        def change():
            os.setxattr(path, ACCESS, wanted)

        assert (change() if who is None else as_user(change, *who)) in (None, 0), name
        assert path.stat().st_mode & 0o7777 == (0o2650 if stays else 0o650), name


def test_a_directory_with_setgid_gives_its_group(volume, target):
    directory = target / "d"
    directory.mkdir()
    os.chown(directory, 0, 4242)
    os.chmod(directory, 0o2777)
    (directory / "f").write_bytes(b"x")
    (directory / "sub").mkdir()
    os.symlink("f", directory / "link")
    volume.again()
    assert (directory / "f").stat().st_gid == 4242
    assert (directory / "link").lstat().st_gid == 4242
    assert (directory / "sub").stat().st_gid == 4242
    assert (directory / "sub").stat().st_mode & 0o7777 == 0o2755


def test_writing_takes_suid_and_capabilities_away(target):
    path = target / "f"

    def made(mode):
        path.write_bytes(b"0123456789")
        os.chmod(path, mode)
        return path

    def mode():
        return path.stat().st_mode & 0o7777

    made(0o6777)
    path.open("r+b").write(b"root may")
    assert mode() == 0o6777
    assert as_user(lambda: path.open("r+b").write(b"others")) == 6
    assert mode() == 0o777
    made(0o2766)  # not executable by the group: it means a kind of lock, not a privilege
    assert as_user(lambda: path.open("r+b").write(b"others")) == 6
    assert mode() == 0o2766
    made(0o6777)
    assert as_user(lambda: os.truncate(path, 3)) is None
    assert mode() == 0o777
    made(0o6777)
    os.chown(path, 5, 5)
    assert mode() == 0o777
    made(0o755)
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr(path, "security.capability", capability)
    assert os.getxattr(path, "security.capability") == capability
    path.open("r+b").write(b"also by root")
    assert "security.capability" not in os.listxattr(path)


def test_special_files_and_long_links_are_kept(volume, target):
    os.mkfifo(target / "fifo", 0o640)
    os.mknod(target / "char", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(target / "block", 0o600 | stat.S_IFBLK, os.makedev(300, 70000))
    os.mknod(target / "plain", 0o604 | stat.S_IFREG)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(target / "socket"))
    sock.close()
    os.symlink("x" * 4095, target / "link")
    os.utime(target / "fifo", ns=(1, -2 * 10**9 - 3))
    target = volume.again()
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert (target / "fifo").stat().st_mtime_ns == -2 * 10**9 - 3
    assert stat.S_ISCHR((target / "char").stat().st_mode)
    assert (target / "char").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK((target / "block").stat().st_mode)
    assert (target / "block").stat().st_rdev == os.makedev(300, 70000)
    assert (target / "plain").stat().st_mode == 0o604 | stat.S_IFREG
    assert stat.S_ISSOCK((target / "socket").stat().st_mode)
    assert os.readlink(target / "link") == "x" * 4095


# ---- names ----

def give_name(file, path):
    check(libc.linkat(-100, f"/proc/self/fd/{file}".encode(), -100, os.fsencode(path), 0x400))


def test_a_file_without_a_name_can_be_given_one(volume, target):
    (target / "d").mkdir()
    file = os.open(target / "d", os.O_TMPFILE | os.O_RDWR, 0o640)
    lost = os.open(target / "d", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(file, b"unseen")
    os.write(lost, b"never seen")
    assert os.fstat(file).st_nlink == 0
    assert os.listdir(target / "d") == []
    give_name(file, target / "named")
    assert os.fstat(file).st_nlink == 1
    assert (target / "named").read_bytes() == b"unseen"
    assert (target / "named").stat().st_ino == os.fstat(file).st_ino
    with pytest.raises(OSError) as failed:
        give_name(lost, target / "named")
    assert failed.value.errno == errno.EEXIST
    os.write(file, b" before")
    os.close(file)
    os.close(lost)
    target = volume.again()
    assert (target / "named").read_bytes() == b"unseen before"
    assert (target / "named").stat().st_mode & 0o777 == 0o640
    assert os.listdir(target / "d") == []


def test_a_second_name_is_refused_as_not_permitted(target):
    (target / "f").write_bytes(b"x")
    with pytest.raises(OSError) as failed:
        os.link(target / "f", target / "g")
    assert failed.value.errno == errno.EPERM


NOREPLACE, EXCHANGE = 1, 2


def rename(a, b, flags):
    check(libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags))


def tree(directory):
    """Every path below, with content."""
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
            for path in directory.rglob("*")}


def test_two_files_directories_or_one_of_each_change_places(volume, target):
    (target / "f").write_bytes(b"file f")
    (target / "g").write_bytes(b"file g" * 1000)
    for name, count in (("d", 3), ("e", 70)):
        (target / name / "sub").mkdir(parents=True)
        for i in range(count):
            (target / name / "sub" / f"{name}{i}").write_bytes(b"%d" % i)
    before = {name: tree(target / name) for name in "de"}
    numbers = {name: (target / name).stat().st_ino for name in "fgde"}
    kept = opened(target / "f")
    inside = opened(target / "d/sub/d1")
    rename(target / "f", target / "g", EXCHANGE)
    rename(target / "d", target / "e", EXCHANGE)
    assert os.pread(kept, 10, 0) == b"file f"
    os.pwrite(kept, b"FILE", 0)
    os.pwrite(inside, b"one", 0)
    before["d"]["sub/d1"] = b"one"
    os.close(kept)
    os.close(inside)
    assert (target / "g").read_bytes() == b"FILE f"
    assert (target / "f").read_bytes() == b"file g" * 1000
    assert tree(target / "e") == before["d"] and tree(target / "d") == before["e"]
    assert (target / "g").stat().st_ino == numbers["f"]
    assert (target / "e").stat().st_ino == numbers["d"]
    rename(target / "f", target / "d", EXCHANGE)
    for _ in range(2):
        assert (target / "d").read_bytes() == b"file g" * 1000
        assert tree(target / "f") == before["e"] and tree(target / "e") == before["d"]
        assert sorted(os.listdir(target)) == ["d", "e", "f", "g"]
        target = volume.again()
    with pytest.raises(OSError) as failed:
        rename(target / "g", target / "absent", EXCHANGE)
    assert failed.value.errno == errno.ENOENT
    with pytest.raises(OSError) as failed:
        rename(target / "g", target / "d", NOREPLACE)
    assert failed.value.errno == errno.EEXIST


def test_a_directory_is_moved_with_all_that_is_below(volume, target):
    (target / "d").mkdir()
    for i in range(150):
        (target / "d" / f"{i}").write_bytes(b"%d" % i)
    before = tree(target / "d")
    os.rename(target / "d", target / "moved")
    for _ in range(2):
        assert tree(target / "moved") == before
        assert os.listdir(target) == ["moved"]
        target = volume.again()


# ---- on S3, where others write, too ----

class Bucket:
    """A bucket of MinIO, by boto3 and mounted."""

    def __init__(self, minio, workdir, processes):
        self.s3 = boto3.client("s3", endpoint_url=minio.url, region_name=minio.region,
                               aws_access_key_id=minio.access_key,
                               aws_secret_access_key=minio.secret_key)
        self.s3.create_bucket(Bucket="bucket")
        self.processes, self.target, self.process = processes, workdir / "target", None
        self.options = ["-o", f"endpoint={minio.url}"]
        self.env = dict(os.environ, AWS_ACCESS_KEY_ID=minio.access_key,
                        AWS_SECRET_ACCESS_KEY=minio.secret_key)
        self.target.mkdir()

    def mount(self, **env):
        self.process = self.processes.start(
            [program("skyvol-mount"), "s3://bucket", self.target, "-f", *self.options], "mount",
            env=dict(self.env, **env))
        wait_until(lambda: os.path.ismount(self.target), what="mount", process=self.process)
        return self.target

    def unmount(self):
        subprocess.run(["umount", self.target], check=True, timeout=20)
        self.process.wait(20)

    def put(self, key, body=b""):
        self.s3.put_object(Bucket="bucket", Key=key, Body=body)

    def keys(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def objects(self):
        """But what is ours."""
        return {key: self.s3.get_object(Bucket="bucket", Key=key)["Body"].read()
                for key in self.keys() if not key.startswith(".skyvol/")}


@pytest.fixture
def bucket(minio, workdir, processes):
    return Bucket(minio, workdir, processes)


def test_what_a_lost_node_was_moving_is_moved_by_a_later_mount(bucket):
    """Half of a directory is under its new name, and nobody is left who knows of it."""
    for i in range(10):
        bucket.put(f"moved/{i}", b"%d" % i)
        bucket.put(f"d/{i + 10}", b"%d" % (i + 10))
        bucket.put(f"x/{i}", b"x%d" % i)  # of two that exchange names, one is out of the way
        bucket.put(f".skyvol/exchange/00000000000000bb/{i}", b"y%d" % i)
    bucket.put(".skyvol/move/00000000000000aa", b"move 11 0 0 d moved 1\n")
    bucket.put(".skyvol/move/00000000000000bb", b"exchange 11 1 0 y x 1\n")
    bucket.mount(SKYVOL_TEST_RECOVER_MS="500")
    wait_until(lambda: not any(key.startswith(".skyvol/move/") for key in bucket.keys()),
               what="end of the moves")
    wanted = {f"moved/{i}": b"%d" % i for i in range(20)}
    wanted |= {f"x/{i}": b"y%d" % i for i in range(10)} | {f"y/{i}": b"x%d" % i for i in range(10)}
    assert bucket.objects() == wanted
    assert sorted(os.listdir(bucket.target)) == ["moved", "x", "y"]


def test_a_move_that_somebody_is_at_work_on_is_left_to_him(bucket):
    bucket.put("d/1", b"1")
    bucket.mount(SKYVOL_TEST_RECOVER_MS="500")
    end, count = time.monotonic() + 5, 0
    while time.monotonic() < end:
        bucket.put(".skyvol/move/00000000000000aa", b"move 11 0 0 d moved %d\n" % count)
        count += 1
        time.sleep(0.1)
    assert "d/1" in bucket.keys()
    wait_until(lambda: "moved/1" in bucket.keys(), what="move, as nobody is at work any more")


@pytest.mark.full
def test_bytes_of_unlinked_files_go_when_their_mount_is_gone(bucket):
    """And not those of one that lives, nor what has another name."""
    def hidden():
        return {k for k in bucket.keys() if k.startswith(".skyvol/open/") and not k.endswith(".alive")}

    bucket.put("killed", b"k" * 10000)
    bucket.put("living", b"l" * 10000)
    bucket.put(".skyvol/open/of-an-older-form", b"x")
    bucket.mount()
    killed = os.open(bucket.target / "killed", os.O_RDONLY)
    os.unlink(bucket.target / "killed")
    wait_until(lambda: len(hidden()) == 2, what="the bytes of the unlinked file")
    bucket.process.kill()
    bucket.process.wait(20)
    subprocess.run(["umount", "-l", bucket.target], check=True, timeout=20)
    left = hidden()
    bucket.mount(SKYVOL_TEST_RECOVER_MS="100")
    with open(bucket.target / "living", "rb") as file:
        os.unlink(bucket.target / "living")
        wait_until(lambda: len(hidden()) == 3, what="the bytes of the second")
        ours = hidden() - left
        wait_until(lambda: hidden() == ours | {".skyvol/open/of-an-older-form"}, seconds=30,
                   what="end of what the killed mount left")
        time.sleep(4)  # longer than a sign of life lasts here
        assert ours <= hidden()
        assert file.read() == b"l" * 10000
    try:
        os.close(killed)
    except OSError:
        pass  # nobody is there to hear of it


class Counting:
    """In front of an S3 store: counts the bytes that go to it and come from it."""

    def __init__(self, upstream):
        self.upstream, self.bytes = upstream, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            store = socket.create_connection(("127.0.0.1", self.upstream))
            for a, b in ((client, store), (store, client)):
                threading.Thread(target=self.pass_on, args=(a, b), daemon=True).start()

    def pass_on(self, a, b):
        try:
            while data := a.recv(65536):
                self.bytes += len(data)
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_a_large_copy_moves_no_bytes(minio, workdir, processes):
    bucket = Bucket(minio, workdir, processes)
    counting = Counting(int(minio.url.rsplit(":", 1)[1]))
    bucket.options[1] = f"endpoint={counting.url}"
    content = os.urandom(MIB) * 40
    bucket.put("large", content)
    bucket.put("small", content[:5000])
    target = bucket.mount()
    before = counting.bytes
    subprocess.run(["cp", target / "large", target / "copy"], check=True, timeout=60)
    os.chmod(target / "copy", 0o640)
    os.setxattr(target / "copy", "user.a", b"b")
    assert counting.bytes - before < MIB / 4
    with open(target / "large", "rb") as a, open(target / "parts", "wb") as b:
        # As the kernel asks for a huge file: the first request is of 2 GiB at most.
        assert os.copy_file_range(a.fileno(), b.fileno(), 24 * MIB) == 24 * MIB
        assert os.fstat(b.fileno()).st_size == 24 * MIB
        b.seek(0, os.SEEK_END)
        b.write(b"end")
    assert counting.bytes - before < MIB
    subprocess.run(["cp", target / "small", target / "small2"], check=True, timeout=60)
    with open(target / "large", "r+b") as a, open(target / "copy2", "wb") as b:
        os.pwrite(a.fileno(), b"changed", 3 * MIB)
        assert os.copy_file_range(a.fileno(), b.fileno(), 50 * MIB) == 40 * MIB
    changed = content[:3 * MIB] + b"changed" + content[3 * MIB + 7:]
    bucket.unmount()
    assert bucket.objects() == {"large": changed, "small": content[:5000], "copy": content,
                                "copy2": changed, "parts": content[:24 * MIB] + b"end",
                                "small2": content[:5000]}
    target = bucket.mount()
    assert (target / "copy").stat().st_mode & 0o777 == 0o640
    assert (target / "copy").read_bytes() == content


@pytest.mark.full
def test_a_copy_of_several_gigabytes_goes_on_where_the_last_request_ended(bucket):
    target = bucket.mount()
    size = 2500 * MIB
    with open(target / "large", "wb") as file:
        for i in range(size // MIB):
            file.write(b"%07d\n" % i * (MIB // 8))
    begun = time.monotonic()
    subprocess.run(["cp", target / "large", target / "copy"], check=True, timeout=120)
    print(f"cp of {size} bytes: {time.monotonic() - begun:.2f} s")
    subprocess.run(["cmp", target / "large", target / "copy"], check=True, timeout=120)
    head = bucket.s3.head_object(Bucket="bucket", Key="copy")
    assert head["ContentLength"] == size


def random_keys(rng, count):
    """Keys of parts that are no file names, or each other's directory, or too long for one."""
    parts = ["", ".", "..", "a", "b", ".%x", ".%dot", ".%file%a", "x" * 256, "y" * 700, "ü" * 130,
             ".%" + "z" * 253, "new\nline", " ", "%41", "\x7f\x01", "\u2028", "+&?#", "~"]
    keys = set()
    while len(keys) < count:
        key = "/".join(rng.choice(parts) for _ in range(rng.randint(1, 4)))
        # An empty key and what S3 forbids or reads as another are left out, and what is ours.
        if key and len(key.encode()) <= 1024 and not key.startswith("/"):
            keys.add(key)
    return keys


@pytest.mark.parametrize("seed", [1, 2])
def test_every_key_is_reachable_under_some_name(volume, workdir, seed):
    """Put into the store; listed, read and removed on the mount; then the bucket is empty."""
    keys = random_keys(random.Random(seed), 60)
    store = (f"dir://{workdir}/store", "bucket")
    subprocess.run([HELPER, "--put-keys", *store], check=True, timeout=20,
                   input=b"".join(key.encode() + b"\0" for key in keys))
    target = volume.mount("-o", "attr_timeout=0")
    seen, directories = [], []
    for directory, names, files in os.walk(os.fsencode(target)):
        directories += [os.path.join(directory, name) for name in names]
        seen += [os.path.join(directory, name) for name in files]
        assert all(len(name) <= 255 for name in names + files)
    wanted = sorted(key.encode() for key in keys if not key.endswith("/"))
    assert sorted(open(path, "rb").read() for path in seen) == wanted
    target = os.fsencode(volume.again())  # names that no listing has shown to this process yet
    for i, path in enumerate(seen):
        body = open(path, "rb").read()
        assert body in wanted
        if i % 2 == 0:
            os.rename(path, target + b"/moved%d" % i)
            assert open(target + b"/moved%d" % i, "rb").read() == body
            os.unlink(target + b"/moved%d" % i)
        else:
            os.unlink(path)
    for path in sorted(directories, reverse=True):
        os.rmdir(path)
    assert os.listdir(target) == []

    def left():
        listed = subprocess.run([HELPER, "--list-keys", *store], check=True, timeout=20,
                                capture_output=True).stdout
        return [key for key in listed.split(b"\0")[:-1] if not key.startswith(b".skyvol/")]

    wait_until(lambda: left() == [], what="an empty bucket")  # removals follow within a second


@pytest.mark.parametrize("named", [False, True], ids=["never named", "named in the end"])
def test_a_file_without_a_name_may_be_larger_than_memory(volume, named):
    target = volume.mount("-o", "memory=48m")  # 16 MiB of it for dirty bytes
    begun = time.monotonic()
    file = os.open(target, os.O_TMPFILE | os.O_RDWR, 0o600)
    digest = hashlib.sha256()
    for i in range(24):
        piece = random.Random(i).randbytes(MIB)
        digest.update(piece)
        assert os.write(file, piece) == MIB
    os.pwrite(file, b"X", 5)
    os.pwrite(file, random.Random(0).randbytes(MIB)[5:6], 5)
    assert os.fstat(file).st_size == 24 * MIB
    os.lseek(file, 0, os.SEEK_SET)
    again = hashlib.sha256()
    while data := os.read(file, MIB):
        again.update(data)
    assert again.digest() == digest.digest()
    if named:
        give_name(file, target / "named")
        os.pwrite(file, b"end", 24 * MIB)
    os.close(file)
    assert time.monotonic() - begun < 40
    target = volume.again()
    if named:
        content = (target / "named").read_bytes()
        assert hashlib.sha256(content[:24 * MIB]).digest() == digest.digest()
        assert content[24 * MIB:] == b"end"
    else:
        assert os.listdir(target) == []
    store = (f"dir://{target.parent}/store", "bucket")
    left = subprocess.run([HELPER, "--list-keys", *store], check=True, timeout=20,
                          capture_output=True).stdout
    assert b".skyvol/open/" not in left

# SPDX-License-Identifier: Apache-2.0
"""What people and programs do to a mount that no suite does."""
import ctypes
import errno
import mmap
import os
import pathlib
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest

from rig import BIN, BUCKET, Rig, fails, stored, stuck_processes, wait_for

MIB = 1 << 20


@pytest.fixture(name="rig")
def own_rig(rig, request):
    with rig.alone(request.node.name):
        yield rig


# ---- options and credentials ----

@pytest.mark.parametrize("options, told", [
    ("nosuch=1", "nosuch"), ("sync=sometimes", "sync"), ("deadline=-2", "deadline"),
    ("deadline=", "deadline"), ("uid=99999999999", "uid"),
    ("umask=9", "umask"), ("endpoint=ftp://x", "endpoint"), ("endpoint=http://", "endpoint"),
    ("attrs=full,attrs=never", "attrs"), ("cache=relative", "cache"), ("size=-5", "size")])
def test_a_bad_option_is_named_and_nothing_is_mounted(rig, workdir, options, told):
    point = workdir / "mnt"
    point.mkdir()
    given = options if "endpoint" in options else f"endpoint={rig.url},{options}"
    done = subprocess.run([BIN / "skyvol-mount", rig.location, point, "-f", "-o", given],
                          env=rig.environment, capture_output=True, text=True, check=False,
                          timeout=20)
    assert done.returncode not in (0, -signal.SIGABRT, -signal.SIGSEGV), done.stderr
    assert told in done.stderr and len(done.stderr.splitlines()) < 6, done.stderr
    assert not os.path.ismount(point)


@pytest.mark.parametrize("content", [
    b"", b"[default]\n", b"aws_access_key_id = first\n", b"\x00\xff\xfe" * 100,
    b"[default]\naws_access_key_id = first\naws_secret_access_key =\n",
    b"[default]\naws_access_key_id = " + b"k" * 100_000 + b"\naws_secret_access_key = s\n",
    b"[default]\r\naws_access_key_id=\xc3\xa9\r\naws_secret_access_key=top-secret-value\r\n"],
    ids=["empty", "section", "no-section", "binary", "no-secret", "long", "latin"])
def test_a_bad_credentials_file_is_an_error_that_tells_no_secret(rig, workdir, content):
    point, file = workdir / "mnt", workdir / "credentials"
    point.mkdir()
    file.touch(0o600)
    file.write_bytes(content)
    done = subprocess.run(
        [BIN / "skyvol-mount", rig.location, point, "-f", "-o", f"endpoint={rig.url}"],
        env=dict(rig.environment, AWS_SHARED_CREDENTIALS_FILE=str(file)), capture_output=True,
        check=False, timeout=30)
    assert done.returncode == 1 and done.stderr, done
    assert b"top-secret-value" not in done.stderr and b"kkkkkkkkkk" not in done.stderr
    assert not os.path.ismount(point)


# ---- names, sizes, directories ----

def test_names_of_every_byte_are_kept(rig):
    one = rig.mount(sync="fsync")
    names = {b"x" + bytes([b]) + b"y" for b in range(1, 256) if b != ord("/")}
    names |= {bytes([b]) for b in range(1, 256) if b not in b"/."}
    names |= {"ü".encode(), "\u202e".encode(), b" lead", b"trail ", b"...", b"%41", b"a%2fb", b"+ +",
              b".%strange", b".%name%\xff", b".%%x", b"\xff" * 255}
    point = os.fsencode(one.point)
    for name in names:
        file = os.open(point + b"/" + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(file, name)
        os.close(file)
    os.mkdir(point + b"/d\xe9")
    os.rename(point + b"/\xff", point + b"/d\xe9/\xfe")
    assert fails(os.stat, point + b"/\xff") == errno.ENOENT
    names = names - {b"\xff"} | {b"d\xe9"}
    for _ in range(2):
        assert set(os.listdir(point)) == names
        assert os.listdir(point + b"/d\xe9") == [b"\xfe"]
        for name in names - {b"d\xe9"}:
            assert pathlib.Path(os.fsdecode(point + b"/" + name)).read_bytes() == name
        one.again()
    assert one.end() == 0
    assert stored(rig)[".%name%d%E9/.%name%%FE"] == b"\xff"


def test_a_sparse_file_of_5_gib_and_one_of_nothing(rig):
    one = rig.mount(sync="fsync")
    (one.point / "nothing").touch()
    with open(one.point / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(5 << 30)
        file.write(b"end")
    assert (one.point / "sparse").stat().st_size == (5 << 30) + 3
    with open(one.point / "sparse", "rb") as file:
        assert file.read(10) == b"begin" + bytes(5)
        file.seek((5 << 30) - 2)
        assert file.read() == b"\0\0end"
    os.truncate(one.point / "sparse", 5)
    assert one.end() == 0
    assert stored(rig) == {"nothing": b"", "sparse": b"begin"}


@pytest.mark.full
def test_a_directory_of_100_000_entries(rig):
    one = rig.mount(sync="fsync", attr_timeout=60)
    count = 100_000
    for i in range(count):
        os.close(os.open(one.point / f"f{i:06}", os.O_CREAT | os.O_WRONLY))
    assert len(os.listdir(one.point)) == count
    one.again()
    assert len(os.listdir(one.point)) == count
    shutil.rmtree(one.point, ignore_errors=True)
    assert os.listdir(one.point) == []
    assert one.end() == 0
    assert stored(rig) == {}


# ---- two nodes ----

def test_two_mounts_rename_the_same_names_and_no_file_is_lost(rig):
    """Who is second sees ENOENT or an error; each content is somewhere in the end."""
    one, two = rig.mount(attr_timeout=0), rig.mount(attr_timeout=0)
    wanted = {f"content {i}".encode() for i in range(12)}
    for i, data in enumerate(sorted(wanted)):
        (one.point / f"a{i}").write_bytes(data)
    seen, stop = set(), time.monotonic() + 2.5

    def storm(mount, seed):
        chance = random.Random(seed)
        while time.monotonic() < stop:
            i = chance.randrange(12)
            names = [f"a{i}", f"b{i}"]
            chance.shuffle(names)
            seen.add(fails(os.rename, mount.point / names[0], mount.point / names[1]))

    threads = [threading.Thread(target=storm, args=(m, n)) for n, m in enumerate((one, two, one, two))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not stuck_processes()
    assert seen <= {0, errno.ENOENT, errno.ESTALE, errno.EBUSY, errno.EIO, errno.EEXIST}, seen
    assert one.end() == 0 and two.end() == 0
    assert set(stored(rig).values()) == wanted


@pytest.mark.parametrize("content, other", [
    (b"", "moves it back"), (b"large" * (MIB // 4), "moves it back"), (b"small", "moves it back and forth"),
    (b"small", "writes another")], ids=["empty", "large", "often", "another"])
def test_a_rename_deletes_what_it_has_copied_and_not_what_came_to_the_old_name_meanwhile(rig, content, other):
    slow, quick = rig.mount(attr_timeout=0), rig.mount(attr_timeout=0, endpoint=rig.store_url)
    (slow.point / "a").write_bytes(content)
    deletion = rig.proxy.add("stall", op="DELETE", key="/a$", count=1, seconds=2)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(fails(os.rename, slow.point / "a", slow.point / "b")))
    thread.start()
    wait_for(lambda: "b" in stored(rig), "the copy")
    if other == "writes another":
        (quick.point / "a").write_bytes(b"theirs")
    else:
        os.rename(quick.point / "b", quick.point / "a")
    if other == "moves it back and forth":
        os.rename(quick.point / "a", quick.point / "b")
        os.rename(quick.point / "b", quick.point / "a")
    thread.join(60)
    assert seen == [0] and deletion.done > 0
    assert slow.end() == 0 and quick.end() == 0
    wanted = {"a": b"theirs", "b": content} if other == "writes another" else {"a": content}
    assert stored(rig) == wanted


@pytest.mark.parametrize("names", [["a"], ["a", "b"]], ids=["one", "two"])
def test_a_removal_spares_what_another_mount_writes_after_it(rig, names):
    slow, quick = rig.mount(attr_timeout=0), rig.mount(attr_timeout=0, endpoint=rig.store_url)
    for name in names:
        (slow.point / name).write_bytes(b"old")
    deletion = rig.proxy.add("stall", op="DELETE|DELETE_BATCH", count=1, seconds=1.5)
    for name in names:
        (slow.point / name).unlink()
    wait_for(lambda: deletion.done > 0, "the deletion")
    (quick.point / "a").write_bytes(b"theirs")
    assert slow.end() == 0 and quick.end() == 0
    assert stored(rig) == {"a": b"theirs"}


def test_a_directory_that_moves_takes_what_another_mount_writes_there_meanwhile(rig):
    slow, quick = rig.mount(attr_timeout=0), rig.mount(attr_timeout=0, endpoint=rig.store_url)
    (slow.point / "d").mkdir()
    for name in "fgh":
        (slow.point / "d" / name).write_bytes(b"old")
    deletion = rig.proxy.add("stall", op="DELETE_BATCH", count=1, seconds=2)
    thread = threading.Thread(target=os.rename, args=(slow.point / "d", slow.point / "e"))
    thread.start()
    wait_for(lambda: deletion.done > 0, "the deletion")
    (quick.point / "d" / "f").write_bytes(b"theirs")
    thread.join(60)
    assert slow.end() == 0 and quick.end() == 0
    found = {name: data for name, data in stored(rig).items() if data}
    assert found == {"e/f": b"theirs", "e/g": b"old", "e/h": b"old"}


def test_two_mounts_append_to_one_file_and_each_is_told_or_kept(rig):
    one, two = rig.mount(attr_timeout=0), rig.mount(attr_timeout=0)
    (one.point / "f").write_bytes(b"")
    taken = []

    def appends(mount, letter):
        for i in range(15):
            line = b"%s%d\n" % (letter, i)
            try:
                with open(mount.point / "f", "ab", buffering=0) as file:
                    file.write(line)
                taken.append(line)
            except OSError as error:
                assert error.errno == errno.ESTALE

    threads = [threading.Thread(target=appends, args=pair) for pair in ((one, b"a"), (two, b"b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert one.end() == 0 and two.end() == 0
    found = stored(rig)
    lines = found["f"].splitlines(keepends=True)
    assert all(line in lines for line in taken), "what close() took is in the file"
    assert len(taken) > 0


# ---- the store goes, the mount goes ----

def test_a_bucket_that_is_deleted_under_the_mount_is_an_error_and_no_end(workdir):
    with Rig() as rig:
        one = rig.mount(deadline=3, attr_timeout=0)
        (one.point / "f").write_bytes(b"x")
        s3 = rig.client()
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for entry in page.get("Contents", []):
                s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
        s3.delete_bucket(Bucket=BUCKET)
        assert fails((one.point / "g").write_bytes, b"y") in (errno.ENOENT, errno.EIO, errno.ESTALE)
        assert fails(os.listdir, one.point) in (0, errno.EIO, errno.ENOENT)
        assert fails((one.point / "f").read_bytes) != 0
        assert one.process.poll() is None and not stuck_processes()
        s3.create_bucket(Bucket=BUCKET)
        end = time.monotonic() + 20
        while fails((one.point / "g").write_bytes, b"y") and time.monotonic() < end:
            time.sleep(0.1)
        assert one.end() == 0
        assert rig.objects()["g"] == b"y"


@pytest.mark.parametrize("sync", ["close", "fsync"])
def test_sigterm_under_load_loses_nothing_acknowledged(rig, sync):
    one = rig.mount(sync=sync)
    taken, stop = {}, threading.Event()

    def works(number):
        for i in range(10_000):
            path = one.point / f"w{number}-{i}"
            data = b"%d " % i * random.randrange(1, 20_000)
            try:
                with open(path, "wb", buffering=0) as file:
                    file.write(data)
                    os.fsync(file.fileno())
            except OSError:
                return
            taken[path.name] = data
            if stop.is_set():
                return

    threads = [threading.Thread(target=works, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    one.process.send_signal(signal.SIGTERM)
    status = one.process.wait(60)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    subprocess.run(["umount", "-l", one.point], check=False, capture_output=True, timeout=20)
    assert status == 0 and taken
    found = stored(rig)
    assert {name: found.get(name) for name in taken} == taken


def test_umount_l_waits_for_open_files_and_loses_nothing(rig):
    one = rig.mount(sync="fsync")
    file = os.open(one.point / "f", os.O_CREAT | os.O_WRONLY)
    os.write(file, b"before ")
    subprocess.run(["umount", "-l", one.point], check=True, timeout=20)
    assert not os.path.ismount(one.point)
    os.write(file, b"after")
    os.close(file)
    assert one.process.wait(60) == 0
    assert stored(rig) == {"f": b"before after"}


def test_programs_run_and_fork_from_the_mount(rig):
    # Not by the proxy: Python holds its lock in a page fault and until exec() is over.
    one = rig.mount(sync="fsync", endpoint=rig.store_url)
    shutil.copy("/bin/sh", one.point / "sh")
    (one.point / "script").write_text(f"#!{one.point}/sh\necho $0 $1 >$2\n")
    os.chmod(one.point / "script", 0o755)
    for i in range(10):
        subprocess.run([one.point / "script", str(i), one.point / f"out{i}"], check=True, timeout=30)
        assert (one.point / f"out{i}").read_text() == f"{one.point}/script {i}\n"
    busy = subprocess.Popen([one.point / "sh", "-c", "sleep 5"])
    wait_for(lambda: "sh" in os.readlink(f"/proc/{busy.pid}/exe"), "exec")
    os.unlink(one.point / "sh")
    assert busy.poll() is None
    busy.kill()
    busy.wait(20)
    assert one.end() == 0


# ---- bytes ----

def test_writers_that_map_and_writers_that_write_agree(rig):
    # Not by the proxy: Python holds its lock in a page fault and until exec() is over.
    one = rig.mount(sync="fsync", endpoint=rig.store_url)
    size = 3 * MIB
    path = one.point / "f"
    with open(path, "wb") as file:
        file.truncate(size)
    with open(path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), size) as view:
        for i in range(0, size, 64 * 1024):
            view[i:i + 5] = b"%05d" % (i // 65536)
            os.pwrite(file.fileno(), b"%05d" % (i // 65536), i + 100)
        view.flush()
        os.fsync(file.fileno())
        view[size - 4:] = b"last"
    one.again()
    data = path.read_bytes()
    for i in range(0, size, 64 * 1024):
        assert data[i:i + 5] == data[i + 100:i + 105] == b"%05d" % (i // 65536)
    assert data[-4:] == b"last"
    assert one.end() == 0
    assert stored(rig) == {"f": data}


def test_direct_io_of_any_alignment(rig):
    one = rig.mount(sync="fsync")
    expected = bytearray(300_000)
    file = os.open(one.point / "f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    chance = random.Random(1)
    for i in range(60):
        at, size = chance.randrange(290_000), chance.randrange(1, 9000)
        data = bytes([i + 1]) * size
        assert os.pwrite(file, data, at) == size
        if at + size > len(expected):
            expected.extend(bytes(at + size - len(expected)))
        expected[at:at + size] = data
        at, size = chance.randrange(290_000), chance.randrange(1, 9000)
        length = os.fstat(file).st_size
        assert os.pread(file, size, at) == bytes(expected[:length][at:at + size])
    length = os.fstat(file).st_size
    os.close(file)
    assert one.end() == 0
    assert stored(rig)["f"] == bytes(expected[:length])


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    FILE *file;
    long off = 0;
    int ret;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    ret = real(id, t);
    if (id == CLOCK_REALTIME && (file = fopen(getenv("TEST_CLOCK_FILE"), "r")) != NULL) {
        if (fscanf(file, "%ld", &off) == 1) t->tv_sec += off;
        fclose(file);
    }
    return ret;
}
"""


def test_a_clock_that_jumps_while_mounted_is_seen_through(rig, workdir):
    (workdir / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", workdir / "clock.so", workdir / "clock.c"],
                   check=True, timeout=60)
    file = workdir / "offset"
    file.write_text("0")
    one = rig.mount({"LD_PRELOAD": str(workdir / "clock.so"), "TEST_CLOCK_FILE": str(file)},
                    sync="fsync", deadline=15)
    expected = {}
    for offset in (0, 7200, -7200, 86400 * 400, 0):
        fresh = workdir / "offset.new"
        fresh.write_text(str(offset))
        fresh.rename(file)
        name = f"f{offset}"
        expected[name] = name.encode()
        with open(one.point / name, "wb", buffering=0) as out:
            out.write(expected[name])
            os.fsync(out.fileno())
        assert (one.point / name).read_bytes() == expected[name]
    assert one.end() == 0
    assert stored(rig) == expected


def test_a_program_that_is_killed_in_a_system_call_leaves_nothing_stuck(rig):
    rig.proxy.add("stall", op="PUT|GET|LIST|HEAD", seconds=2, probability=0.5)
    one = rig.mount(sync="close", deadline=8, attr_timeout=0)
    script = f"cd {one.point}; for i in $(seq 50); do echo $i >f$$-$i; ls >/dev/null; cat f* >/dev/null; done"
    for _ in range(4):
        programs = [subprocess.Popen(["sh", "-c", script], stderr=subprocess.DEVNULL) for _ in range(4)]
        time.sleep(0.3)
        for program in programs:
            program.kill()
            program.wait(20)
    rig.proxy.clear()
    assert not stuck_processes()
    (one.point / "last").write_bytes(b"x")
    assert one.end() == 0
    assert stored(rig)["last"] == b"x"


def test_renames_over_open_files_and_themselves(rig):
    one = rig.mount(sync="fsync")
    libc = ctypes.CDLL(None, use_errno=True)
    (one.point / "a").write_bytes(b"a")
    (one.point / "d").mkdir()
    os.rename(one.point / "a", one.point / "a")
    assert fails(os.rename, one.point / "d", one.point / "d/e") == errno.EINVAL
    assert fails(os.rename, one.point / "a", one.point / "d") == errno.EISDIR
    assert fails(os.rename, one.point / "d", one.point / "a") == errno.ENOTDIR
    assert libc.renameat2(-100, bytes(one.point / "a"), -100, bytes(one.point / "a"), 1) == -1
    assert ctypes.get_errno() == errno.EEXIST
    held = os.open(one.point / "a", os.O_RDWR)
    for i in range(20):
        (one.point / "next").write_bytes(b"%d" % i)
        os.rename(one.point / "next", one.point / "a")
    os.write(held, b"A")
    assert os.pread(held, 5, 0) == b"A"
    os.close(held)
    assert one.end() == 0
    assert stored(rig)["a"] == b"19"


def test_a_note_that_a_killed_mounter_had_sent_may_come_late(rig):
    held = rig.held(sync="close")
    a, b = held.point / "a", held.point / "b"
    a.write_bytes(b"one")
    b.write_bytes(b"two!")
    ended = []
    note = r"\.skyvol/move/"
    rig.proxy.add("stall", op="PUT", key=note, first=2, count=1, seconds=1)  # of the second step
    rig.proxy.add("stall", op="PUT", key=note, first=2, count=1, seconds=3)  # of who takes over

    def exchange():
        libc = ctypes.CDLL(None, use_errno=True)
        ended.append((libc.renameat2(-100, bytes(a), -100, bytes(b), 2), ctypes.get_errno()))

    thread = threading.Thread(target=exchange)
    thread.start()
    wait_for(lambda: any(e[1] == "PUT" and e[3] == "stall" for e in list(rig.proxy.log)), "the note")
    held.kill_mounter()
    thread.join(60)
    assert ended == [(0, 0)]
    assert (a.read_bytes(), b.read_bytes()) == (b"two!", b"one")
    assert held.end() == 0
    assert stored(rig) == {"a": b"two!", "b": b"one"}
    left = rig.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{rig.prefix}/.skyvol/")
    assert not [o for o in left.get("Contents", []) if "/move/" in o["Key"] or "/exchange/" in o["Key"]]

# SPDX-License-Identifier: Apache-2.0
"""skyvol-mount is killed again and again while programs write and verify: they see no error.

test_holder.py does the same with a tiny file system and more kinds of death; this is the real one,
on a directory store, under fio --verify.
"""
import ctypes
import fcntl
import json
import os
import random
import subprocess
import sys
import threading
import time

import pytest

import holder_client
from conftest import BIN, mounts_below, program, tool, wait_until

HELPER = BIN.parent / "tests" / "unit" / "mounter" / "test_takeover"


class Mount:
    def __init__(self, workdir, processes, *options, **mount_options):
        self.target = workdir / "target"
        self.target.mkdir()
        store = workdir / "store"
        subprocess.run([HELPER, "--make-bucket", f"dir://{store}", "bucket"], check=True, timeout=20)
        self.config = json.dumps({"location": f"dir://{store}/bucket", "options": mount_options})
        self.process = processes.start([program("skyvol-holder"), "--socket", workdir / "h.sock",
                                        "--crash-limit", "1000", *options], "holder")
        self.log = workdir / "holder.log"
        wait_until(lambda: "holder is ready" in self.log.read_text(), what="holder",
                   process=self.process)
        self.client = holder_client.Holder(workdir / "h.sock")
        self.mount()

    def mount(self):
        self.client.mount("v1", self.target, self.config)

    def unmount(self):
        self.client.unmount("v1", drain_ms=30000)

    def kill(self):
        """Seconds from the kill to the next answered request."""
        pid = self.client.status("v1")["mounter"]
        if not pid:
            return None
        start = time.monotonic()
        holder_client.kill9(pid)
        os.statvfs(self.target)
        return time.monotonic() - start

    def kill_soon(self):
        """From another process: whoever asks the mount never is in between himself."""
        return subprocess.Popen(["sh", "-c", f"sleep 0.0{random.randint(0, 9)}; "
                                 f"kill -9 {self.client.status('v1')['mounter']}"],
                                stderr=subprocess.DEVNULL)


@pytest.fixture
def mount(workdir, processes):
    made = []

    def make(*options, **mount_options):
        made.append(Mount(workdir, processes, *options, **mount_options))
        return made[-1]

    yield make
    for point in mounts_below(workdir):
        subprocess.run(["umount", "-l", point], check=False, timeout=20)


def what_went_wrong(fio_log, holder_log):
    lines = [line for line in fio_log.read_text().splitlines()
             if "fio:" in line or "verify" in line or "err=" in line]
    routine = ("mounter ended", "mounter replaced", "swept")
    lines += [line for line in holder_log.read_text().splitlines()
              if not any(word in line for word in routine)]
    return "\n".join(lines[:20] + ["..."] + lines[-20:])


FIO = ["--rw=randrw", "--bsrange=4k-256k", "--size=24m", "--numjobs=4", "--verify=crc32c",
       "--verify_fatal=1", "--group_reporting"]


@pytest.mark.parametrize("sync", ["fsync", "close"])
@pytest.mark.parametrize("resend", ["true", "false"])
def test_fifty_kills_under_fio_verify(mount, workdir, resend, sync):
    one = mount(f"--resend={resend}", sync=sync)
    log = workdir / "fio.log"
    pauses, runs = [], 0
    while len(pauses) < 50:
        with open(log, "ab") as out:
            fio = subprocess.Popen([tool("fio"), "--name=v", f"--directory={one.target}", *FIO,
                                    "--verify_backlog=64", "--fsync=64", "--end_fsync=1"],
                                   stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                   cwd=workdir)  # fio leaves files where it is
        runs += 1
        while fio.poll() is None and len(pauses) < 50:
            time.sleep(random.uniform(0.05, 0.3))
            pause = one.kill()
            pauses += [pause] if pause is not None else []
        assert fio.wait(120) == 0, what_went_wrong(log, one.log)
    pauses.sort()
    print(f"resend={resend} sync={sync}: 50 kills in {runs} runs of fio; kill to next answer: "
          f"median {pauses[25] * 1000:.0f} ms, worst {pauses[-1] * 1000:.0f} ms")
    assert "conflict" not in one.log.read_text()
    sums = digests(one.target)
    assert len(sums) == 4
    one.unmount()
    one.mount()
    assert digests(one.target) == sums, "the store has what the mount showed"
    one.unmount()


def digests(directory):
    names = sorted(os.listdir(directory))
    out = subprocess.run(["sha256sum", *names], cwd=directory, check=True, timeout=60,
                         capture_output=True, text=True).stdout
    return dict(reversed(line.split()) for line in out.splitlines())


def test_names_are_changed_exactly_once(mount):
    """O_EXCL, rename, unlink, mkdir, rmdir, XATTR_CREATE, link: done twice, each would fail."""
    libc = ctypes.CDLL(None, use_errno=True)
    one = mount(sync="fsync")
    end = time.monotonic() + 10
    kill_at = time.monotonic() + 0.2
    rounds, killers = 0, []
    content, large = os.urandom(1500000), one.target / "large"
    large.write_bytes(content)
    while time.monotonic() < end or len(killers) <= 10:
        if rounds % 5 == 0:  # the store copies; after a death the kernel may copy pages
            subprocess.run(["cp", large, one.target / "copy"], check=True, timeout=60)
            assert (one.target / "copy").read_bytes() == content
            (one.target / "copy").unlink()
        a, b, d = (one.target / f"{n}{rounds % 5}" for n in "abd")
        d.mkdir()
        with open(a, "x", encoding="ascii") as f:
            f.write(str(rounds))
        os.rename(a, d / "x")
        os.rename(d / "x", b)
        assert b.read_text() == str(rounds)
        assert not a.exists()
        os.setxattr(b, "user.once", b"", os.XATTR_CREATE)
        os.removexattr(b, "user.once")
        unnamed = os.open(d, os.O_TMPFILE | os.O_WRONLY)
        assert libc.linkat(-100, b"/proc/self/fd/%d" % unnamed, -100, os.fsencode(a), 0x400) == 0
        os.close(unnamed)
        a.write_text("a", encoding="ascii")
        for _ in range(3):  # once more or less, and each has the other's content
            assert libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) == 0
        assert (a.read_text(), b.read_text()) == (str(rounds), "a")
        a.unlink()
        b.unlink()
        d.rmdir()
        rounds += 1
        if time.monotonic() > kill_at:
            killers.append(one.kill_soon())
            kill_at = time.monotonic() + 0.15
    print(f"{rounds} rounds, {len(killers)} kills")
    large.unlink()
    assert os.listdir(one.target) == []
    for killer in killers:  # a drain that a kill meets is refused, and would have to be asked again
        killer.wait(20)
    os.statvfs(one.target)
    one.unmount()


@pytest.mark.parametrize("moved", ["file", "directory"])
@pytest.mark.parametrize("resend", ["true", "false"])
def test_what_is_moved_while_it_is_written_is_whole_after_kills(mount, resend, moved):
    """Nothing is published to the old name after the move, though the mover died in it."""
    one = mount(f"--resend={resend}", sync="close")
    name = [0]

    def path(number):
        return one.target / (f"log{number}" if moved == "file" else f"d{number}/log")

    if moved == "directory":
        path(0).parent.mkdir()
    file = os.open(path(0), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    lines, ending, failed = [0], threading.Event(), []

    def write():
        try:
            while not ending.is_set():
                os.write(file, b"%09d\n" % lines[0])
                os.fsync(file)
                lines[0] += 1
        except OSError as error:
            failed.append(error)

    def move():
        try:
            while not ending.is_set():
                a, b = (path(n) if moved == "file" else path(n).parent
                        for n in (name[0], name[0] + 1))
                os.rename(a, b)
                name[0] += 1
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=f) for f in (write, move)]
    for thread in threads:
        thread.start()
    kills = 0
    while kills < 30 and not failed:
        time.sleep(random.uniform(0.02, 0.15))
        kills += one.kill() is not None
    ending.set()
    for thread in threads:
        thread.join(60)
    assert failed == []
    os.close(file)
    print(f"resend={resend} {moved}: {kills} kills, {lines[0]} lines, {name[0]} moves")
    assert "conflict" not in one.log.read_text()
    one.unmount()
    one.mount()
    assert path(name[0]).read_bytes().splitlines() == [b"%09d" % i for i in range(lines[0])]
    assert os.listdir(one.target) == [path(name[0]).relative_to(one.target).parts[0]]
    one.unmount()


def test_holes_are_kept_by_kills(mount, workdir):
    """Written, punched, zeroed, cut and grown at random; what is read is always what was done."""
    one = mount(sync="fsync")
    libc = ctypes.CDLL(None, use_errno=True)
    rng, model = random.Random(7), bytearray()
    file = os.open(one.target / "f", os.O_CREAT | os.O_RDWR)
    end, kill_at, rounds, killers = time.monotonic() + 4, 0, 0, []
    while time.monotonic() < end or rounds <= 50 or len(killers) <= 10:
        start, length = rng.randrange(1 << 20), rng.randrange(1, 1 << 18)
        what = rng.choice(["write", "write", "punch", "zero", "cut", "sync"])
        if what == "write":
            data = rng.randbytes(length)
            model.extend(bytes(max(0, start + length - len(model))))
            model[start:start + length] = data
            assert os.pwrite(file, data, start) == length
        elif what == "cut":
            model = model[:start] + bytes(max(0, start - len(model)))
            os.ftruncate(file, start)
        elif what == "sync":
            os.fsync(file)
        else:
            mode = 3 if what == "punch" else 16  # PUNCH_HOLE | KEEP_SIZE; ZERO_RANGE
            if what == "zero":
                model.extend(bytes(max(0, start + length - len(model))))
            stop = min(start + length, len(model))
            model[start:stop] = bytes(max(0, stop - start))
            assert libc.fallocate(file, mode, ctypes.c_long(start), ctypes.c_long(length)) == 0
        assert os.pread(file, 1 << 21, 0) == model, (rounds, what, start, length)
        rounds += 1
        if time.monotonic() > kill_at:
            killers.append(one.kill_soon())
            kill_at = time.monotonic() + 0.15
    print(f"{rounds} rounds, {len(killers)} kills")
    os.close(file)
    for killer in killers:
        killer.wait(20)
    os.statvfs(one.target)
    one.unmount()
    one.mount()
    assert (one.target / "f").read_bytes() == model
    one.unmount()


def test_locks_of_programs_on_one_node_outlive_the_mounter(mount):
    """flock and fcntl are the kernel's: a second program finds them taken before and after a kill."""
    one = mount()
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time\n"
         "a, b = (open(f'{sys.argv[1]}/{n}', 'w') for n in 'ab')\n"
         "fcntl.flock(a, fcntl.LOCK_EX)\nfcntl.lockf(b, fcntl.LOCK_EX, 10, 5)\n"
         "print('locked', flush=True)\nsys.stdin.read()", one.target],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"locked\n"

    def taken():
        found = []
        with open(one.target / "a", "r+b") as a, open(one.target / "b", "r+b") as b:
            for lock in (lambda: fcntl.flock(a, fcntl.LOCK_SH | fcntl.LOCK_NB),
                         lambda: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)):
                try:
                    lock()
                    found.append(False)
                except BlockingIOError:
                    found.append(True)
            fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)  # beside the locked range
        return found

    assert taken() == [True, True]
    for _ in range(3):
        assert one.kill() is not None
        assert taken() == [True, True]
    holder.stdin.close()
    assert holder.wait(10) == 0
    assert taken() == [False, False]
    one.unmount()

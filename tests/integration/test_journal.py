# SPDX-License-Identifier: Apache-2.0
"""What the store has not taken lies in a journal on the host's disk, and nothing of it is lost.

The store is a directory; with faults it takes nothing (SKYVOL_TEST_FAULTS), without them it does.
"""
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

import holder_client

from conftest import BIN, mounts_below, program, stop_whole, wait_until
from test_kill_mounter import Mount

HELPER = BIN.parent / "tests" / "unit" / "mounter" / "test_takeover"
NO_WRITES = "put:*:hang,upload_create:*:hang,upload_part:*:hang,upload_complete:*:hang"


def content(name, size):
    return random.Random(name).randbytes(size)


class Rig:
    """Mounts one bucket by hand, with a journal, again and again."""

    def __init__(self, workdir, processes):
        self.workdir, self.processes = workdir, processes
        self.point, self.other = workdir / "mnt", workdir / "other"
        self.journal = workdir / "journal"
        self.store = f"dir://{workdir}/store"
        self.point.mkdir()
        self.other.mkdir()
        subprocess.run([HELPER, "--make-bucket", self.store, "bucket"], check=True, timeout=20)
        self.count = 0

    def mount(self, options="", faults="", point=None):
        self.count += 1
        point = point or self.point
        env = dict(os.environ, SKYVOL_TEST_FAULTS=faults) if faults else None
        drain = "drain=0.3," if faults else ""  # a store that works has the time it needs
        process = self.processes.start(
            [program("skyvol-mount"), f"{self.store}/bucket", point, "-f", "-o",
             f"attr_timeout=0,{drain}{options}"], f"mount{self.count}", env=env)
        wait_until(lambda: os.path.ismount(point), what="mount", process=process)
        return process

    def with_journal(self, options="", faults=""):
        return self.mount(f"journal={self.journal},{options}", faults)

    def kill(self, process):
        """As if the node had died: the mounter, and its memory with it."""
        process.kill()
        process.wait(10)
        self.processes.running.remove(process)
        subprocess.run(["umount", "-l", self.point], check=True, timeout=20)

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        self.processes.running.remove(process)
        return status

    def in_store(self):
        """{name: bytes} as another mount sees it."""
        process = self.mount("ro", point=self.other)
        try:
            return {str(path.relative_to(self.other)): path.read_bytes()
                    for path in sorted(self.other.rglob("*")) if path.is_file()}
        finally:
            assert self.stop(process) == 0

    def files(self, kind="jrn"):
        return sorted(self.journal.glob(f"*/*.{kind}"))


@pytest.fixture
def rig(workdir, processes):
    yield Rig(workdir, processes)
    for point in mounts_below(workdir):
        subprocess.run(["umount", "-l", point], check=False, timeout=20)


WANTED = {"small": content("small", 3000), "a/deep/er": content("deep", 700_000), "empty": b"",
          "large": content("large", 21_000_000), "old": content("old", 400_000)}


def write_all(rig):
    """Files that no store has: new ones, one over an object, one with a hole."""
    for name, data in WANTED.items():
        if name == "old":
            with open(rig.point / name, "r+b", buffering=0) as file:
                os.pwrite(file.fileno(), data[100_000:120_000], 100_000)
                os.truncate(rig.point / name, 400_000)
        else:
            with open(rig.point / name, "wb", opener=lambda *a: os.open(*a, mode=0o640)) as file:
                file.write(data)


def prepare(rig):
    process = rig.mount()
    (rig.point / "a" / "deep").mkdir(parents=True)
    data = bytearray(WANTED["old"] + b"cut off")
    data[100_000:120_000] = bytes(20_000)
    (rig.point / "old").write_bytes(data)
    assert rig.stop(process) == 0


def test_what_the_store_has_not_taken_is_there_in_the_next_mount(rig):
    prepare(rig)
    process = rig.with_journal("sync=fsync", NO_WRITES)
    write_all(rig)
    assert rig.stop(process) == 0
    assert len(rig.files()) == 5
    assert "small" not in rig.in_store()
    process = rig.with_journal("sync=fsync")
    assert {name: (rig.point / name).read_bytes() for name in WANTED} == WANTED
    assert os.stat(rig.point / "small").st_mode & 0o777 == 0o640
    assert rig.stop(process) == 0
    assert rig.files() == [] and list(rig.journal.iterdir()) == []
    assert rig.in_store() == WANTED


def stubborn(rig, options):
    """A mount with a file that no store takes, which it waits for."""
    process = rig.mount(f"sync=fsync,drain=600,{options}", NO_WRITES)
    (rig.point / "f").write_bytes(b"kept" * 1000)
    return process


def give_up(rig, process):
    """The second signal; what was said until the end."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1
    assert mounts_below(rig.workdir) == [] and os.listdir(rig.point) == []
    rig.processes.running.remove(process)
    return process.log.read_text()


SYNCS = "import os, sys; f = os.open(sys.argv[1], os.O_RDWR); print(flush=True); os.fsync(f)"


def test_a_second_signal_leaves_the_rest_in_the_journal_and_no_dead_mount(rig):
    process = stubborn(rig, f"journal={rig.journal}")
    waits = subprocess.Popen([sys.executable, "-c", SYNCS, rig.point / "f"], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)
    try:
        assert waits.stdout.readline() == b"\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "the journal takes the rest" in process.log.read_text(), 20, "hint", process)
        said = give_up(rig, process)
        assert waits.wait(10) == 1  # fsync() has failed
    finally:
        waits.kill()
        waits.wait(10)
    (kept,) = rig.files()
    assert f"recover={kept.parent}" in said and "mount again with the same journal" in said
    process = rig.with_journal()
    assert (rig.point / "f").read_bytes() == b"kept" * 1000
    assert rig.stop(process) == 0
    assert rig.in_store() == {"f": b"kept" * 1000} and rig.files() == []


def test_a_second_signal_without_a_journal_loses_what_the_first_said(rig):
    process = stubborn(rig, "")
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: "waiting for the store" in process.log.read_text(), 20, "progress", process)
    assert "the rest is LOST then" in process.log.read_text()
    assert "there is no journal" in give_up(rig, process)
    assert rig.in_store() == {}


def test_a_volume_without_a_journal_waits_for_the_store_as_before(rig):
    process = rig.mount("sync=fsync", "put:1:EIO,put:2:EIO")
    (rig.point / "f").write_bytes(b"1")
    assert rig.stop(process) == 0
    assert rig.in_store() == {"f": b"1"}


def test_a_file_that_somebody_else_changed_meanwhile_becomes_a_conflict_copy(rig):
    prepare(rig)
    process = rig.with_journal("sync=fsync", NO_WRITES)
    write_all(rig)
    assert rig.stop(process) == 0
    process = rig.mount()
    (rig.point / "old").write_bytes(b"theirs")
    (rig.point / "small").write_bytes(b"theirs, new")
    assert rig.stop(process) == 0
    process = rig.with_journal()
    wait_until(lambda: not rig.files(), what="publication")
    assert rig.stop(process) == 0
    found = rig.in_store()
    assert found["old"] == b"theirs" and found["small"] == b"theirs, new"
    assert found["large"] == WANTED["large"]
    copies = {name.split(".conflict-")[0]: data for name, data in found.items()
              if ".conflict-" in name}
    assert copies["small"] == WANTED["small"]
    assert copies["old"][100_000:120_000] == WANTED["old"][100_000:120_000]
    assert set(copies) == {"small", "old"}


def test_a_damaged_file_is_set_aside_and_nothing_of_it_uploaded(rig):
    prepare(rig)
    process = rig.with_journal("sync=fsync", NO_WRITES)
    write_all(rig)
    assert rig.stop(process) == 0
    largest = max(rig.files(), key=lambda path: path.stat().st_size)
    with open(largest, "r+b") as file:
        file.seek(9_000_000)
        byte = file.read(1)
        file.seek(9_000_000)
        file.write(bytes([byte[0] ^ 4]))
    process = rig.with_journal()
    assert "large" not in os.listdir(rig.point)
    log = process.log.read_text()
    assert rig.stop(process) == 0
    assert "damaged" in log and largest.name in log and "'large'" in log
    assert [path.name for path in rig.files("bad")] == [largest.name.replace("jrn", "bad")]
    assert rig.in_store() == {name: data for name, data in WANTED.items() if name != "large"}


def test_async_needs_a_directory(rig):
    done = subprocess.run([program("skyvol-mount"), f"{rig.store}/bucket", rig.point, "-f", "-o",
                           "sync=async"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2 and "cache=DIR or journal=DIR" in done.stderr
    rig.journal.mkdir()
    os.chmod(rig.journal, 0o777)
    done = subprocess.run([program("skyvol-mount"), f"{rig.store}/bucket", rig.point, "-f", "-o",
                           f"sync=async,journal={rig.journal}"], capture_output=True, text=True,
                          check=False, timeout=20)
    assert done.returncode == 1 and "nobody else may write there" in done.stderr


def test_async_close_and_fsync_return_while_the_store_answers_nobody_and_nothing_is_lost(rig):
    prepare(rig)
    process = rig.with_journal("sync=async", NO_WRITES)
    start = time.monotonic()
    write_all(rig)
    file = os.open(rig.point / "open", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(file, b"synced")
    os.fsync(file)
    os.write(file, b" and not")
    assert time.monotonic() - start < 20
    rig.kill(process)
    with pytest.raises(OSError):
        os.close(file)
    process = rig.with_journal("sync=async")
    for name, data in WANTED.items():
        assert (rig.point / name).read_bytes() == data
    assert (rig.point / "open").read_bytes().startswith(b"synced")
    assert rig.stop(process) == 0
    found = rig.in_store()
    assert {name: found[name] for name in WANTED} == WANTED
    assert not [name for name in found if "conflict" in name]
    assert rig.files() == []


def counts(rig, name, acknowledged, stop):
    """A counter in a file, replaced and made durable; what was acknowledged is remembered."""
    number = 0
    try:
        while not stop.is_set():
            number += 1
            with open(rig.point / name, "r+b" if number > 1 else "wb", buffering=0) as file:
                file.write(f"{number:08d}".encode() * random.choice((1, 100, 30_000)))
                file.truncate()
                if random.random() < 0.5:
                    os.fsync(file.fileno())
            acknowledged[name] = number
    except OSError as error:
        assert error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), error


@pytest.mark.parametrize("turn", range(4))
def test_async_killed_at_any_moment_loses_nothing_acknowledged(rig, turn):
    process = rig.with_journal("sync=async", "put:p=0.2:delay=300")
    acknowledged, stop = {}, threading.Event()
    writers = [threading.Thread(target=counts, args=(rig, f"f{i}", acknowledged, stop))
               for i in range(4)]
    for writer in writers:
        writer.start()
    time.sleep(random.uniform(0.2, 1.5))
    rig.kill(process)
    stop.set()
    for writer in writers:
        writer.join(30)
    process = rig.with_journal("sync=async")
    for name, number in acknowledged.items():
        data = (rig.point / name).read_bytes()
        assert int(data[:8] or 0) >= number, f"{name}: {data[:8]} after {number} (turn {turn})"
    assert rig.stop(process) == 0
    assert not [name for name in rig.in_store() if "conflict" in name]
    assert rig.files() == []


def test_async_on_a_full_disk_waits_for_the_store_and_corrupts_nothing(rig):
    rig.journal.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k,mode=700", "none", rig.journal],
                   check=True, timeout=20)
    process = rig.with_journal("sync=async,deadline=20")
    data = {f"f{i}": content(f"f{i}", 400_000) for i in range(10)}
    for name, bytes_ in data.items():
        (rig.point / name).write_bytes(bytes_)
    assert "wait for the store" in process.log.read_text() or not rig.files()
    big = content("big", 3_000_000)
    with open(rig.point / "big", "wb") as file:
        file.write(big)
        file.flush()
        os.fsync(file.fileno())
        assert rig.in_store()["big"] == big, "fsync() has waited for the store"
    assert "wait for the store" in process.log.read_text()
    rig.kill(process)
    process = rig.with_journal("sync=async")
    for name, bytes_ in data.items():
        assert (rig.point / name).read_bytes() == bytes_
    assert rig.stop(process) == 0
    assert rig.in_store() == {**data, "big": big}
    subprocess.run(["umount", rig.journal], check=True, timeout=20)


def test_async_what_is_removed_or_moved_does_not_come_back(rig):
    process = rig.with_journal("sync=async")
    for i in range(20):
        (rig.point / f"f{i}").write_bytes(content(f"f{i}", 5000))
    for i in range(10):
        (rig.point / f"f{i}").unlink()
    (rig.point / "f15").rename(rig.point / "moved")
    directory = os.open(rig.point, os.O_RDONLY)
    os.fsync(directory)  # before that a removal may be undone, as on any file system
    os.close(directory)
    wait_until(lambda: not rig.files(), what="an empty journal")
    rig.kill(process)
    process = rig.with_journal()
    assert sorted(os.listdir(rig.point)) == sorted(
        [f"f{i}" for i in range(10, 20) if i != 15] + ["moved"])
    assert rig.stop(process) == 0


NO_DELETES = "delete:*:hang,delete_batch:*:hang"


@pytest.mark.parametrize("how", ["mount", "recover"])
def test_what_was_removed_and_not_deleted_is_deleted_later_unless_it_is_another(rig, how):
    process = rig.mount()
    for name in "abcde":
        (rig.point / name).write_bytes(name.encode())
    assert rig.stop(process) == 0
    process = rig.with_journal("sync=fsync", NO_DELETES)
    for name in "abc":
        (rig.point / name).unlink()
    assert sorted(os.listdir(rig.point)) == ["d", "e"]
    assert rig.stop(process) == 0
    assert sorted(rig.in_store()) == list("abcde") and len(rig.files()) == 1
    process = rig.mount()
    (rig.point / "b").write_bytes(b"theirs")
    assert rig.stop(process) == 0
    if how == "recover":
        done = recover(rig, "--all")
        assert done.returncode == 0, done
    else:
        process = rig.with_journal()
        wait_until(lambda: not rig.files(), what="an empty journal")
        assert rig.stop(process) == 0
    assert rig.in_store() == {"b": b"theirs", "d": b"d", "e": b"e"}
    assert not rig.files()


# ---- under a holder ----


class Held(Mount):
    def put(self, processes, name):
        """An object, by another mount."""
        other = self.log.parent / "other"
        other.mkdir()
        process = processes.start([program("skyvol-mount"), json.loads(self.config)["location"],
                                   other, "-f"], "other")
        wait_until(lambda: os.path.ismount(other), what="mount", process=process)
        (other / name).write_bytes(b"1")
        processes.stop(process)

    def again(self, processes, **options):
        """Another holder, and no faults."""
        processes.stop(self.process)
        self.log.unlink()
        self.process = processes.start(
            [program("skyvol-holder"), "--socket", self.log.parent / "h.sock", "--journal-dir",
             self.log.parent / "journal"], "holder")
        wait_until(lambda: "holder is ready" in self.log.read_text(), what="holder",
                   process=self.process)
        self.config = json.dumps({**json.loads(self.config), "options": options})
        self.mount()


@pytest.fixture
def held(workdir, processes, monkeypatch):
    """A function that mounts by a holder of its own; faults are of all its mounters."""
    def make(faults, **options):
        monkeypatch.setenv("SKYVOL_TEST_FAULTS", faults)
        one = Held(workdir, processes, "--journal-dir", workdir / "journal", "--crash-limit", "5",
                   **options)
        monkeypatch.delenv("SKYVOL_TEST_FAULTS")
        return one

    yield make
    for point in mounts_below(workdir):
        subprocess.run(["umount", "-l", point], check=False, timeout=20)


def unmount(one, drain_ms, keep):
    one.client.call({"op": "unmount", "key": "v1", "drain_ms": drain_ms, "force": False,
                     "keep": keep})


def test_an_unmount_that_may_keep_does_not_wait_for_the_store(held, workdir, processes):
    one = held("put:*:hang", sync="fsync")
    (one.target / "f").write_bytes(WANTED["old"])
    with pytest.raises(holder_client.Refused) as refused:
        unmount(one, 300, False)
    assert refused.value.errno == errno.ETIMEDOUT
    assert os.path.ismount(one.target) and not list(workdir.glob("journal/*/*.jrn"))
    unmount(one, 300, True)
    assert not os.path.ismount(one.target)
    assert len(list(workdir.glob("journal/*/*.jrn"))) == 1
    assert "skyvolctl recover" in one.log.read_text()
    one.again(processes, sync="fsync")
    assert (one.target / "f").read_bytes() == WANTED["old"]
    unmount(one, 10000, True)
    assert not list(workdir.glob("journal/*/*"))
    one.mount()
    assert (one.target / "f").read_bytes() == WANTED["old"]
    one.unmount()


def test_planned_upgrades_and_crashes_under_sync_async_show_no_error(held, workdir):
    """The mounter is replaced, it is killed, and the holder's supervisor is: writers go on."""
    one = held("put:p=0.2:delay=100", sync="async")
    acknowledged, stop, pauses = {}, threading.Event(), []
    rig = type("Rig", (), {"point": one.target})
    writers = [threading.Thread(target=counts, args=(rig, f"f{i}", acknowledged, stop))
               for i in range(4)]
    for writer in writers:
        writer.start()
    for turn in range(3):
        time.sleep(0.3)
        start = time.monotonic()
        one.client.replace("v1")
        pauses.append(time.monotonic() - start)
        time.sleep(0.3)
        one.kill()
        wait_until(lambda: one.client.status("v1")["state"] == "running", what="a mounter")
    holder_client.kill9(holder_client.supervisor_of(one.process.pid))
    time.sleep(0.5)
    assert all(writer.is_alive() for writer in writers), "none has seen an error"
    stop.set()
    for writer in writers:
        writer.join(60)
    wait_until(one.client.answers, what="a supervisor")
    print(f"replaced in {[round(1000 * p) for p in pauses]} ms")
    wait_until(lambda: not list(workdir.glob("journal/*/*.jrn")), what="publication")
    for name, number in acknowledged.items():
        assert int((one.target / name).read_bytes()[:8]) == number
    assert "conflict" not in one.log.read_text()
    unmount(one, 10000, True)


def test_a_journal_that_cannot_take_it_keeps_the_mount(held, workdir):
    (workdir / "journal").mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k,mode=700", "none",
                    workdir / "journal"], check=True, timeout=20)
    one = held("put:*:hang", sync="fsync")
    (one.target / "f").write_bytes(WANTED["old"])
    with pytest.raises(holder_client.Refused) as refused:
        unmount(one, 100, True)
    assert refused.value.errno == errno.ENOSPC
    assert "free some space" in str(refused.value)
    assert (one.target / "f").read_bytes() == WANTED["old"]


def test_a_crash_loop_leaves_dirty_bytes_in_the_journal(held, workdir, processes):
    """A file is moved: the mounter dies of it, and so does each of its successors."""
    one = held("copy:*:crash,put:*:hang", sync="fsync", attr_timeout="0")
    one.put(processes, "poison")
    for name in ("a", "b"):
        (one.target / name).write_bytes(WANTED["old"])
    with pytest.raises(OSError):
        os.rename(one.target / "poison", one.target / "moved")
    wait_until(lambda: one.client.status("v1")["state"] == "failed", what="the end of the mount")
    wait_until(lambda: "is in the journal" in one.log.read_text(), what="the journal")
    assert len(list(workdir.glob("journal/*/*.jrn"))) == 2

    def is_unmounted():
        try:
            one.client.unmount("v1", force=True)
        except holder_client.Refused as e:  # the holder is still at work on its end
            assert "ask again" in str(e)
            return False
        return True

    wait_until(is_unmounted, what="the unmount")
    one.again(processes, sync="fsync")
    assert sorted(os.listdir(one.target)) == ["a", "b", "poison"]
    assert (one.target / "a").read_bytes() == WANTED["old"]
    one.unmount()
    assert not list(workdir.glob("journal/*/*"))


def test_a_crash_loop_keeps_the_bytes_until_the_journal_has_them(held, workdir, processes):
    (workdir / "journal").mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k,mode=700", "none",
                    workdir / "journal"], check=True, timeout=20)
    one = held("copy:*:crash,put:*:hang", sync="fsync", attr_timeout="0")
    one.put(processes, "poison")
    (one.target / "a").write_bytes(WANTED["old"])
    with pytest.raises(OSError):
        os.rename(one.target / "poison", one.target / "moved")
    wait_until(lambda: "stays in memory" in one.log.read_text(), what="the failure")
    with pytest.raises(holder_client.Refused) as refused:
        one.client.unmount("v1", force=True)
    assert "free some space" in str(refused.value)
    subprocess.run(["mount", "-o", "remount,size=10m", workdir / "journal"], check=True, timeout=20)
    one.client.unmount("v1", force=True)
    assert len(list(workdir.glob("journal/*/*.jrn"))) == 1
    one.again(processes, sync="fsync")
    assert (one.target / "a").read_bytes() == WANTED["old"]
    one.unmount()
    subprocess.run(["umount", workdir / "journal"], check=True, timeout=20)


# ---- skyvolctl recover ----


def recover(rig, *options, **more):
    return subprocess.run([program("skyvolctl"), "recover", "--journal", rig.journal, *options],
                          capture_output=True, text=True, check=False, timeout=60, **more)


def test_recover_lists_and_uploads_without_a_mount(rig):
    prepare(rig)
    process = rig.with_journal("sync=fsync", NO_WRITES)
    write_all(rig)
    assert "yes" in recover(rig).stdout  # in use
    assert rig.stop(process) == 0
    listed = json.loads(recover(rig, "--json").stdout)
    assert [(one["location"], one["files"], one["damaged"], one["inUse"]) for one in listed] == \
        [(f"{rig.store}/bucket", 5, 0, False)]
    assert listed[0]["bytes"] > 21_000_000
    assert "5" in recover(rig, "--all", "--dry-run").stdout and len(rig.files()) == 5
    assert recover(rig, "--volume", "other").returncode == 1
    assert recover(rig, "--volume", "other", "--all").returncode == 2
    env = dict(os.environ, SKYVOL_TEST_FAULTS=NO_WRITES)
    failed = recover(rig, "--all", "--timeout", "1s", env=env)
    assert failed.returncode == 1 and "still not in the store" in failed.stderr
    assert len(rig.files()) == 5
    done = recover(rig, "--volume", listed[0]["volume"])
    assert done.returncode == 0 and "5 uploaded, 0 conflict" in done.stdout, done
    assert rig.files() == [] and json.loads(recover(rig, "--json").stdout) == []
    assert rig.in_store() == WANTED


def test_recover_that_never_began_says_that_all_is_left(rig):
    """Who reads "0 left" deletes the journal."""
    process = rig.with_journal("sync=fsync", NO_WRITES)
    (rig.point / "f").write_bytes(b"1")
    assert rig.stop(process) == 0
    assert len(rig.files()) == 1
    for fault, timeout, why in (("bucket_probe:*:hang", "1s", "was not ready within the 1 s"),
                                ("bucket_probe:*:EACCES", "10s", "bucket bucket: ")):
        env = dict(os.environ, SKYVOL_TEST_FAULTS=fault)
        done = recover(rig, "--all", "--timeout", timeout, env=env)
        assert (done.returncode, why in done.stderr) == (1, True), done
        assert ": 0 uploaded, 0 conflict copies, 0 damaged, 1 left" in done.stdout, done
        done = recover(rig, "--all", "--json", "--timeout", timeout, env=env)
        told = json.loads(done.stdout)[0]
        assert (done.returncode, told["files"], told["uploaded"], told["left"]) == (1, 1, 0, 1)
    for broken in (["--program", "/bin/false"], ["--program", "/nonexistent"]):
        done = recover(rig, "--all", *broken)
        assert done.returncode == 1 and "0 damaged, 1 left" in done.stdout, done
    assert len(rig.files()) == 1
    assert "1 uploaded" in recover(rig, "--all").stdout and not rig.files()


def test_recover_says_that_a_directory_is_none_of_journals(rig):
    for words in ([], ["--all"], ["--json"]):
        done = recover(rig, *words)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert f"there is no journal directory {rig.journal}" in done.stderr
    one = rig.journal / "one"
    one.mkdir(parents=True)
    (one / "volume.json").write_text("{}")
    rig.journal = one
    done = recover(rig, "--all")
    assert done.returncode == 1 and "the directory above it" in done.stderr, done


def test_recover_keeps_both_where_somebody_changed_an_object_and_tells(rig):
    prepare(rig)
    process = rig.with_journal("sync=fsync", NO_WRITES)
    write_all(rig)
    assert rig.stop(process) == 0
    process = rig.mount()
    (rig.point / "old").write_bytes(b"theirs")
    assert rig.stop(process) == 0
    bad = rig.files()[0]
    bad.write_bytes(bad.read_bytes()[:-1])
    done = recover(rig, "--all", "--json")
    assert done.returncode == 3, done
    told = json.loads(done.stdout)[0]
    assert (told["uploaded"], told["conflicts"], told["left"]) == (4, 1, 0)
    assert rig.in_store()["old"] == b"theirs"
    assert [path.suffix for path in rig.files("*") if path.suffix == ".bad"] == [".bad"]


def test_recover_needs_the_keys_of_the_store(rig, minio):
    client = minio.client()
    client.create_bucket(Bucket="recovered")
    server = next(p for p in rig.processes.running if "minio" in str(p.args[0]))
    process = rig.processes.start(
        [program("skyvol-mount"), "s3://recovered", rig.point, "-f", "-o", f"endpoint={minio.url},"
         f"drain=0.3,sync=fsync,journal={rig.journal}"], "s3",
        env=dict(os.environ, AWS_ACCESS_KEY_ID=minio.access_key,
                 AWS_SECRET_ACCESS_KEY=minio.secret_key))
    wait_until(lambda: os.path.ismount(rig.point), what="mount", process=process)
    file = os.open(rig.point / "f", os.O_CREAT | os.O_WRONLY)
    stop_whole(server)
    try:
        os.write(file, b"1")
        os.close(file)
        assert rig.stop(process) == 0
    finally:
        server.send_signal(signal.SIGCONT)
    without = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    assert len(rig.files()) == 1
    done = recover(rig, "--all", env=dict(without, HOME="/nonexistent"))
    assert done.returncode == 1 and "0 damaged, 1 left" in done.stdout, done
    assert "the keys must allow it" in done.stderr and "option ro" not in done.stderr
    assert len(rig.files()) == 1
    assert minio.secret_key not in next(rig.journal.glob("*/volume.json")).read_text()
    keys = rig.workdir / "keys.json"
    keys.write_text(json.dumps({"accessKey": minio.access_key, "secretKey": minio.secret_key}))
    keys.chmod(0o600)
    assert recover(rig, "--all", "--credentials-file", keys).returncode == 0
    assert client.get_object(Bucket="recovered", Key="f")["Body"].read() == b"1"
    assert not rig.files()

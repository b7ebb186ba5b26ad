# SPDX-License-Identifier: Apache-2.0
"""What mounters of object storage lost, tore or forgot, hazard by hazard: here it does not happen.

Numbers are those of docs/conformance.md. Each has a test here, or one elsewhere that ELSEWHERE names.
"""
import concurrent.futures
import contextlib
import ctypes
import errno
import mmap
import os
import pathlib
import re
import resource
import subprocess
import threading
import time

import pytest

from rig import BUCKET, KEYS, ROOT, fails, stored, stuck_processes, wait_for

HERE = pathlib.Path(__file__).resolve().parent
HAZARDS = range(1, 36)
MIB = 1 << 20
ELSEWHERE = {
    1: ["test_conflict.py::test_what_was_written_here_is_kept_beside"],
    7: ["test_mount_cache.py::test_a_full_disk_fails_no_read",
        "test_journal.py::test_async_on_a_full_disk_waits_for_the_store_and_corrupts_nothing"],
    11: ["test_journal.py::test_async_killed_at_any_moment_loses_nothing_acknowledged",
         "test_journal.py::test_a_damaged_file_is_set_aside_and_nothing_of_it_uploaded"],
    14: ["test_posix.py::test_every_key_is_reachable_under_some_name",
         "test_breaker.py::test_names_of_every_byte_are_kept"],
    15: ["test_posix.py::test_every_key_is_reachable_under_some_name"],
    18: ["test_posix.py::test_what_a_lost_node_was_moving_is_moved_by_a_later_mount"],
    22: ["tests/unit/mounter/test_parts.c::a_schedule_grows_to_5_tib_and_its_parts_follow_each_other"],
    23: ["tests/unit/mounter/test_parts.c::stores_of_equal_parts_get_equal_parts"],
    32: ["test_kill_mounter.py::test_fifty_kills_under_fio_verify",
         "test_csi_incidents.py::test_a_dead_mount_is_made_anew_by_stage_and_publish"],
    33: ["test_holder.py::test_out_of_memory_a_mounter_goes_before_the_holder_and_after_workloads",
         "test_holder.py::test_each_mount_has_a_cgroup_that_its_mounters_share"],
}
# What waits for a feature that is not there yet; nothing of it is claimed.
MISSING = {}


@pytest.fixture(name="rig")
def own_rig(rig, request):
    with rig.alone(request.node.name):
        yield rig


def put(rig, name, body, **more):
    return rig.client().put_object(Bucket=BUCKET, Key=f"{rig.prefix}/{name}", Body=body, **more)


def write(path, data, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC):
    """Write and close; an error of close is seen."""
    file = os.open(path, flags, 0o644)
    try:
        at = 0
        while at < len(data):
            at += os.write(file, data[at:at + MIB])
    finally:
        os.close(file)


def pattern(size, seed=0):
    """Bytes of which no two blocks are the same."""
    block = b"".join((i * 2654435761 + seed & 0xFFFFFFFF).to_bytes(4, "little")
                     for i in range(size // 4 + 1))
    return block[:size]


def named(fault):
    return "-".join(str(v) for v in fault.values() if v != "" and "<" not in str(v))


def sliced(faults, count):
    """The first ones in every run, the others in full ones only."""
    return [pytest.param(f, id=named(f), marks=[] if i < count else [pytest.mark.full])
            for i, f in enumerate(faults)]


# ---- the list ----

def test_every_hazard_has_a_test_or_is_said_to_miss_one():
    here = {int(n) for n in re.findall(r"^def test_hazard_(\d\d)_", (HERE / "test_hazards.py")
                                       .read_text(), re.M)}
    assert here | set(ELSEWHERE) | set(MISSING) == set(HAZARDS)
    assert not set(MISSING) & (here | set(ELSEWHERE)), "it has one: take it off the list"
    for place in (p for places in ELSEWHERE.values() for p in places):
        file, _, function = place.partition("::")
        text = (ROOT / file if file.endswith(".c") else HERE / file).read_text()
        assert re.search(rf"^(def|static void) {function}\(", text, re.M), place


# ---- lost and torn data ----

@pytest.mark.parametrize("size", [3000, 9 * MIB], ids=["put", "complete"])
def test_hazard_02_of_two_writers_the_later_is_told(rig, size):
    one, two = rig.mount(), rig.mount()
    a, b = (os.open(m.point / "new", os.O_CREAT | os.O_WRONLY, 0o644) for m in (one, two))
    for file, letter in ((a, b"a"), (b, b"b")):
        at = 0
        while at < size:
            at += os.write(file, letter * min(MIB, size - at))
    assert fails(os.close, a) == 0
    assert fails(os.close, b) == errno.ESTALE
    found = stored(rig)
    assert found.pop("new") == b"a" * size
    (copy, kept), = found.items()
    assert copy.startswith("new.conflict-") and kept == b"b" * size


def test_hazard_03_a_read_never_mixes_two_versions(rig):
    old, new = b"o" * 24 * MIB, b"n" * 24 * MIB
    put(rig, "f", old)
    one = rig.mount()
    with open(one.point / "f", "rb", buffering=0) as file:
        seen = file.read(MIB)
        put(rig, "f", new)
        with contextlib.suppress(OSError):
            while piece := file.read(MIB):
                seen += piece
    assert set(seen) == {ord("o")}
    time.sleep(1.1)  # names are believed for a second
    assert (one.point / "f").read_bytes() == new


def test_hazard_04_close_and_fsync_report(rig):
    one = rig.mount()
    rig.proxy.add("status", op="PUT", code=403, s3="AccessDenied")
    assert fails(write, one.point / "closed", b"x") == errno.EACCES
    files = [os.open(one.point / "synced", os.O_CREAT | os.O_WRONLY, 0o644) for _ in range(2)]
    os.write(files[0], b"y")
    assert [fails(os.fsync, f) for f in files] == [errno.EACCES] * 2
    rig.proxy.clear()
    assert [fails(os.fsync, f) for f in files] == [0, 0], "it was kept, and is tried again"
    for file in files:
        assert fails(os.close, file) == 0
    assert one.end() == 0
    assert stored(rig) == {"closed": b"x", "synced": b"y"}


def test_hazard_05_names_change_while_the_upload_runs(rig):
    one = rig.mount(sync="fsync")
    rig.proxy.add("stall", op="PUT", seconds=0.4)
    for name in ("moved", "reopened", "removed", "replaced"):
        write(one.point / name, name.encode())
    os.rename(one.point / "moved", one.point / "there")
    write(one.point / "reopened", b" twice", os.O_WRONLY | os.O_APPEND)
    os.unlink(one.point / "removed")
    write(one.point / "other", b"other")
    os.rename(one.point / "other", one.point / "replaced")
    assert (one.point / "reopened").read_bytes() == b"reopened twice"
    assert one.end() == 0
    assert stored(rig) == {"there": b"moved", "reopened": b"reopened twice", "replaced": b"other"}


def test_hazard_06_after_a_write_error_nothing_leaks(rig):
    one = rig.mount()
    rig.proxy.add("status", op="PUT", code=403, s3="AccessDenied")
    file = os.open(one.point / "mapped", os.O_CREAT | os.O_RDWR, 0o644)
    os.ftruncate(file, 8192)
    with mmap.mmap(file, 8192) as view:
        view[:6] = b"mapped"
        assert fails(os.fsync, file) == errno.EACCES
        view[8186:] = b"second"
        assert fails(os.fsync, file) == errno.EACCES
    os.write(file, b"M")
    assert fails(os.close, file) == errno.EACCES
    rig.proxy.clear()
    assert one.end() == 0
    assert stored(rig) == {"mapped": b"Mapped" + bytes(8180) + b"second"}


def test_hazard_08_what_may_not_be_written_is_not_emptied_first(rig):
    put(rig, "precious", b"precious" * 1000)
    one = rig.mount(deadline=2)
    rig.proxy.add("status", op="PUT|COPY|CREATE_UPLOAD|DELETE", code=403, s3="AccessDenied")
    assert fails(write, one.point / "precious", b"x") == errno.EACCES
    with contextlib.suppress(OSError):
        os.truncate(one.point / "precious", 0)
    assert stored(rig) == {"precious": b"precious" * 1000}


@pytest.mark.parametrize("fault", sliced([
    {"what": "short"}, {"what": "reset", "when": "during"}, {"what": "short", "bytes": 0},
    {"what": "status", "code": 500, "body": "<html>oops</html>"},
    {"what": "status", "code": 503, "s3": "SlowDown"},
    {"what": "status", "code": 502, "body": ""}, {"what": "lost", "seconds": 0.3},
    {"what": "slow", "rate": 4_000_000}], 3))
def test_hazard_09_no_error_page_and_no_half_body_becomes_data(rig, fault):
    data = {"small": pattern(5000), "large": pattern(3 * MIB, 1)}
    for name, body in data.items():
        put(rig, name, body)
    one = rig.mount()
    rig.proxy.add(op="GET", count=2, **fault)
    for name, body in data.items():
        assert (one.point / name).read_bytes() == body
    assert rig.proxy.injected[fault["what"]] == 2


@pytest.mark.parametrize("body", ["<html>login</html>", "", "<Error><Code>X</Code></Error>"],
                         ids=["html", "empty", "error"])
def test_hazard_09_an_answer_of_another_length_is_an_error(rig, body):
    put(rig, "f", pattern(5000))
    one = rig.mount(deadline=3)
    rule = rig.proxy.add("replace", op="GET", body=body)
    assert fails((one.point / "f").read_bytes) in (errno.EIO, errno.ESTALE)
    assert rule.done > 0
    rig.proxy.clear()
    assert (one.point / "f").read_bytes() == pattern(5000)


# Faults after which a write has happened, or has not and is made again.
OUTCOMES = [{"what": "error200"}, {"what": "reset", "when": "after"}, {"what": "undone200"},
            {"what": "reset", "when": "before"}, {"what": "reset", "when": "during"},
            {"what": "status", "code": 500, "s3": "InternalError"}]


@pytest.mark.parametrize("fault", sliced(OUTCOMES, 2))
def test_hazard_10_a_completion_is_believed_only_when_it_is_one(rig, fault):
    one = rig.mount()
    rig.proxy.add(op="COMPLETE", count=1, **fault)
    data = pattern(9 * MIB)
    write(one.point / "f", data)
    assert rig.proxy.injected[fault["what"]] == 1
    assert stored(rig) == {"f": data}
    uploads = rig.client().list_multipart_uploads(Bucket=BUCKET, Prefix=rig.prefix + "/")
    assert "Uploads" not in uploads


def test_hazard_10_parts_sent_ahead_are_not_lost_with_the_answer_to_their_completion(rig):
    one = rig.mount()
    rig.proxy.reset_counts()
    rig.proxy.add("reset", when="after", op="COMPLETE", count=1)
    data = pattern(32 * MIB)
    write(one.point / "f", data)
    assert rig.proxy.injected["reset"] == 1 and rig.proxy.seen["UPLOAD_PART"] > 1
    assert rig.proxy.seen["COMPLETE"] == 2  # none that the mounter knows nothing of
    assert stored(rig) == {"f": data}


@pytest.mark.parametrize("fault", sliced(OUTCOMES, 2))
def test_hazard_10_copies_likewise(rig, fault):
    put(rig, "small", b"small")
    put(rig, "large", pattern(12 * MIB))
    one = rig.mount()
    small = rig.proxy.add(op="COPY", count=1, **fault)
    large = rig.proxy.add(op="UPLOAD_PART_COPY", count=1, **fault)
    os.rename(one.point / "small", one.point / "moved")
    os.chmod(one.point / "moved", 0o600)
    with open(one.point / "large", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"CHANGED", 11 * MIB)
        os.fsync(file.fileno())
    assert small.done + large.done >= 1
    assert one.end() == 0
    found = stored(rig)
    expected = bytearray(pattern(12 * MIB))
    expected[11 * MIB:11 * MIB + 7] = b"CHANGED"
    assert found == {"moved": b"small", "large": bytes(expected)}


def test_hazard_11_cannot_tell_is_not_gone(rig):
    put(rig, "d/f", b"here")
    one = rig.mount(deadline=2, attr_timeout=0)
    assert (one.point / "d/f").read_bytes() == b"here"
    rig.proxy.add("status", op="*", code=503, s3="SlowDown")
    for look in (os.stat, os.listdir):
        for name in ("d", "d/f", "d/unknown"):
            if look is os.stat or name == "d":
                assert fails(look, one.point / name) in (0, errno.EIO, errno.ETIMEDOUT), name
    assert fails(os.unlink, one.point / "d/f") != errno.ENOENT
    rig.proxy.clear()
    rig.proxy.add("status", op="HEAD|GET", code=503, s3="SlowDown")
    assert fails((one.point / "d/f").read_bytes) in (errno.EIO, errno.ETIMEDOUT)
    rig.proxy.clear()
    assert one.end() == 0
    assert set(stored(rig)) <= {"d/f", "d/"}


@pytest.mark.parametrize("resend", ["true", "false"])
def test_hazard_11_what_close_took_survives_a_kill(rig, resend):
    held = rig.held(f"--resend={resend}", sync="fsync")
    rig.proxy.add("stall", op="PUT", seconds=0.2)
    for i in range(20):
        write(held.point / f"f{i}", f"content {i}".encode())
        if i % 5 == 4:
            held.kill_mounter()
    held.unmount()
    assert stored(rig) == {f"f{i}": f"content {i}".encode() for i in range(20)}


@pytest.mark.full
def test_hazard_11_what_was_removed_stays_so_through_kills(rig):
    """An upload whose answer was lost, then unlink, then a kill before the object was deleted."""
    put(rig, "f", b"old")
    held = rig.held(sync="fsync")
    lost = rig.proxy.add("lost", op="PUT", key="/f$", seconds=30, count=1)
    write(held.point / "f", b"new content")
    end = time.monotonic() + 20
    while lost.done == 0 and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    rig.proxy.add("stall", op="DELETE|DELETE_BATCH", seconds=3)
    held.kill_mounter()
    os.unlink(held.point / "f")
    held.kill_mounter()
    rig.proxy.clear()
    assert os.listdir(held.point) == []
    held.unmount()
    assert stored(rig) == {}


@pytest.mark.parametrize("fault, seconds, published",
                         [("lost", 30, False), ("stall", 1.2, False),
                          pytest.param("stall", 5.3, True, marks=pytest.mark.full)])
def test_hazard_11_a_directory_that_was_removed_stays_so_through_kills(rig, fault, seconds, published):
    """Its marker's PUT was under way at a kill: the store has it, or gets it after the removal.

    published: the successor has put it once more before the removal.
    """
    held = rig.held(sync="fsync")
    held.kill_mounter()
    for name in ("a", "b"):  # a successor's first publication goes another way than later ones
        if name == "b":
            (held.point / "other").mkdir()
            while "other/" not in stored(rig):
                time.sleep(0.05)
        others = os.listdir(held.point)
        sent = rig.proxy.add(fault, op="PUT", key=f"/{name}/$", count=1, seconds=seconds)
        (held.point / name).mkdir()
        end = time.monotonic() + 20
        while sent.done == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert sent.done == 1
        time.sleep(0.2)
        held.kill_mounter()
        while published and f"{name}/" not in stored(rig):
            time.sleep(0.05)
        (held.point / name).rmdir()
        for _ in range(40):
            assert os.listdir(held.point) == others
            time.sleep(0.1)
    held.unmount()
    assert stored(rig) == {"other/": b""}


def test_hazard_12_what_the_kernel_holds_is_never_forgotten(rig):
    one = rig.mount(sync="fsync")
    count = 400
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = [os.open(one.point / f"f{i}", os.O_CREAT | os.O_RDWR, 0o644) for i in range(count)]
    for i, file in enumerate(files):
        os.write(file, b"%d" % i)
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
    for i in range(0, count, 2):
        os.unlink(one.point / f"f{i}")
    for i in range(count):
        (one.point / f"g{i}").touch()
    for i, file in enumerate(files):
        assert os.pread(file, 10, 0) == b"%d" % i
        assert os.fstat(file).st_size == len(str(i))
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert one.end() == 0
    found = stored(rig)
    assert len(found) == count + count // 2 and found["f1"] == b"1"


def test_hazard_13_every_request_is_answered(rig):
    for i in range(6):
        put(rig, f"d{i}/f", b"x")
    one = rig.mount(deadline=2, attr_timeout=0)
    assert len(os.listdir(one.point)) == 6
    rig.proxy.add("stall", op="*", seconds=20)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        begun = time.monotonic()
        asked = [pool.submit(fails, os.stat, one.point / f"d{i}/none") for i in range(2)]
        asked += [pool.submit(fails, os.listdir, one.point / f"d{i}") for i in range(2, 4)]
        asked += [pool.submit(fails, (one.point / f"d{i}/f").read_bytes) for i in range(4, 6)]
        results = [a.result(20) for a in asked]
    # One deadline for each step of a path; the kernel looks up names of one directory in turn.
    assert time.monotonic() - begun < 20
    assert set(results) <= {0, errno.EIO, errno.ETIMEDOUT, errno.ENOENT} and errno.EIO in results
    rig.proxy.clear()
    assert (one.point / "d5/f").read_bytes() == b"x"
    assert not stuck_processes()


def test_hazard_13_a_mounter_can_die_while_the_store_answers_nobody(rig):
    held = rig.held(sync="fsync", deadline=2)
    write(held.point / "f", b"before")
    file = os.open(held.point / "g", os.O_CREAT | os.O_WRONLY, 0o644)
    rig.proxy.reset_counts()
    rig.proxy.add("reset", when="before")
    os.write(file, b"while it was away")
    for _ in range(3):
        assert held.kill_mounter() < 5
    os.fstat(file)
    rig.proxy.clear()
    os.fsync(file)
    os.close(file)
    assert (held.point / "f").read_bytes() == b"before"
    held.unmount()
    assert stored(rig) == {"f": b"before", "g": b"while it was away"}


# ---- names and directories ----

def test_hazard_16_directories_stay_and_markers_keep_their_content(rig):
    put(rig, "implied/x", b"x")
    put(rig, "marked/", b"somebody's notes")
    put(rig, "old_$folder$", b"")
    one = rig.mount()
    (one.point / "made").mkdir()
    assert sorted(os.listdir(one.point)) == ["implied", "made", "marked", "old_$folder$"]
    os.unlink(one.point / "implied/x")
    assert os.listdir(one.point / "implied") == []
    write(one.point / "marked/y", b"y")
    os.unlink(one.point / "marked/y")
    one.again()
    assert (one.point / "made").is_dir() and (one.point / "implied").is_dir()
    found = stored(rig)
    assert found["marked/"] == b"somebody's notes" and found["made/"] == b""


@pytest.mark.parametrize("sync", ["close", "fsync"])
def test_hazard_17_a_directory_that_was_just_filled_is_not_replaced(rig, sync):
    one = rig.mount(sync=sync)
    for name in ("from", "to"):
        (one.point / name).mkdir()
    write(one.point / "to/new", b"1")  # with sync=fsync not in the store for half a minute
    assert fails(os.rename, one.point / "from", one.point / "to") == errno.ENOTEMPTY
    assert one.end() == 0
    assert stored(rig)["to/new"] == b"1"


def test_hazard_17_a_directory_that_somebody_fills_is_not_removed(rig):
    one = rig.mount(attr_timeout=0)
    for name in ("seen", "lagging"):
        (one.point / name).mkdir()
    put(rig, "seen/theirs", b"1")
    assert fails(os.rmdir, one.point / "seen") == errno.ENOTEMPTY
    rig.proxy.add("old", op="LIST", seconds=30)
    assert os.listdir(one.point / "lagging") == []
    put(rig, "lagging/theirs", b"2")
    with contextlib.suppress(OSError):  # the listing that says so is not there yet
        os.rmdir(one.point / "lagging")
    found = stored(rig)
    assert found["seen/theirs"] == b"1" and found["lagging/theirs"] == b"2"


def test_hazard_18_no_file_is_lost_when_a_rename_of_a_directory_is_killed(rig):
    names = [f"f{i:02}" for i in range(40)]
    for name in names:
        put(rig, f"from/{name}", name.encode())
    one = rig.mount()
    rig.proxy.add("stall", op="COPY", seconds=0.1)
    mover = threading.Thread(target=fails, args=(os.rename, one.point / "from", one.point / "to"))
    mover.start()
    time.sleep(0.25)
    one.kill()
    mover.join(20)
    rig.proxy.clear()
    one.begin()
    for name in names:
        copies = [p for p in (one.point / "from" / name, one.point / "to" / name) if p.exists()]
        assert copies and all(p.read_bytes() == name.encode() for p in copies), name


@pytest.mark.parametrize("resend", ["true", "false"])
def test_hazard_18_a_held_one_finishes_it(rig, resend):
    names = [f"f{i:02}" for i in range(40)]
    for name in names:
        put(rig, f"from/{name}", name.encode())
    held = rig.held(f"--resend={resend}")
    rig.proxy.add("stall", op="COPY", seconds=0.1)
    result = []
    mover = threading.Thread(
        target=lambda: result.append(fails(os.rename, held.point / "from", held.point / "to")))
    mover.start()
    for _ in range(3):
        time.sleep(0.1)
        held.kill_mounter()
    mover.join(30)
    assert result == [0]
    held.unmount()
    assert {k: v for k, v in stored(rig).items() if k[-1] != "/"} == {
        f"to/{n}": n.encode() for n in names}


def test_hazard_19_listing_goes_on_while_names_come_and_go(rig):
    one = rig.mount(sync="fsync")
    for i in range(600):
        write(one.point / f"f{i}", b"")
    seen = []
    with os.scandir(one.point) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            os.unlink(entry.path)
            if number % 10 == 0:
                write(one.point / f"new{number}", b"")
    assert len(seen) == len(set(seen)), "a name comes once"
    assert {f"f{i}" for i in range(600)} <= set(seen), "what was there all the time comes"
    assert all(n.startswith("new") for n in os.listdir(one.point))


def test_hazard_19_positions_can_be_returned_to(rig):
    one = rig.mount(sync="fsync")
    for i in range(300):
        write(one.point / f"f{i:03}", b"")
    libc = ctypes.CDLL(None, use_errno=True)

    class Entry(ctypes.Structure):
        _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_ushort),
                    ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]

    libc.opendir.restype = libc.telldir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.POINTER(Entry)
    directory = ctypes.c_void_p(libc.opendir(bytes(one.point)))
    names, places = [], []
    while entry := libc.readdir(directory):
        names.append(entry.contents.name)
        places.append(entry.contents.off)
    assert len(names) == 302
    os.unlink(one.point / os.fsdecode(names[10]))
    libc.seekdir(directory, ctypes.c_long(places[200]))
    assert libc.readdir(directory).contents.name == names[201]
    libc.closedir(directory)


def test_hazard_20_the_order_of_listings_hides_nothing(rig):
    names = [f"a-{i}" for i in range(550)] + [f"a.{i}" for i in range(550)] + \
        ["a/x", "a/y", "a0", "a!/z", "b"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        s3 = rig.client()
        list(pool.map(lambda n: s3.put_object(Bucket=BUCKET, Key=f"{rig.prefix}/{n}", Body=b"1"),
                      names))
    one = rig.mount()
    assert sorted(os.listdir(one.point)) == sorted(
        {n.partition("/")[0] for n in names})
    assert sorted(os.listdir(one.point / "a")) == ["x", "y"]
    assert (one.point / "a!/z").read_bytes() == b"1"


@pytest.mark.full
def test_hazard_21_a_directory_of_ten_thousand_files(rig):
    count = 10_000
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        s3 = rig.client()
        list(pool.map(lambda n: s3.put_object(Bucket=BUCKET, Key=f"{rig.prefix}/f{n:05}", Body=b""),
                      range(count)))
    one = rig.mount(attr_timeout=60)
    rig.proxy.reset_counts()
    begun = time.monotonic()
    assert len(os.listdir(one.point)) == count
    print(f"listing: {time.monotonic() - begun:.1f} s, {dict(rig.proxy.seen)}")
    assert rig.proxy.seen["LIST"] <= count / 1000 + 5


# ---- limits and customs of stores ----

def test_hazard_22_parts_grow_with_the_object(rig):
    """No more than 10,000 parts: the first ones small, so that a small object needs few bytes."""
    one = rig.mount()
    rig.proxy.reset_counts()
    write(one.point / "f", bytes(100 * MIB))
    parts = rig.proxy.seen["UPLOAD_PART"]
    head = rig.client().head_object(Bucket=BUCKET, Key=f"{rig.prefix}/f")
    assert head["ContentLength"] == 100 * MIB
    assert head["ETag"].strip('"').endswith(f"-{parts}")
    assert 100 / parts >= 5


@pytest.mark.parametrize("size", [1000, pytest.param(12 * MIB, marks=pytest.mark.full)])
def test_hazard_24_an_etag_is_only_a_name(rig, size):
    put(rig, "f", pattern(size))
    one = rig.mount()
    data = bytearray(pattern(size))
    for i in range(3):
        write(one.point / "f", b"more%d" % i, os.O_WRONLY | os.O_APPEND)
        data += b"more%d" % i
        os.chmod(one.point / "f", 0o600 + i)
        os.rename(one.point / "f", one.point / "g")
        os.rename(one.point / "g", one.point / "f")
    assert one.end() == 0
    assert stored(rig) == {"f": bytes(data)}


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_hazard_25_what_others_said_of_an_object_stays(rig, size):
    put(rig, "f", pattern(size), ContentType="text/x-poem", CacheControl="max-age=7",
        ContentDisposition="inline", Metadata={"author": "somebody"})
    one = rig.mount()
    os.chmod(one.point / "f", 0o640)
    os.utime(one.point / "f", (1, 2))
    os.rename(one.point / "f", one.point / "g")
    with open(one.point / "g", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"X", size - 1)
    assert one.end() == 0
    head = rig.client().head_object(Bucket=BUCKET, Key=f"{rig.prefix}/g")
    assert head["Metadata"]["author"] == "somebody"
    assert (head["ContentType"], head["CacheControl"], head["ContentDisposition"]) == (
        "text/x-poem", "max-age=7", "inline")
    assert head["ContentLength"] == size


THEIRS = {"ContentType": "text/x-poem", "CacheControl": "max-age=7",
          "Metadata": {"author": "somebody", "--mode": "384"}}


def theirs_of(rig, name):
    head = rig.client().head_object(Bucket=BUCKET, Key=f"{rig.prefix}/{name}")
    return head["ContentType"], head["CacheControl"], head["Metadata"].get("author")


@pytest.mark.parametrize("sync", ["close", "fsync"])
def test_hazard_25_however_it_is_written_anew(rig, sync):
    """Whole, after a listing alone told of it; streamed; copied over; and markers with bytes in them."""
    for name in ("whole", "streamed", "copied"):
        put(rig, name, pattern(5000), **THEIRS)
    put(rig, "marked/", b"notes", **THEIRS)
    put(rig, "source", pattern(2 * MIB))
    one = rig.mount(sync=sync)
    assert len(os.listdir(one.point)) == 5
    write(one.point / "whole", b"new", os.O_WRONLY | os.O_TRUNC)
    write(one.point / "streamed", pattern(24 * MIB), os.O_WRONLY | os.O_APPEND)
    with open(one.point / "source", "rb") as source, open(one.point / "copied", "r+b") as target:
        target.truncate(0)
        assert os.copy_file_range(source.fileno(), target.fileno(), 2 * MIB) == 2 * MIB
    os.chmod(one.point / "marked", 0o700)
    assert one.end() == 0
    expected = ("text/x-poem", "max-age=7", "somebody")
    assert {n: theirs_of(rig, n) for n in ("whole", "streamed", "copied", "marked/")} == dict.fromkeys(
        ("whole", "streamed", "copied", "marked/"), expected)
    found = stored(rig)
    assert found["whole"] == b"new" and found["copied"] == pattern(2 * MIB)
    assert found["streamed"] == pattern(5000) + pattern(24 * MIB)
    assert found["marked/"] == b"notes"
    one.begin()
    assert os.stat(one.point / "marked").st_mode & 0o777 == 0o700


def test_hazard_25_costs_nothing_of_files_made_here(rig):
    one = rig.mount(attr_timeout=60)
    write(one.point / "f", b"1")
    rig.proxy.reset_counts()
    for i in range(3):
        write(one.point / "f", b"%d" % i, os.O_WRONLY | os.O_TRUNC)
    os.chmod(one.point / "f", 0o600)
    # One of each open(), and the note that the volume has other modes.
    assert rig.proxy.seen == {"HEAD": 3, "PUT": 4, "COPY": 1}
    assert one.end() == 0


def test_hazard_26_attributes_beyond_the_metadatas_room_are_refused_or_kept(rig):
    one = rig.mount()
    write(one.point / "f", b"content")
    os.setxattr(one.point / "f", "user.small", b"s" * 100)
    refused = fails(os.setxattr, one.point / "f", "user.big", b"b" * 3000)
    assert refused in (0, errno.ENOSPC, errno.E2BIG)
    write(one.point / "f", b" more", os.O_WRONLY | os.O_APPEND)
    one.again()
    assert (one.point / "f").read_bytes() == b"content more"
    assert os.getxattr(one.point / "f", "user.small") == b"s" * 100
    if refused == 0:
        assert os.getxattr(one.point / "f", "user.big") == b"b" * 3000


def test_hazard_27_the_uploads_of_others_are_not_ours(rig):
    s3 = rig.client()
    theirs = [s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
              for key in (f"{rig.prefix}/f", "elsewhere")]
    one = rig.mount()
    write(one.point / "f", pattern(9 * MIB))
    assert one.end() == 0
    left = {u["UploadId"] for u in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])}
    assert set(theirs) <= left
    for key, upload in zip((f"{rig.prefix}/f", "elsewhere"), theirs):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)


@pytest.mark.parametrize("code, s3", [
    (503, "SlowDown"), (429, None), *(pytest.param(*p, marks=pytest.mark.full) for p in [
        (429, "TooManyRequests"), (500, "InternalError"), (503, None)])])
def test_hazard_28_storms_are_ridden_out(rig, code, s3):
    one = rig.mount(sync="fsync")
    rig.proxy.add("status", code=code, s3=s3, probability=0.3)
    expected = {}
    for i in range(30):
        expected[f"f{i}"] = pattern(2000, i)
        write(one.point / f"f{i}", expected[f"f{i}"])
    assert one.end() == 0
    assert rig.proxy.injected["status"] > 1
    rig.proxy.clear()
    assert stored(rig) == expected


def test_hazard_30_a_listing_that_lags_does_not_undo_what_was_done_here(rig):
    put(rig, "there", b"1")
    one = rig.mount(attr_timeout=0)
    rig.proxy.add("old", op="LIST", seconds=3600)
    assert os.listdir(one.point) == ["there"]
    write(one.point / "new", b"2")
    os.unlink(one.point / "there")
    assert os.listdir(one.point) == ["new"]
    assert (one.point / "new").read_bytes() == b"2"
    assert fails(os.stat, one.point / "there") == errno.ENOENT


@pytest.mark.parametrize("sync", ["close", "fsync"])
def test_hazard_30_neither_versions_nor_trees_come_back(rig, sync):
    put(rig, "changed", b"old")
    for i in range(5):
        put(rig, f"tree/f{i}", b"x")
    put(rig, "tree/", b"")
    one = rig.mount(attr_timeout=0, sync=sync)
    rig.proxy.add("old", op="LIST", seconds=3600)
    assert sorted(os.listdir(one.point)) == ["changed", "tree"]
    assert len(os.listdir(one.point / "tree")) == 5
    write(one.point / "changed", b"new and longer", os.O_WRONLY | os.O_TRUNC)
    file = os.open(one.point / "changed", os.O_RDONLY)
    os.fsync(file)
    os.close(file)
    assert fails(os.rmdir, one.point / "tree") == errno.ENOTEMPTY
    for i in range(5):
        os.unlink(one.point / "tree" / f"f{i}")
    os.rmdir(one.point / "tree")
    assert os.listdir(one.point) == ["changed"]
    with os.scandir(one.point) as entries:
        assert [e.stat().st_size for e in entries] == [14]
    assert fails(os.listdir, one.point / "tree") == errno.ENOENT
    (one.point / "made").mkdir()
    write(one.point / "made/f", b"x")
    assert fails(os.rmdir, one.point / "made") == errno.ENOTEMPTY
    assert os.listdir(one.point / "made") == ["f"]


@pytest.mark.parametrize("way", ["removed", "renamed"])
def test_hazard_30_what_somebody_puts_where_a_directory_went_is_listed(rig, way):
    """By its files alone: it has no object of its own."""
    one = rig.mount(attr_timeout=0)
    (one.point / "dir").mkdir()
    write(one.point / "dir/f", b"x")
    if way == "removed":
        os.unlink(one.point / "dir/f")
        os.rmdir(one.point / "dir")
    else:
        os.rename(one.point / "dir", one.point / "other")
    gone = f"{rig.prefix}/dir/"
    wait_for(lambda: not any(key.startswith(gone) for key in rig.keys()), "deletion")
    put(rig, "dir/theirs", b"1")
    assert "dir" in os.listdir(one.point)
    assert os.listdir(one.point / "dir") == ["theirs"]


def test_hazard_30_asks_nothing_more_of_a_store_that_lists_at_once(rig):
    for i in range(40):
        put(rig, f"f{i:02}", b"x")
    one = rig.mount(attr_timeout=0, sync="fsync", attrs="list")
    for i in range(20):
        os.unlink(one.point / f"f{i:02}")
        write(one.point / f"g{i:02}", b"y")
    rig.proxy.reset_counts()
    assert len(os.listdir(one.point)) == 40
    assert rig.proxy.seen["HEAD"] == 0 and rig.proxy.seen["LIST"] <= 4, dict(rig.proxy.seen)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    int ret;
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    ret = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += atol(getenv("TEST_CLOCK_OFF"));
    return ret;
}
"""


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_hazard_29_a_clock_that_is_wrong_is_seen_through(rig, workdir, seconds):
    (workdir / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", workdir / "clock.so", workdir / "clock.c"],
                   check=True, timeout=60)
    put(rig, "f", b"x")
    one = rig.mount({"LD_PRELOAD": str(workdir / "clock.so"), "TEST_CLOCK_OFF": str(seconds)})
    assert (one.point / "f").read_bytes() == b"x"
    write(one.point / "g", pattern(9 * MIB))
    assert one.end() == 0
    assert stored(rig) == {"f": b"x", "g": pattern(9 * MIB)}


def test_hazard_31_keys_are_rotated_under_a_mount(rig):
    """Expired ones give EACCES after a while; those that come meanwhile are used, and nothing is lost."""
    put(rig, "f", b"x")
    try:
        one = rig.mount(attr_timeout=0)
        rig.proxy.add("expired", access_key=KEYS[0]["access_key"])
        changed = threading.Timer(0.5, rig.use_key, [KEYS[1]])
        changed.start()
        write(one.point / "waits", b"for the second key")
        assert (one.point / "f").read_bytes() == b"x"
        file = os.open(one.point / "late", os.O_CREAT | os.O_WRONLY, 0o644)
        rig.proxy.add("expired", access_key=KEYS[1]["access_key"], s3="InvalidAccessKeyId")
        os.write(file, b"kept")
        assert fails(os.fsync, file) == errno.EACCES
        rig.proxy.clear()
        assert fails(os.close, file) == 0
        one.again()  # with the second key, from the start
        assert one.end() == 0
        assert stored(rig) == {"f": b"x", "waits": b"for the second key", "late": b"kept"}
    finally:
        rig.use_key(KEYS[0])


def test_hazard_31_a_held_mount_gets_its_keys_from_the_holder(rig):
    held = rig.held(attr_timeout=0)
    rig.proxy.add("expired", access_key=KEYS[0]["access_key"])
    rig.key = KEYS[1]
    try:
        changed = threading.Timer(0.5, held.client.credentials, ["v1", rig.credentials_json()])
        changed.start()
        write(held.point / "waits", b"for the second key")
        changed.join()
        held.unmount()
        assert stored(rig) == {"waits": b"for the second key"}
    finally:
        rig.key = KEYS[0]


def test_hazard_31_expired_for_good_is_a_clear_error(rig):
    one = rig.mount()
    rig.proxy.add("expired")
    assert fails(write, one.point / "f", b"x") == errno.EACCES
    rig.proxy.clear()
    assert one.end() == 0
    assert set(stored(rig)) <= {"f"}


# ---- the process ----

def test_hazard_34_descriptors_do_not_leak(rig):
    put(rig, "f", pattern(100_000))
    one = rig.mount(deadline=2, attr_timeout=0)
    table = pathlib.Path(f"/proc/{one.process.pid}/fd")

    def work(count):
        for i in range(count):
            fails((one.point / "f").read_bytes)
            fails(write, one.point / f"g{i % 5}", b"x")
            fails(os.listdir, one.point)

    work(5)
    rig.proxy.add("reset", op="GET|PUT", when="during", probability=0.2)
    rig.proxy.add("short", op="GET|LIST", probability=0.1)
    work(20)
    before = len(list(table.iterdir()))
    work(40)
    assert len(list(table.iterdir())) <= before + 8


def test_hazard_35_what_one_node_closed_the_next_open_elsewhere_sees(rig):
    one, two = rig.mount(), rig.mount()
    for i in range(5):
        write(one.point / "f", b"version %d" % i)
        assert (two.point / "f").read_bytes() == b"version %d" % i
    write(two.point / "f", b"back")
    assert (one.point / "f").read_bytes() == b"back"

# SPDX-License-Identifier: Apache-2.0
"""The holder with a small file system as mounter: whatever dies, programs on the mount go on.

The mounter here is tests/unit/mounter/test_takeover.c, whose programs notice whatever is lost or
done twice. The same with skyvol-mount: test_kill_mounter.py.
"""
import errno
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

import holder_client
from conftest import BIN, mounts_below, program, wait_until

MOUNTER = BIN.parent / "tests" / "unit" / "mounter" / "test_takeover"


class Rig:
    def __init__(self, workdir, processes, *options):
        self.workdir, self.processes, self.options = workdir, processes, options
        self.socket = workdir / "holder.sock"
        self.client = holder_client.Holder(self.socket)
        self.count = 0
        self.start()

    def start(self):
        self.count += 1
        self.process = self.processes.start(
            [program("skyvol-holder"), "--socket", self.socket, "--mounter", MOUNTER,
             *self.options], f"holder{self.count}")
        wait_until(lambda: "holder is ready" in self.log(), what="holder", process=self.process)

    def log(self):
        return (self.workdir / f"holder{self.count}.log").read_text()

    def mounter(self, key="v1"):
        return self.client.status(key)["mounter"]

    def wait_running(self, key="v1", but_not=0):
        def running():
            try:
                status = self.client.status(key)
            except holder_client.Refused as refused:
                assert refused.errno == errno.ENOENT  # its mounter has not come yet
                return False
            return status["state"] == "running" and status["mounter"] not in (0, but_not)
        wait_until(lambda: self.client.answers() and running(), what="a running mounter")


@pytest.fixture
def rig(workdir, processes):
    made = []

    def make(*options):
        made.append(Rig(workdir, processes, *options))
        return made[-1]

    yield make
    for one in made:
        for point in mounts_below(workdir):
            subprocess.run(["umount", "-l", point], check=False, timeout=20)


@pytest.fixture
def target(workdir):
    path = workdir / "target"
    path.mkdir()
    return path


def start_work(target, seconds):
    return subprocess.Popen([MOUNTER, "--work", target, str(seconds)], stdout=subprocess.PIPE,
                            stdin=subprocess.DEVNULL)


def end_work(work):
    out, _ = work.communicate(timeout=60)
    seen = json.loads(out)
    print(seen)
    assert seen["failures"] == 0
    assert seen["added"] == seen["counted"], "every request was applied exactly once"
    assert seen["operations"] > 100
    return seen


def test_mount_work_unmount(rig, target, workdir):
    holder = rig().client
    holder.mount("v1", target)
    holder.mount("v1", target)  # again: the same
    end_work(start_work(target, 1))
    assert [m["key"] for m in holder.list()] == ["v1"]
    with open(target / "held", "w", encoding="ascii"):
        with pytest.raises(holder_client.Refused) as refused:
            holder.unmount("v1")
        assert refused.value.errno == errno.EBUSY
    os.unlink(target / "held")
    pid = holder.status("v1")["mounter"]
    holder.unmount("v1", drain_ms=2000)
    assert not mounts_below(workdir)
    assert not os.path.exists(f"/proc/{pid}")
    holder.unmount("v1")  # again: nothing to do
    with pytest.raises(holder_client.Refused) as refused:
        holder.status("v1")
    assert refused.value.errno == errno.ENOENT


def oom_score(pid):
    return int(pathlib.Path("/proc", str(pid), "oom_score_adj").read_text())


def test_out_of_memory_a_mounter_goes_before_the_holder_and_after_workloads(rig, target):
    # Without CAP_SYS_RESOURCE nobody may lower the score: then all keep what they have.
    may = subprocess.run(["sh", "-c", "echo -900 >/proc/self/oom_score_adj"], check=False,
                         capture_output=True).returncode == 0
    here = oom_score("self")
    one = rig()
    one.client.mount("v1", target)
    one.wait_running()
    for _ in range(2):
        holder, mounter = one.process.pid, one.mounter()
        scores = [oom_score(p) for p in (holder, holder_client.supervisor_of(holder), mounter)]
        assert scores == ([-900, -900, -500] if may else [here] * 3)
        holder_client.kill9(mounter)
        one.wait_running(but_not=mounter)
    one.client.unmount("v1", drain_ms=2000)


def cgroup_roots():
    """(directory, name of the limit) of each hierarchy: v1's memory, v2 with or without memory."""
    found = []
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            _, point, kind, options = line.split()[:4]
            if kind == "cgroup2":
                found.append((point, "memory.max"))
            elif kind == "cgroup" and "memory" in options.split(","):
                found.append((point, "memory.limit_in_bytes"))
    return [(point, limit) for point, limit in found if os.access(point, os.W_OK)]


def test_each_mount_has_a_cgroup_that_its_mounters_share(rig, target):
    if not cgroup_roots():
        pytest.skip("no cgroup can be made here")
    for i, (point, limit) in enumerate(cgroup_roots()):
        root = pathlib.Path(point, f"skyvol-test-{os.getpid()}")
        try:
            check_cgroup(rig("--cgroup", root), root / f"v{i}", limit, target)
        finally:
            for left in (*root.glob("v*"), root):
                if left.is_dir():
                    left.rmdir()


def check_cgroup(one, cgroup, limit, target):
    key = cgroup.name
    wait_until(one.client.answers, what="holder", process=one.process)
    one.client.mount(key, target, memory_bytes=96 << 20)
    one.wait_running(key)
    first = one.mounter(key)
    assert str(first) in (cgroup / "cgroup.procs").read_text().split()
    if (cgroup / limit).exists():  # a v2 hierarchy may be without the memory controller
        assert int((cgroup / limit).read_text()) == 96 << 20
    holder_client.kill9(first)
    one.wait_running(key, but_not=first)
    assert (cgroup / "cgroup.procs").read_text().split() == [str(one.mounter(key))]
    one.client.unmount(key, drain_ms=2000)
    wait_until(lambda: not cgroup.exists(), what="the end of the cgroup")
    one.processes.stop(one.process)


def cgroups_of(pid):
    """Hierarchy: group, of a process; cgroup2's own is 0::."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as lines:
        return dict(line.strip().split(":", 1)[1].rsplit(":", 1) for line in lines)


def test_no_cgroup_of_the_holder_is_a_mounters(rig, target):
    """As in a container of a node with cgroup v1, which would kill all that is in any of its groups."""
    top = pathlib.Path("/sys/fs/cgroup")
    tops = [p for p in top.glob("*/") if (p / "cgroup.procs").exists() and not p.is_symlink()]
    if top / "memory" not in tops or not all(os.access(p, os.W_OK) for p in tops):
        pytest.skip("no cgroup v1 here")
    name = f"skyvol-v1-{os.getpid()}"
    groups = [p / "container" for p in tops if p.name != "cpuset"]  # a new one of that has no processor
    one = None
    try:
        for group in groups:
            group.mkdir()
        one = rig("--cgroup", top / name)
        for group in groups:
            for pid in (one.process.pid, holder_client.supervisor_of(one.process.pid)):
                (group / "cgroup.procs").write_text(str(pid))
        one.client.mount("v1", target, memory_bytes=96 << 20)
        one.wait_running()
        mounter = one.mounter()
        assert "/container" not in cgroups_of(mounter).values()
        assert cgroups_of(mounter)["memory"] == f"/{name}/v1"
        assert int((top / "memory" / name / "v1" / "memory.limit_in_bytes").read_text()) == 96 << 20
        one.client.unmount("v1", drain_ms=2000)
        one.processes.stop(one.process)
        assert not (top / "memory" / name).exists()
    finally:
        if one and one.process.poll() is None:
            one.processes.stop(one.process)
        for group in groups:
            if group.exists():
                group.rmdir()


def test_a_cgroup_that_is_none_is_refused(workdir):
    done = subprocess.run([BIN / "skyvol-holder", "--socket", workdir / "s", "--cgroup", workdir / "c"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "no cgroup hierarchy" in done.stderr


def test_another_target_or_config_under_the_same_key_is_refused(rig, target, workdir):
    holder = rig().client
    holder.mount("v1", target, '{"a": 1}')
    (workdir / "other").mkdir()
    for call in (lambda: holder.mount("v1", workdir / "other", '{"a": 1}'),
                 lambda: holder.mount("v1", target, '{"a": 2}')):
        with pytest.raises(holder_client.Refused) as refused:
            call()
        assert refused.value.errno == errno.EEXIST


def test_a_mounter_that_cannot_start_says_why_and_leaves_nothing(rig, target, workdir):
    holder = rig().client
    with pytest.raises(holder_client.Refused, match="does not want us") as refused:
        holder.mount("v1", target, '{"fail": true}')
    assert refused.value.errno == errno.EACCES
    with pytest.raises(holder_client.Refused, match="ended while starting"):
        holder.mount("v1", target, '{"crash": true}')
    assert not mounts_below(workdir)
    holder.mount("v1", target)


def test_mount_on_what_is_not_a_directory_fails_with_the_reason(rig, workdir):
    with pytest.raises(holder_client.Refused) as refused:
        rig().client.mount("v1", workdir / "absent")
    assert refused.value.errno == errno.ENOENT


@pytest.mark.parametrize("resend", ["true", "false"])
def test_fifty_kills_of_the_mounter(rig, target, resend):
    one = rig(f"--resend={resend}", "--crash-limit", "1000")
    one.client.mount("v1", target)
    work = start_work(target, 8)
    pauses = []
    for _ in range(50):
        time.sleep(0.05)
        pid = one.mounter()
        start = time.monotonic()
        holder_client.kill9(pid)
        os.stat(target)
        pauses.append(time.monotonic() - start)
        one.wait_running(but_not=pid)
    seen = end_work(work)
    pauses.sort()
    print(f"resend={resend}: 50 kills, {seen['operations']} operations, kill to next answer: "
          f"median {pauses[25] * 1000:.1f} ms, worst {pauses[-1] * 1000:.1f} ms")
    assert one.client.status("v1")["restarts"] == 50


def test_kills_of_the_supervisor(rig, target):
    one = rig()
    one.client.mount("v1", target)
    mounter = one.mounter()
    work = start_work(target, 5)
    for _ in range(5):
        time.sleep(0.3)
        holder_client.kill9(holder_client.supervisor_of(one.process.pid))
        one.wait_running()
    assert one.mounter() == mounter, "the mounter was left in peace"
    end_work(work)
    assert one.process.poll() is None


def test_supervisor_and_mounter_die_together(rig, target):
    one = rig("--crash-limit", "1000")
    one.client.mount("v1", target)
    work = start_work(target, 5)
    for _ in range(5):
        time.sleep(0.3)
        mounter = one.mounter()
        holder_client.kill9(holder_client.supervisor_of(one.process.pid))
        holder_client.kill9(mounter)
        one.wait_running(but_not=mounter)
    end_work(work)


def test_kill_of_the_whole_holder(rig, target, processes):
    one = rig()
    one.client.mount("v1", target)
    mounter = one.mounter()
    work = start_work(target, 5)
    for _ in range(3):
        supervisor = holder_client.supervisor_of(one.process.pid)
        holder_client.kill9(one.process.pid)
        one.process.wait()
        wait_until(lambda: not os.path.exists(f"/proc/{supervisor}"), what="end of the supervisor")
        processes.running.remove(one.process)
        time.sleep(0.3)
        one.start()
        one.wait_running()
    assert one.mounter() == mounter, "the mounter outlived three holders"
    holder_client.kill9(mounter)
    one.wait_running(but_not=mounter)
    end_work(work)


def test_holder_and_mounter_die_and_the_node_plugin_brings_them_back(rig, target, processes):
    one = rig()
    one.client.mount("v1", target)
    names, fds = one.client.fetch("v1")
    assert "device" in names and "slots" in names
    work = start_work(target, 5)
    time.sleep(0.3)
    mounter = one.mounter()
    supervisor = holder_client.supervisor_of(one.process.pid)
    for pid in (supervisor, one.process.pid, mounter):
        holder_client.kill9(pid)
    one.process.wait()
    processes.running.remove(one.process)
    one.start()
    assert one.client.list() == []
    one.client.offer("v1", names, fds)
    one.wait_running()
    one.client.offer("v1", names, fds)  # again: nothing to do
    end_work(work)
    for fd in fds:
        os.close(fd)
    one.client.unmount("v1")


def test_upgrade_of_the_holder(rig, target, processes):
    one = rig()
    one.client.mount("v1", target)
    mounter = one.mounter()
    work = start_work(target, 5)
    for _ in range(3):
        time.sleep(0.3)
        old = one.process
        one.start()  # beside the old one, as maxSurge has it
        assert old.wait(10) == 0
        processes.running.remove(old)
        one.wait_running()
    assert one.mounter() == mounter
    end_work(work)
    one.client.unmount("v1")


def ready(rig, *prefix):
    done = subprocess.run([*prefix, program("skyvol-holder"), "--ready", "--socket", rig.socket],
                          capture_output=True, text=True, check=False, timeout=20)
    return done.returncode, done.stderr


def test_a_probe_tells_whether_this_holder_keeps_the_mounts(rig, target, processes):
    one = rig()
    assert ready(one) == (0, "")
    one.client.mount("v1", target)
    assert ready(one) == (0, "")
    # Two containers, one socket: the listener is the other's.
    code, said = ready(one, "unshare", "--mount")
    assert (code, "another holder keeps the mounts" in said) == (1, True), said
    supervisor = holder_client.supervisor_of(one.process.pid)
    os.kill(supervisor, signal.SIGSTOP)  # listens and does not answer
    try:
        code, said = ready(one)
        assert code == 1 and "timed out" in said.lower(), said
    finally:
        os.kill(supervisor, signal.SIGCONT)
    old = one.process
    one.start()
    assert old.wait(10) == 0
    processes.running.remove(old)
    one.wait_running()
    assert ready(one) == (0, "")
    one.client.unmount("v1")
    processes.stop(one.process)
    code, said = ready(one)
    assert code == 1 and "holder.sock" in said, said


def test_upgrade_of_the_mounter(rig, target):
    one = rig()
    one.client.mount("v1", target)
    work = start_work(target, 3)
    for _ in range(5):
        time.sleep(0.2)
        mounter = one.mounter()
        one.client.replace("v1")
        assert one.mounter() != mounter
    end_work(work)
    assert one.client.status("v1")["restarts"] == 0


def test_a_crash_loop_ends_with_errors_not_with_waiting(rig, target):
    one = rig("--crash-limit", "5")
    one.client.mount("v1", target)
    for _ in range(5):
        wait_until(lambda: one.client.status("v1")["state"] in ("running", "failed"),
                   what="a mounter or its end")
        pid = one.mounter()
        if pid:
            holder_client.kill9(pid)
            wait_until(lambda: one.mounter() != pid, what="its death is seen")
    wait_until(lambda: one.client.status("v1")["state"] == "failed", what="failed")
    start = time.monotonic()
    with pytest.raises(OSError) as failed:
        os.stat(target / "absent")
    assert failed.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    assert time.monotonic() - start < 2
    with pytest.raises(holder_client.Refused):
        one.client.mount("v1", target)
    one.client.unmount("v1")
    one.client.mount("v1", target)
    end_work(start_work(target, 1))


def test_new_credentials_reach_the_running_mounter_and_its_successor(rig, target):
    one = rig()
    one.client.mount("v1", target, credentials="old")
    one.client.credentials("v1", "newer and longer")
    wait_until(lambda: "new credentials of 16 bytes" in one.log(), what="credentials")
    names, fds = one.client.fetch("v1")
    assert os.pread(fds[names.index("credentials")], 100, 0) == b"newer and longer"
    for fd in fds:
        os.close(fd)
    assert "newer" not in one.log()


def test_unmounted_by_somebody_else_is_forgotten(rig, target):
    one = rig()
    one.client.mount("v1", target)
    subprocess.run(["umount", target], check=True, timeout=20)
    wait_until(lambda: one.client.list() == [], what="the holder to forget it")
    one.client.mount("v1", target)


def test_holder_makes_the_directory_of_its_socket(workdir, processes):
    process = processes.start([program("skyvol-holder"), "--socket", workdir / "a" / "b" / "h.sock"],
                              "holder")
    wait_until(lambda: (workdir / "a" / "b" / "h.sock").exists(), what="holder", process=process)
    assert (workdir / "a").stat().st_mode & 0o777 == 0o700
    processes.stop(process)


def test_holder_that_cannot_start_says_why_and_ends(workdir):
    (workdir / "file").touch()
    done = subprocess.run([program("skyvol-holder"), "--socket", workdir / "file" / "h.sock"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.count("cannot start") == 1
    assert f"cannot make the socket {workdir}/file/h.sock: Not a directory" in done.stderr
    done = subprocess.run([program("skyvol-holder"), "--socket", workdir / "h.sock", "--mounter",
                           workdir / "none"], capture_output=True, text=True, timeout=20,
                          check=False)
    assert done.returncode == 2
    assert f"cannot run the mounter {workdir}/none: No such file" in done.stderr
    for options, words in ((["--memory", "1KiB"], "'1KiB' is not between 16777216 and"),
                           (["--budget", "100MiB"], "--budget is less than --memory")):
        done = subprocess.run([program("skyvol-holder"), "--socket", workdir / "h.sock", *options],
                              capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 2 and words in done.stderr


def test_supervisor_that_is_killed_at_once_is_started_again(workdir, processes):
    """What ends the holder is only a supervisor that says it cannot work, not one that crashes."""
    process = processes.start([program("skyvol-holder"), "--socket", workdir / "h.sock"], "holder")

    def ready(times):
        return process.log.read_text().count("holder is ready") >= times

    def supervisor():
        return int(pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
    wait_until(lambda: ready(1), what="holder", process=process)
    for times in (2, 3):
        os.kill(supervisor(), signal.SIGKILL)
        wait_until(lambda n=times: ready(n), what="another supervisor", process=process)
    processes.stop(process)

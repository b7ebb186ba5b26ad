# SPDX-License-Identifier: Apache-2.0
"""What users of other drivers complain of, as tests of ours. docs/conformance.md lists them all."""
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import mounts_below, stop_whole, wait_until
from holder_client import Holder
from test_csi import (RWO, Refused, Volume, bucket, capability, children, csi, keys,  # noqa: F401
                      volume)

NOBODY = 65534


def mounters(csi):
    return [pid for supervisor in children(csi.holder.pid) for pid in children(supervisor)]


def kill_all(csi):
    """Plugin, holder, supervisor and mounters at once: nobody is left who has a descriptor."""
    pids = [csi.node.pid, csi.holder.pid, *children(csi.holder.pid), *mounters(csi)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for process in (csi.node, csi.holder):
        process.wait(10)


def start_all(csi):
    csi.holder = csi.start_holder()
    csi.node = csi.start_node()


def store_process(csi):
    return next(p for p in csi.processes.running if "minio" in str(p.args[0]))


def quickly(step, seconds=5):
    start = time.monotonic()
    result = step()
    assert time.monotonic() - start < seconds
    return result


def test_after_a_reboot_nothing_is_stuck(csi, volume):
    volume.stage()
    (volume.publish() / "a").write_text("kept")
    kill_all(csi)
    for point in reversed(mounts_below(csi.dir)):
        subprocess.run(["umount", "-l", point], check=True)
    start_all(csi)
    quickly(volume.unpublish)
    quickly(volume.unstage)
    assert os.listdir(csi.dir / "state") == []
    volume.stage()
    assert (volume.publish() / "a").read_text() == "kept"
    volume.unpublish()
    volume.unstage()


def test_a_dead_mount_is_unpublished_without_a_look_at_it(csi, volume):
    volume.stage()
    here = volume.publish()
    kill_all(csi)
    with pytest.raises(OSError):
        os.stat(here / "a")
    start_all(csi)
    condition = volume.stats()["volumeCondition"]
    assert condition["abnormal"] and "nobody serves" in condition["message"]
    quickly(volume.unpublish)
    assert not os.path.lexists(here)
    quickly(volume.unstage)
    assert mounts_below(csi.dir) == []


def test_a_dead_mount_is_made_anew_by_stage_and_publish(csi, volume):
    volume.stage()
    (volume.publish() / "a").write_text("kept")
    kill_all(csi)
    start_all(csi)
    volume.stage()
    assert (volume.publish() / "a").read_text() == "kept"
    assert len(mounts_below(csi.dir / "pods")) == 1
    volume.unpublish()
    volume.unstage()


# Whoever starts a process while he has a file open there closes it once more, and that waits for the mounter.
PROGRAM = """
import os, sys
with open(sys.argv[1], "w+b", buffering=0) as file:
    for line in sys.stdin:
        file.write(line.encode())
        print(os.pread(file.fileno(), 100, 0), flush=True)
"""


def test_a_mount_that_a_new_holder_does_not_know_yet_is_not_made_anew(csi, volume):
    """Holder and plugin are replaced while the mounter gets no time to look for them, and kubelet publishes again."""
    volume.stage()
    here = volume.publish()
    [mounter] = mounters(csi)
    with subprocess.Popen([sys.executable, "-c", PROGRAM, here / "a"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, bufsize=1) as program:
        program.stdin.write("before\n")
        assert "before" in program.stdout.readline()
        os.kill(mounter, signal.SIGSTOP)
        try:
            for pid in (csi.node.pid, csi.holder.pid, *children(csi.holder.pid)):
                if pid != mounter:
                    os.kill(pid, signal.SIGKILL)
            for process in (csi.node, csi.holder):
                process.wait(10)
            start_all(csi)
            for again in (volume.stage, volume.publish):
                try:
                    quickly(again, 15)
                except Refused as refused:  # it comes again
                    assert "does not know the mount" in str(refused)
        finally:
            os.kill(mounter, signal.SIGCONT)
        wait_until(lambda: mounter in [m["mounter"] for m in Holder(csi.dir / "holder.sock").list()], what="its return")
        program.stdin.write("after\n")
        assert program.stdout.readline() == "b'before\\nafter\\n'\n"
        volume.stage()
        volume.publish()
        program.stdin.close()
        assert program.wait(20) == 0
    assert (here / "a").read_text() == "before\nafter\n"
    volume.unpublish()
    volume.unstage()
    assert mounts_below(csi.dir) == []


def test_one_pods_end_leaves_the_others_mounts(csi, volume):
    volume.stage()
    first, second = volume.publish("first"), volume.publish("second")
    sitting = subprocess.Popen(["sleep", "60"], cwd=first)
    try:
        with open(second / "a", "w", encoding="utf-8") as file:
            file.write("before")
            quickly(lambda: volume.unpublish("first"))
            assert not os.path.lexists(first)
            file.write("after")
        assert (second / "a").read_text() == "beforeafter"
    finally:
        sitting.kill()
        sitting.wait(10)
    volume.unpublish("second")
    volume.unstage()


def test_two_calls_for_one_volume_are_one_and_aborted(csi, bucket):
    v = Volume(csi, "team-data", {}, secrets=keys(bucket))
    store = store_process(csi)
    stop_whole(store)
    outcome = []
    try:
        first = threading.Thread(target=lambda: outcome.append(v.stage()))
        first.start()
        wait_until(lambda: mounters(csi), what="the first call's mounter")
        with pytest.raises(Refused, match="(?i)aborted"):
            quickly(v.stage)
    finally:
        store.send_signal(signal.SIGCONT)
    first.join()
    assert outcome == [{}]
    v.stage()
    v.unstage()


def test_one_bucket_in_two_volumes(csi, bucket):
    both = []
    for name in ("one", "two"):
        v = Volume(csi, f"any-id-{name}", {"bucket": "team-data"}, secrets=keys(bucket))
        v.wish["stagingTargetPath"] += name
        v.stage()
        both.append((v, v.publish(name)))
    (one, here), (two, there) = both
    (here / "a").write_text("shared")
    assert (there / "a").read_text() == "shared"
    one.unpublish("one")
    one.unstage()
    (there / "b").write_text("still there")
    two.unpublish("two")
    two.unstage()
    assert bucket.client().get_object(Bucket="team-data", Key="b")["Body"].read() == b"still there"


def test_pods_with_keys_of_their_own_share_no_mount(csi, bucket):
    v = Volume(csi, "team-data", {})
    v.stage()  # without keys: the identity comes with each pod
    here = v.publish("first", secrets=keys(bucket))
    (here / "a").write_text("mine")
    with pytest.raises(Refused) as refused:
        v.publish("second", secrets={**keys(bucket), "accessKeyID": "somebody",
                                     "secretAccessKey": "hidden-key"})
    assert "hidden-key" not in str(refused.value)
    assert not mounts_below(csi.target("second"))
    assert (here / "a").read_text() == "mine"
    v.unpublish("first")
    v.unpublish("second")
    v.unstage()
    wait_until(lambda: not mounts_below(csi.dir), what="the end of the pods' mounts")


def test_unstage_keeps_what_it_cannot_upload(csi, bucket):
    v = Volume(csi, "team-data", {}, mode=RWO, secrets=keys(bucket))
    v.wish["volumeCapability"] = capability(RWO, mountFlags=["sync=fsync"])
    v.stage()
    here = v.publish()
    store = store_process(csi)
    late = open(here / "late", "wb")  # noqa: SIM115
    stop_whole(store)
    try:
        late.write(b"acknowledged by close")
        quickly(late.close)
        quickly(v.unpublish)
        with pytest.raises(Refused, match="(?i)aborted"):
            quickly(v.unstage, 8)
    finally:
        store.send_signal(signal.SIGCONT)

    def unstaged():
        try:
            v.unstage()
        except Refused as why:
            assert "ABORTED" in str(why).upper()
            return False
        return True
    wait_until(unstaged, 60, "the end of the upload")
    got = bucket.client().get_object(Bucket="team-data", Key="late")["Body"].read()
    assert got == b"acknowledged by close"
    assert mounts_below(csi.dir) == [] and os.listdir(csi.dir / "state") == []


def test_df_shows_the_size_that_was_asked_for(csi, volume):
    volume.stage()
    space = os.statvfs(volume.publish())
    assert space.f_blocks * space.f_frsize == 1 << 30
    (total,) = [u["total"] for u in volume.stats()["usage"] if u["unit"] == "BYTES"]
    assert int(total) == 1 << 30
    volume.unpublish()
    volume.unstage()


def test_ownership_is_anybodys_unless_it_is_given(csi):
    csi.dir.chmod(0o755)
    (csi.dir / "pods").chmod(0o755)
    made = csi.create("plain")
    plain = Volume(csi, made["volumeId"], made["volumeContext"])
    plain.stage()
    here = plain.publish()
    subprocess.run(["sh", "-c", "echo mine >a && mkdir d && chmod 600 a"], check=True, cwd="/",
                   env={"PATH": os.environ["PATH"]}, user=NOBODY, group=NOBODY,
                   preexec_fn=lambda: os.chdir(here))
    assert (here / "a").stat().st_uid == NOBODY and (here / "a").stat().st_mode & 0o777 == 0o600
    plain.unpublish()
    plain.unstage()
    made = csi.create("grouped")
    grouped = Volume(csi, made["volumeId"], made["volumeContext"])
    grouped.wish["volumeCapability"] = capability(volumeMountGroup="1234",
                                                  mountFlags=["uid=7", "umask=027"])
    grouped.stage()
    status = grouped.publish().stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (7, 1234, 0o750)
    grouped.unpublish()
    grouped.unstage()


def test_a_mount_group_is_everythings(csi):
    """As kubelet asks for a pod's fsGroup: files have it, also those that another group's pod has made."""
    made = csi.create("groups")
    for group in ("1000", "2000"):
        v = Volume(csi, made["volumeId"], made["volumeContext"])
        v.wish["volumeCapability"] = capability(volumeMountGroup=group)
        v.stage()
        here = v.publish()
        (here / f"dir{group}").mkdir()
        (here / f"dir{group}" / "file").write_text(group)
        os.chown(here / f"dir{group}" / "file", -1, 77)  # is stored, and not shown
        found = [here, *here.rglob("*")]
        assert {p.stat().st_gid for p in found} == {int(group)}, group
        v.unpublish()
        v.unstage()
    assert len(found) == 5


def test_no_secret_is_in_what_others_can_see_of_a_process(csi, bucket):
    v = Volume(csi, "team-data", {}, secrets=keys(bucket))
    v.stage()
    pids = [csi.node.pid, csi.holder.pid, *children(csi.holder.pid), *mounters(csi)]
    assert len(pids) >= 4
    for pid in pids:
        for what in ("cmdline", "environ"):
            assert bucket.secret_key.encode() not in pathlib.Path(f"/proc/{pid}/{what}").read_bytes()
    v.unstage()

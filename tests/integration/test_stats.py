# SPDX-License-Identifier: Apache-2.0
"""What a mount tells of itself: numbers for Prometheus, and conditions in words that say what to do."""
import http.client
import os
import re
import socket
import subprocess
import time

import pytest
from conftest import wait_until
from rig import BIN, Rig
from test_csi import Csi, Refused, Volume
from test_journal_csi import Journaled


def numbers(text):
    """Value by name with labels."""
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines() if line and not line.startswith("#")}


def value(text, name, **labels):
    """The sum of all that have these labels."""
    return sum(v for key, v in numbers(text).items() if key.split("{")[0] == name
               and all(f'{k}="{w}"' in key for k, w in labels.items()))


def over_unix(path):
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(str(path))
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_without_a_holder_it_is_said_who_has_the_numbers_of_a_mount_by_hand(workdir):
    done = subprocess.run([BIN / "skyvolctl", "stats", "--holder", workdir / "none.sock"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1 and "none.sock: No such file" in done.stderr, done
    assert "-o metrics=" in done.stderr


def test_numbers_go_on_after_a_kill_and_are_read_without_the_mounter():
    with Rig(proxy=False) as rig:
        held = rig.held(sync="close")

        def ask(what="v1"):
            done = subprocess.run([BIN / "skyvolctl", "stats", "--holder", rig.directory / "h1.sock",
                                   what], capture_output=True, text=True, timeout=20, check=False)
            return done.stdout if done.returncode == 0 else done.stderr

        for i in range(3):
            (held.point / f"f{i}").write_text("x" * 1000)
        with pytest.raises(FileNotFoundError):
            (held.point / "none").stat()
        assert held.kill_mounter() is not None
        (held.point / "f3").write_text("x" * 1000)
        text = ask()
        assert value(text, "skyvol_mount_up", mount="v1") == 1
        assert value(text, "skyvol_mount_restarts_total") == 1
        assert value(text, "skyvol_mount_mounter_starts_total") == 2
        assert value(text, "skyvol_mount_fuse_seconds_count", op="create") == 4
        assert value(text, "skyvol_mount_fuse_seconds_bucket", op="create", le="+Inf") == 4
        assert value(text, "skyvol_mount_fuse_errors_total", op="lookup") >= 1
        assert value(text, "skyvol_mount_publications_total") == 4
        assert value(text, "skyvol_mount_store_bytes_total", op="put") >= 4000
        assert value(text, "skyvol_mount_pause_seconds") > 0
        assert value(ask(str(held.point)), "skyvol_mount_up") == 1
        assert "has no mount 'other'" in ask("other")


def test_a_mounter_takes_no_more_memory_than_its_holder_gives_its_cgroup():
    """Without memory=, and with more than the holder allows; also one that takes over from another."""
    def limits(*arguments, **more):
        with Rig(proxy=False) as rig:
            held = rig.held(*arguments, **more)
            found = []
            for _ in range(2):
                text = subprocess.run([BIN / "skyvolctl", "stats", "--holder", rig.directory / "h1.sock", "v1"],
                                      capture_output=True, text=True, timeout=20, check=True).stdout
                found.append([value(text, f"skyvol_mount_{name}_limit_bytes") for name in ("cache", "dirty")])
                assert held.kill_mounter() is not None
            assert found[0] == found[1]
            return found[0]

    wanted = limits(memory_bytes=64 << 20)
    assert wanted[1] == (64 << 20) // 3 // 4096 * 4096
    assert limits("--memory", "64MiB") == wanted
    assert limits("--memory", "64MiB", memory="512M") == wanted
    assert limits("--memory", "1GiB", memory="64M") == wanted


def test_a_mount_by_hand_serves_its_numbers():
    with Rig(store="dir") as rig:
        at = rig.directory / "metrics.sock"
        mount = rig.mount(metrics=f"unix:{at}")
        (mount.point / "f").write_text("x")
        wait_until(lambda: value(over_unix(at), "skyvol_mount_inodes") >= 2, what="a tick")
        text = over_unix(at)
        assert value(text, "skyvol_mount_fuse_seconds_count", op="write") == 1
        assert re.search(r'skyvol_mount_inodes\{volume="dir://', text)
        assert os.stat(at).st_mode & 0o777 == 0o600
        mount.end()
        assert not at.exists()


@pytest.mark.parametrize("fault,words", [("EACCES", "look at the keys in the volume's Secret"),
                                         ("ECONNREFUSED", "is the store running")])
def test_a_store_that_fails_is_told_as_the_volumes_condition(workdir, processes, monkeypatch, fault,
                                                             words):
    monkeypatch.setenv("SKYVOL_TEST_FAULTS", f"put:*:{fault}")
    csi = Csi(workdir, processes)
    made = csi.create(capacityRange={"requiredBytes": 1 << 30},
                      parameters={"options": "sync=fsync"})
    volume = Volume(csi, made["volumeId"], made["volumeContext"])
    volume.stage()
    point = volume.publish()
    assert not volume.stats()["volumeCondition"].get("abnormal", False)
    (point / "f").write_text("kept")

    def told():
        condition = volume.stats()["volumeCondition"]
        return condition.get("abnormal", False) and condition["message"]

    wait_until(told, what="a condition")
    message = told()
    assert re.match(r"for \d+ s the store fails: ", message) and words in message
    assert "4 KiB wait to be sent" in message
    volume.unpublish()
    with pytest.raises(Refused):
        volume.unstage()


def test_what_a_mount_left_behind_is_told_until_it_is_uploaded(workdir, processes, monkeypatch):
    monkeypatch.setenv("SKYVOL_TEST_FAULTS", "put:*:hang")
    at = workdir / "status.sock"
    csi = Journaled(workdir, processes, "--drain-limit", "1s", "--journal-dir",
                    workdir / "journal", "--status", f"unix:{at}")
    made = csi.create(capacityRange={"requiredBytes": 1 << 30},
                      parameters={"options": "sync=fsync"})
    volume = Volume(csi, made["volumeId"], made["volumeContext"])
    volume.stage()
    (volume.publish() / "f").write_text("kept")
    assert value(over_unix(at), "skyvol_mount_up", volume=made["volumeId"]) == 1
    assert "skyvol_journal_files{" not in over_unix(at)
    volume.unpublish()

    def unstaged():
        try:
            volume.unstage()
        except Refused:
            time.sleep(0.2)
            return False
        return True

    wait_until(unstaged, seconds=40, what="the end of Unstage")
    assert value(over_unix(at), "skyvol_journal_files", volume=made["volumeId"]) == 1
    assert value(over_unix(at), "skyvol_journal_bytes", volume=made["volumeId"]) >= 4

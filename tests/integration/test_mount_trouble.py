# SPDX-License-Identifier: Apache-2.0
"""A store that is full or answers nobody: what programs on the mount see, and when."""
import errno
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from conftest import program, wait_until

# Writes a little, tells, waits for a line, closes, and tells how that went and how long it took.
CLOSES = """
import os, signal, sys, time
signal.signal(signal.SIGALRM, lambda *_: None)
file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o600)
os.write(file, b"x" * 500)
print("open", flush=True)
sys.stdin.readline()
start = time.monotonic()
if sys.argv[2:] == ["alarm"]:
    signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
try:
    os.fsync(file)
    print("done", time.monotonic() - start, flush=True)
except OSError as error:
    print(error.errno, time.monotonic() - start, flush=True)
"""


@pytest.fixture
def mounted(workdir, processes):
    """A function that mounts memory with faults and options."""
    point = workdir / "mnt"
    point.mkdir()

    def mount(faults, options="attr_timeout=0"):
        env = dict(os.environ, SKYVOL_TEST_FAULTS=faults)
        process = processes.start([program("skyvol-mount"), "mem://bucket", point, "-f", "-o",
                                   options], env=env)
        wait_until(lambda: os.path.ismount(point), what="mount", process=process)
        return pathlib.Path(point), process

    yield mount
    subprocess.run(["umount", "-l", point], check=False, timeout=60)


@pytest.fixture
def closer(request):
    started = []

    def start(*argv):
        one = subprocess.Popen([sys.executable, "-c", CLOSES, *map(str, argv)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(one)
        assert one.stdout.readline() == "open\n"
        one.stdin.write("\n")
        one.stdin.flush()
        return one

    yield start
    for one in started:
        one.kill()
        one.wait(20)


def test_what_is_written_fails_by_the_deadline_where_the_store_does_not_answer(mounted, closer):
    point, _ = mounted("put:*:hang", "deadline=3")
    result, seconds = closer(point / "f").stdout.readline().split()
    assert int(result) == errno.EIO
    assert 2.5 < float(seconds) < 20


def test_a_program_that_waits_for_the_store_can_be_killed(mounted, closer):
    point, _ = mounted("put:*:hang", "deadline=600")
    one = closer(point / "f")
    time.sleep(0.5)
    assert one.poll() is None
    one.kill()
    assert one.wait(10) == -signal.SIGKILL


def test_a_signal_that_is_handled_does_not_disturb_an_fsync(mounted, closer):
    point, _ = mounted("put:*:delay=1500")
    result, seconds = closer(point / "f", "alarm").stdout.readline().split()
    assert result == "done"
    assert float(seconds) >= 1.4


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_a_full_store_says_so_and_leaves_the_rest_alone(mounted):
    """Files that it refuses are tried again, but not so that nothing else is done."""
    point, process = mounted("put:5+:ENOSPC")  # after two notes of attributes
    for i in range(2):
        (point / f"good{i}").write_bytes(b"good")
    for i in range(40):
        with pytest.raises(OSError) as caught:
            (point / f"bad{i}").write_bytes(b"x" * 100000)
        assert caught.value.errno == errno.ENOSPC
    before = cpu_seconds(process)
    for _ in range(30):
        assert len(os.listdir(point)) == 42
        assert (point / "good1").read_bytes() == b"good"
        assert (point / "bad39").stat().st_size == 100000
        time.sleep(0.1)
    assert cpu_seconds(process) - before < 1.5  # 30 rounds of what was just asked, and 100 tries
    tries = process.log.read_text().count("not possible now")
    assert 0 < tries < 40 * 6

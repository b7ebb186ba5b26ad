# SPDX-License-Identifier: Apache-2.0
"""What tests stand on leaves nothing behind when it fails."""
import os
import pathlib
import subprocess
import sys

import holder_client
import pytest
from conftest import stop_whole, wait_until
from rig import Rig


def running(directory):
    """Processes that have it in their arguments."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            pass  # it has just ended
    return found


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse")
def test_a_mount_that_fails_leaves_no_process():
    with Rig("dir") as rig:
        with pytest.raises(holder_client.Refused):
            rig.held(sync="never")
        with pytest.raises(RuntimeError):
            rig.mount(sync="never")
        assert rig.mounts == [] and running(rig.directory) == []


def test_a_process_that_was_stopped_stands_with_all_its_threads():
    script = ("import threading, time\n"
              "for _ in range(8): threading.Thread(target=time.sleep, args=[60]).start()")
    process = subprocess.Popen([sys.executable, "-c", script])
    tasks = pathlib.Path(f"/proc/{process.pid}/task")
    try:
        wait_until(lambda: len(list(tasks.iterdir())) == 9, what="threads", process=process)
        stop_whole(process)
        threads = list(tasks.iterdir())
        assert len(threads) == 9 and all("\nState:\tT" in (one / "status").read_text() for one in threads)
    finally:
        process.kill()
        process.wait(10)

# SPDX-License-Identifier: Apache-2.0
"""NodeUnstage with a store that takes nothing: the data stays on the node, and the node goes on."""
import os
import time

import pytest
from conftest import mounts_below, program, wait_until
from test_csi import RWO, RWX, Csi, Refused, Volume


class Journaled(Csi):
    """With a holder that has a journal, and a node plugin with these options."""

    def __init__(self, workdir, processes, *node_options):
        super().__init__(workdir, processes)
        self.processes.stop(self.node)
        self.node = self.start_node(*node_options)

    def start_holder(self):
        return self.processes.start([program("skyvol-holder"), "--socket",
                                     self.dir / "holder.sock", "--journal-dir",
                                     self.dir / "journal"])


@pytest.fixture
def csi(workdir, processes, monkeypatch):
    monkeypatch.setenv("SKYVOL_TEST_FAULTS", "put:*:hang")
    one = Journaled(workdir, processes, "--drain-limit", "3s")
    monkeypatch.delenv("SKYVOL_TEST_FAULTS")
    return one


def test_unstage_ends_after_its_limit_and_the_next_stage_has_the_data(csi, workdir):
    made = csi.create(capacityRange={"requiredBytes": 1 << 30}, parameters={"options": "sync=fsync"})
    volume = Volume(csi, made["volumeId"], made["volumeContext"])
    volume.stage()
    (volume.publish() / "f").write_text("kept")
    volume.unpublish()
    start = time.monotonic()
    with pytest.raises(Refused) as refused:
        volume.unstage()
    assert "ABORTED" in str(refused.value).upper() and "upload" in str(refused.value)
    assert mounts_below(csi.dir)

    def unstaged():
        try:
            volume.unstage()
        except Refused as why:
            assert "ABORTED" in str(why).upper()
            return False
        return True

    wait_until(unstaged, seconds=40, what="the end of Unstage")
    assert time.monotonic() - start > 2.5
    assert not mounts_below(csi.dir)
    assert len(list(workdir.glob("journal/*/*.jrn"))) == 1
    wait_until(lambda: "leaves data on this node" in csi.node.log.read_text(), what="a warning")
    csi.processes.stop(csi.holder)  # the next one's mounters have no faults
    csi.holder = csi.start_holder()
    wait_until(lambda: (csi.dir / "holder.sock").exists(), what="holder")
    wait_until(lambda: stage(volume), what="Stage")
    assert (volume.publish() / "f").read_text() == "kept"
    volume.unpublish()
    wait_until(unstaged, what="Unstage")
    assert not list(workdir.glob("journal/*/*"))


def stage(volume):
    try:
        volume.stage()
    except Refused:
        return False
    return True


@pytest.mark.parametrize("mode,option,waits", [(RWX, None, True), (RWO, None, False),
                                               (RWO, "sync=close", True),
                                               (RWX, "sync=fsync", False)])
def test_close_waits_for_the_store_where_others_may_look(csi, mode, option, waits):
    made = csi.create(capacityRange={"requiredBytes": 1 << 30})
    volume = Volume(csi, made["volumeId"], made["volumeContext"], mode=mode)
    mount_flags = ["deadline=1"] + ([option] if option else [])
    volume.wish["volumeCapability"]["mount"] = {"mountFlags": mount_flags}
    volume.stage()
    file = os.open(volume.publish() / "f", os.O_CREAT | os.O_WRONLY)
    os.write(file, b"x")
    try:
        os.close(file)
        assert not waits
    except OSError:
        assert waits
    volume.unpublish()

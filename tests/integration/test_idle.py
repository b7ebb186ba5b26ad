# SPDX-License-Identifier: Apache-2.0
"""What a mount with a metaserver channel has in memory when nobody uses it."""
import pathlib
import time

import pytest

from test_managed import HeldManaged, meta  # noqa: F401

KIB_RESIDENT, KIB_PRIVATE = 32 * 1024, 12 * 1024


def rollup(pid):
    lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Rss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


@pytest.mark.full
def test_an_idle_managed_mount_whose_memory_is_given_back(meta, processes):
    held = HeldManaged(meta, processes)
    point = held.point
    for i in range(100):
        (point / f"f{i}").write_bytes(b"x" * 100_000)
    for i in range(100):
        assert (point / f"f{i}").read_bytes() == b"x" * 100_000
        (point / f"f{i}").unlink()
    time.sleep(12)  # readers are parked after 3 s, threads end after 5 s
    resident, private = rollup(held.mounter())
    print(f"{resident} KiB resident, {private} KiB private")
    assert resident <= KIB_RESIDENT
    assert private <= KIB_PRIVATE
    held.unmount()

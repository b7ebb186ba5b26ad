# SPDX-License-Identifier: Apache-2.0
"""The bench itself: a tiny run of each kind of row, and the bars from figures that are known."""
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from conftest import tool
from stack import BIN, ROOT

BENCH = ROOT / "tests" / "bench" / "mount"
sys.path.insert(0, str(BENCH))
import judge  # noqa: E402
import report  # noqa: E402

CELLS = ("create", "ls_lR", "rm_rf", "write", "read", "randread_1", "randwrite", "stat")
TOOLS = ("skyvol-fsync", "null", "raw")


@pytest.fixture(scope="module")
def bench_tools():
    if not shutil.which("go"):
        pytest.skip("go is not installed: the bench's client and proxy cannot be built")
    subprocess.run(["make", "-s", "bench-tools"], cwd=ROOT, check=True, timeout=300)


def test_a_tiny_run_measures_each_kind_of_row_and_writes_figures_table_and_plot(workdir, bench_tools):
    tool("versitygw")
    figures, table, plot = (workdir / name for name in ("figures.json", "table.md", "plot.svg"))
    done = subprocess.run(
        [sys.executable, BENCH / "bench_mount.py", "--smoke", "--rows", ",".join(CELLS), "--tools", ",".join(TOOLS),
         "--json", figures, "--table", table, "--plot", plot], capture_output=True, text=True, timeout=120,
        env=dict(os.environ, BUILD=str(BIN.parent)), check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    measured = {(m["cell"], m["tool"]): m for m in json.loads(figures.read_text())["measurements"]}
    assert not [m["error"] for m in measured.values() if "error" in m]
    assert set(measured) == {(cell, name) for cell in CELLS for name in TOOLS}
    assert all(value > 0 for m in measured.values() for value in m["rows"].values())
    created = measured["create", "skyvol-fsync"]
    assert created["requests"]["PutObject"] >= 40 and created["rss"] > 1
    assert measured["create", "null"]["requests"] == {}

    lines = table.read_text().splitlines()
    assert any(line.startswith("| 6,400 small files, until in the bucket") for line in lines)
    assert "| work | skyvol-fsync | null |" in lines
    assert any(line.startswith("| create |") and " PUT" in line and "none" in line for line in lines)
    assert xml.etree.ElementTree.parse(plot).getroot().tag.endswith("svg")


def measurement(cell, name, run, figures, network="loopback", cpu=1.0, requests=None, **more):
    return {"cell": cell, "tool": name, "store": network, "run": run, "rows": figures, "cpu": cpu, "work": 1,
            "rss": 10, "requests": requests or {}, "mount_requests": {}, **more}


def verdict(measurements, what, name="skyvol-fsync"):
    found = [v for v in judge.judge({"measurements": measurements}) if v.what == what and v.tool == name]
    assert len(found) == 1, found
    return found[0]


def test_a_bar_is_held_to_the_lower_quartile_of_the_runs_beside_the_fastest_peer():
    runs = [measurement("stat", "skyvol-fsync", n, {"stat": s}) for n, s in enumerate((1, 1, 1, 1.2, 1.3))]
    runs += [measurement("stat", "geesefs", n, {"stat": 2.1}) for n in range(5)]
    runs += [measurement("stat", "s3fs", n, {"stat": 9}) for n in range(5)]
    slow = verdict(runs, "stat: speed")
    assert "1.75x geesefs" in slow.reached and slow.pairs == 5 and not slow.met
    runs += [measurement("stat", "raw", n, {"stat": 1.15}) for n in range(5)]
    near_the_limit = verdict(runs, "stat: speed")
    assert "0.96 of the limit" in near_the_limit.reached and near_the_limit.met


def test_a_peer_that_was_cut_counts_as_if_it_had_just_ended():
    runs = [measurement("stat", "skyvol-fsync", 1, {"stat": 10}),
            measurement("stat", "rclone", 1, {}, cut=60)]
    assert "6.00x rclone" in verdict(runs, "stat: speed").reached
    ours_cut = [measurement("stat", "skyvol-fsync", 1, {}, cut=60), measurement("stat", "rclone", 1, {"stat": 10})]
    assert not verdict(ours_cut, "stat: speed").met


def test_cpu_is_compared_without_what_bare_fuse_costs():
    runs = [measurement("read", "skyvol-fsync", 1, {"read": 900}, cpu=1.5),
            measurement("read", "s3fs", 1, {"read": 600}, cpu=2.5), measurement("read", "null", 1, {"read": 1000}),
            measurement("read", "raw", 1, {"read": 2000})]
    assert verdict(runs, "read: CPU").reached == "1/3.00 of s3fs's" and verdict(runs, "read: CPU").met
    path = verdict(runs, "read: speed")
    assert path.reached == "1.35" and path.met  # 900 of 666


def test_requests_are_counted_against_the_keys():
    few = [measurement("find", "skyvol-fsync", 1, {"find": 1}, requests={"ListObjectsV2": 12, "HeadObject": 99})]
    assert verdict(few, "find: LIST requests").met
    many = [measurement("find", "skyvol-fsync", 1, {"find": 1}, requests={"ListObjectsV2": 13})]
    assert not verdict(many, "find: LIST requests").met
    removed = [measurement("rm_rf", "skyvol-fsync", 1, {"rm_durable": 1},
                           requests={"DeleteObjects": 8, "HeadObject": 17})]
    assert verdict(removed, "rm_rf: requests").reached == "25" and not verdict(removed, "rm_rf: requests").met


def test_creating_at_20_ms_is_held_to_the_same_puts_by_64_connections():
    runs = [measurement("create", "skyvol-fsync", 1, {"durable": 4.4}, "rtt20"),
            measurement("create", "raw", 1, {"durable": 3.0}, "rtt20")]
    assert verdict(runs, "durable: time").met
    runs[0]["rows"]["durable"] = 4.6
    assert not verdict(runs, "durable: time").met


def test_the_table_says_which_tool_was_cut_and_which_failed():
    results = {"measurements": [measurement("stat", "skyvol-fsync", 1, {"stat": 1.0}),
                                measurement("stat", "rclone", 1, {}, cut=60),
                                measurement("stat", "s3fs", 1, {}, error="it fell over")]}
    line = next(x for x in report.table(results).splitlines() if x.startswith("| stat of 10,000"))
    assert "cut at 60 s" in line and "failed" in line

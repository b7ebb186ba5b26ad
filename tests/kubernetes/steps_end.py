# SPDX-License-Identifier: Apache-2.0
"""The last steps: what is removed."""
import contextlib
import subprocess
from pathlib import Path

import steps
from cluster import BRIDGE, HOST_PATHS, KUBELET, STATE, mounter_groups, mounts, start_time
from kube import StepError
from steps import mounters, no_mounts, processes, skyvol_mounts, step


@step("nothing of the tests is left in the store")
def empty_store(kube, _):
    with kube.store() as s3:
        with contextlib.suppress(s3.exceptions.NoSuchBucket):
            for one in s3.list_objects_v2(Bucket="team-data").get("Contents", []):
                s3.delete_object(Bucket="team-data", Key=one["Key"])
            s3.delete_bucket(Bucket="team-data")
        kube.wait("the end of all buckets", 120, lambda: not s3.list_buckets()["Buckets"])


@step("everything is removed, and no mount stays")
def uninstall(kube, cluster):
    kube.run("delete", "namespace", kube.namespace, "--timeout=120s", timeout=150)
    kube.run("delete", "-k", steps.OVERLAY, "--timeout=180s", timeout=240)
    assert not kube.items("pv")
    no_mounts(kube, cluster)
    if cluster:
        kube.wait("the end of all mounters", 60, lambda: not mounters())


def end_cluster(cluster):
    """Nothing is left: process, mount, directory, interface or rule."""
    pids = [int(p.read_text().split()[0]) for p in (cluster.dir / "pid").glob("*")]
    cluster.stop(purge=True)
    left = [p for p in pids if start_time(p)]
    left += [f"{name} {pid}" for name in ("skyvol-mount", "skyvol-holder") for group in ("/kubepods", ":/skyvol/")
             for pid in processes(name, group)]
    left += [p for prefix in (KUBELET, STATE) for p in mounts(prefix)] + skyvol_mounts()
    left += [str(p) for p in (KUBELET, STATE, cluster.dir) if p.exists()]
    left += [p for p in map(str, HOST_PATHS) if p in cluster.facts.get("made", []) and Path(p).exists()]
    left += [str(p) for p in mounter_groups()]
    if Path("/sys/class/net", BRIDGE).exists():
        left.append(BRIDGE)
    rules = subprocess.run(["iptables-save"], check=False, text=True, capture_output=True).stdout
    left += [line for line in rules.splitlines() if "KUBE-" in line or "CNI-" in line]
    if left:
        raise StepError(f"left: {left[:10]}")

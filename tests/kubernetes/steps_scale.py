# SPDX-License-Identifier: Apache-2.0
"""Many pods on a node, and how long one takes to start."""
import statistics
from pathlib import Path

from machine import mounter_groups
from kube import StepError
from steps import mounters, no_mounts, step

COUNT, PAIRS = 50, 5
# The API server knows which claims a node's pods have a moment later than kubelet, which asks again: none of ours.
NOT_YET = "failed to fetch PVC from API server"
START_LIMIT = None  # seconds, set by run


def uptime():
    """Seconds since boot: one clock for this program and the pods of its own cluster."""
    return float(Path("/proc/uptime").read_text().split()[0])


def start_of(kube, cluster, volume):
    """Seconds from the wish to the container's first act."""
    begin = uptime()
    kube.apply(kube.pod("start", "cat /proc/uptime", volume=volume))
    end = float(kube.succeeded("start").split()[0])
    kube.delete("pod", "start")
    no_mounts(kube, cluster)
    return end - begin


@step("a pod with a volume starts as soon as one with an emptyDir")
def pod_start(kube, cluster):
    if not cluster:
        raise StepError("left out: another's node has a clock of its own")
    kube.apply(kube.claim("start"))
    kube.wait("the claim is bound", 60, lambda: kube.get("pvc", "start")["status"].get("phase") == "Bound")
    volumes = {"emptyDir": {"emptyDir": {}}, "claim": {"persistentVolumeClaim": {"claimName": "start"}}}
    taken = {name: [] for name in volumes}
    for _ in range(PAIRS):
        for name, volume in volumes.items():
            taken[name].append(start_of(kube, cluster, volume))
    kube.delete("pvc", "start")
    later = statistics.median(taken["claim"]) - statistics.median(taken["emptyDir"])
    measured = (f"{later:+.2f} s in the median of {PAIRS} pairs (emptyDir "
                f"{' '.join(f'{t:.2f}' for t in taken['emptyDir'])}, claim "
                f"{' '.join(f'{t:.2f}' for t in taken['claim'])})")
    if START_LIMIT is not None and later > START_LIMIT:
        raise StepError(f"{measured}: more than {START_LIMIT} s")
    return measured


def memory_of(group):
    """Bytes that the kernel counts for a mounter and what it keeps."""
    for name in ("memory.current", "memory.usage_in_bytes"):
        if (group / name).exists():
            return int((group / name).read_text())
    return 0


@step(f"{COUNT} pods with {COUNT} volumes start and end on the node")
def many_pods(kube, cluster):
    names = [f"many-{i:02}" for i in range(COUNT)]
    kube.apply(*(kube.claim(name, "ReadWriteOnce") for name in names))
    kube.wait("all claims are bound", 180, lambda: sum(
        c["status"].get("phase") == "Bound" for c in kube.items("pvc")) >= COUNT)
    begin = uptime()
    kube.apply(*(kube.pod(name, f"echo {name} >/data/name && cat /data/name && sleep 100000", claim=name,
                          labels={"many": "pods"}) for name in names))

    def phases():
        return [p["status"].get("phase") for p in kube.items("pods", "-l=many=pods")]
    kube.wait(f"all {COUNT} pods run", 300, lambda: phases() == ["Running"] * COUNT)
    ran = uptime() - begin
    kube.wait("all of them have written", 60, lambda: sorted(kube.run(
        "-n", kube.namespace, "logs", "-l=many=pods", f"--max-log-requests={COUNT}").split()) == names)
    used = sorted(memory_of(group) for group in mounter_groups()) if cluster else []
    assert not cluster or (len(used) == COUNT and len(mounters()) == COUNT), f"{len(used)} mounts"
    kube.delete("pod", "-l=many=pods", seconds=240)
    kube.delete("pvc", *names, seconds=240)
    wrong = [e for e in kube.items("events", "--field-selector=type=Warning")
             if e["involvedObject"]["name"].startswith("many-") and NOT_YET not in e["message"]]
    assert not wrong, f"{len(wrong)} warnings: {wrong[0]['message'][:300]}"
    no_mounts(kube, cluster)
    if not cluster:
        return f"all ran after {ran:.0f} s"
    kube.wait("the end of all mounters", 60, lambda: not mounters())
    return (f"all ran after {ran:.0f} s; memory of a mount {statistics.median(used) / 2**20:.1f} MiB in the median, "
            f"{used[-1] / 2**20:.1f} at most")

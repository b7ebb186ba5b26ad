# SPDX-License-Identifier: Apache-2.0
"""The last steps: what is removed, what stays, and the same by the Helm chart."""
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import steps
import steps_docs
from machine import HOST_PATHS, KUBELET, SECOND, STATE, hierarchies, mounter_groups, mounts, start_time
from node import BRIDGE, LINK
from kube import DRIVER, SYSTEM, StepError
from steps import gone, mounters, no_mounts, processes, skyvol_mounts, step, volume_of

ROOT = Path(__file__).resolve().parent.parent.parent
VALUES = None  # of the chart, set by run
OUTSIDE = "skyvol-outside"  # a namespace


@step("nothing of the tests is left in the store")
def empty_store(kube, _):
    with kube.store() as s3:
        with contextlib.suppress(s3.exceptions.NoSuchBucket):
            for one in s3.list_objects_v2(Bucket="team-data").get("Contents", []):
                s3.delete_object(Bucket="team-data", Key=one["Key"])
            s3.delete_bucket(Bucket="team-data")
        kube.wait("the end of all buckets", 120, lambda: not s3.list_buckets()["Buckets"])


# --- uninstall ---------------------------------------------------------------

def outside_store(kube):
    """A store in a namespace of its own, which outlives Skyvol: as the embedded one, without skyvol-meta."""
    spec = kube.get("statefulset", "skyvol-s3", namespace=SYSTEM)["spec"]["template"]["spec"]
    container = spec["containers"][0]
    container["args"] = [a for a in container["args"] if not a.startswith("--meta")]
    container["volumeMounts"] = [m for m in container["volumeMounts"] if m["name"] != "tls"]
    volumes = [v for v in spec["volumes"] if v["name"] != "tls"]
    keys = kube.secret("skyvol-s3-keys")
    labels = {"app": OUTSIDE}
    kube.run("create", "namespace", OUTSIDE)
    kube.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "skyvol-s3-keys", "namespace": OUTSIDE},
         "stringData": keys},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "skyvol-s3", "namespace": OUTSIDE},
         "spec": {"selector": labels, "ports": [{"port": 9000}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "store", "namespace": OUTSIDE, "labels": labels},
         "spec": {"containers": [container], "volumes": volumes, "securityContext": spec["securityContext"],
                  "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1}})
    kube.wait("the store outside", 100, lambda: any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in kube.get("pod", "store", namespace=OUTSIDE)["status"].get("conditions", [])))
    kube.skyvolctl("store", "add", "outside", "s3://", "--endpoint", f"http://skyvol-s3.{OUTSIDE}.svc:9000",
                   "--credentials-file", "-",
                   data=json.dumps({"accessKey": keys["access_key"], "secretKey": keys["secret_key"]}))
    return keys


def storage_class(name, policy):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": DRIVER, "reclaimPolicy": policy, "parameters": {"store": "outside"}}


def contents(kube, keys):
    """Of each bucket of the store outside the keys of objects, our own apart."""
    with kube.store(keys, OUTSIDE) as s3:
        return sorted([o["Key"] for o in s3.list_objects_v2(Bucket=b["Name"]).get("Contents", [])
                       if ".skyvol/" not in o["Key"]] for b in s3.list_buckets()["Buckets"])


def remove(kube):
    kube.run("delete", "-k", steps.OVERLAY, "--ignore-not-found", "--timeout=180s", timeout=240)


def nothing_left(kube, cluster):
    assert not kube.items("pv")
    tainted = [t["key"] for n in kube.items("nodes") for t in n["spec"].get("taints", []) if "skyvol" in t["key"]]
    assert not tainted, f"nodes have {tainted}"
    no_mounts(kube, cluster)
    if cluster:
        kube.wait("the end of all mounters", 60, lambda: not mounters())


@step("everything is removed: no mount, taint or bucket stays but that of a claim whose class retains")
def uninstall(kube, cluster):
    classes = {"kept": "Retain", "dropped": "Delete"}
    volumes = {}
    try:
        keys = outside_store(kube)
        for name, policy in classes.items():
            kube.apply(storage_class(f"skyvol-test-{name}", policy),
                       kube.claim(name, storage_class=f"skyvol-test-{name}"),
                       kube.pod(name, f"echo {name} >/data/{name}", claim=name))
        for name in classes:
            kube.succeeded(name)
            volumes[name] = volume_of(kube, name)
        there = contents(kube, keys)
        assert there == [["dropped"], ["kept"]], there
        # As docs/uninstall.md has it: pods and claims, then what Skyvol has to delete, then Skyvol.
        kube.run("delete", "namespace", kube.namespace, "--timeout=120s", timeout=150)
        gone(kube, "pv", volumes["dropped"], 120)
        kube.delete("pv", volumes["kept"])
        steps_docs.before_uninstall(kube)
        remove(kube)
        nothing_left(kube, cluster)
        there = contents(kube, keys)
        assert there == [["kept"]], there
    finally:
        for name in classes:
            kube.delete("storageclass", f"skyvol-test-{name}")
        kube.delete("namespace", OUTSIDE)


# --- Helm --------------------------------------------------------------------

def helm_template():
    """What `helm template skyvol -n skyvol-system -f VALUES` prints, by Helm's own engine."""
    out = VALUES.parent / "schema"
    go = shutil.which("go") or "/usr/local/go/bin/go"
    subprocess.run([go, "build", "-buildvcs=false", "-o", out, "."], check=True, cwd=ROOT / "tests/kubernetes/schema",
                   timeout=1500)
    return subprocess.run([out, "helm", ROOT / "deploy/kubernetes/chart", VALUES], check=True, text=True,
                          stdout=subprocess.PIPE, timeout=60).stdout


@step("Helm's chart is installed, a claim of it is used, and all of it is removed")
def helm(kube, cluster):
    rendered = helm_template()
    if kube.get("namespace", SYSTEM):
        remove(kube)
    kube.run("create", "namespace", SYSTEM)
    kube.run("-n", SYSTEM, "apply", "-f", "-", data=rendered)
    kube.rolled_out("statefulset/skyvol-meta", "statefulset/skyvol-s3", "deployment/skyvol-controller",
                    "daemonset/skyvol-holder", "daemonset/skyvol-node", "deployment/skyvol-webhook")
    if not kube.get("namespace", kube.namespace):
        kube.run("create", "namespace", kube.namespace)
    kube.wait("service account", 60, lambda: kube.get("serviceaccount", "default"))
    kube.apply(kube.claim("charted"), kube.pod("charted", "echo a >/data/a && cat /data/a", claim="charted"))
    assert kube.succeeded("charted") == "a\n"
    name = volume_of(kube, "charted")
    kube.run("delete", "namespace", kube.namespace, "--timeout=120s", timeout=150)
    gone(kube, "pv", name, 120)
    with kube.store() as s3:
        kube.wait("the end of the bucket", 120, lambda: not s3.list_buckets()["Buckets"])
    kube.run("-n", SYSTEM, "delete", "-f", "-", "--ignore-not-found", "--timeout=180s", data=rendered, timeout=240)
    kube.run("delete", "namespace", SYSTEM, "--timeout=120s", timeout=150)
    nothing_left(kube, cluster)


def end_cluster(cluster):
    """Nothing is left: process, mount, directory, interface or rule."""
    pids = [int(p.read_text().split()[0]) for p in (cluster.dir / "pid").glob("*")]
    cluster.stop(purge=True)
    left = [p for p in pids if start_time(p)]
    left += [f"{name} {pid}" for name in ("skyvol-mount", "skyvol-holder") for group in ("/kubepods", ":/skyvol/", f":/{SECOND}/")
             for pid in processes(name, group)]
    left += [p for prefix in (KUBELET, STATE) for p in mounts(prefix)] + skyvol_mounts()
    left += [str(p) for p in (KUBELET, STATE, cluster.dir) if p.exists()]
    left += [p for p in map(str, HOST_PATHS) if p in cluster.facts.get("made", []) and Path(p).exists()]
    left += [str(p) for p in mounter_groups()]
    left += [name for name in (BRIDGE, LINK) if Path("/sys/class/net", name).exists()]
    left += [str(top / SECOND) for top in hierarchies() if (top / SECOND).exists()]
    rules = subprocess.run(["iptables-save"], check=False, text=True, capture_output=True).stdout
    left += [line for line in rules.splitlines() if "KUBE-" in line or "CNI-" in line]
    if left:
        raise StepError(f"left: {left[:10]}")

# SPDX-License-Identifier: Apache-2.0
"""What Skyvol has to do in a cluster, step by step. Each takes what it made away again. More: steps_*.py."""
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from machine import KUBELET, PodLogs, mounter_groups, mounts, second_pid
from kube import DRIVER, SYSTEM, StepError

STEPS = []
OVERLAY = KEPT_LOGS = None  # set by run


def step(name, needed=False):
    """A step; without one that is needed the others make no sense."""
    def add(function):
        STEPS.append((name, function, needed))
        return function
    return add


def skyvol_mounts():
    """Of the cluster: others of this machine may be under test elsewhere."""
    pids = ["self", second_pid()]
    return [point for pid in pids if pid for point in mounts(KUBELET, "fuse.skyvol", pid)]


def restore(kube):
    """After a step that failed, so that the next ones can be judged."""
    kube.run("-n", SYSTEM, "scale", "statefulset/skyvol-meta", "--replicas=1", check=False)
    with contextlib.suppress(StepError):  # of what is uninstalled
        select(kube, "skyvol-s3")
    kube.run("-n", kube.namespace, "delete", "pod,pvc", "--all", "--timeout=60s", check=False)
    for volume in kube.items("pv"):
        if volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain":
            kube.delete("pv", volume["metadata"]["name"])


def no_mounts(kube, cluster):
    if cluster:  # of another's node nothing can be seen
        kube.wait("the end of all mounts", 60, lambda: not skyvol_mounts())


def gone(kube, kind, name, seconds=60):
    kube.wait(f"the end of {kind} {name}", seconds, lambda: kube.get(kind, name) is None)


def volume_of(kube, claim):
    """Name of the PersistentVolume that the claim has."""
    return kube.wait(f"claim {claim} is bound", 60, lambda: (kube.get("pvc", claim) or {}).get(
        "spec", {}).get("volumeName"))


# --- a claim's life ----------------------------------------------------------

@step("kustomize installs everything and all of it gets ready", needed=True)
def install(kube, _):
    kube.run("apply", "-k", OVERLAY)
    kube.rolled_out("statefulset/skyvol-meta", "statefulset/skyvol-s3", "deployment/skyvol-controller",
                    "daemonset/skyvol-holder", "daemonset/skyvol-node", "deployment/skyvol-webhook")
    nodes = kube.items("csinodes")
    drivers = {n["metadata"]["name"]: [d["name"] for d in n["spec"].get("drivers") or []] for n in nodes}
    assert all(DRIVER in found for found in drivers.values()), f"kubelet does not know the driver: {drivers}"
    if not kube.get("namespace", kube.namespace):
        kube.run("create", "namespace", kube.namespace)
    kube.wait("service account", 60, lambda: kube.get("serviceaccount", "default"))


@step("a claim becomes a volume")
def provision(kube, _):
    kube.apply(kube.claim("one"))
    volume = kube.get("pv", volume_of(kube, "one"))
    assert volume["spec"]["csi"]["driver"] == DRIVER


@step("a pod writes and reads, and the object is plain in the store")
def write_and_read(kube, _):
    kube.apply(kube.pod("writer", "set -e; echo hello >/data/hello; mkdir /data/d; "
                        "head -c 3000000 /dev/urandom >/data/d/random; sync; cat /data/hello; "
                        "md5sum </data/d/random", claim="one"))
    said = kube.succeeded("writer").split()
    assert said[0] == "hello", said
    with kube.store() as s3:
        found = {o["Key"]: b["Name"] for b in s3.list_buckets()["Buckets"]
                 for o in s3.list_objects_v2(Bucket=b["Name"]).get("Contents", [])}
        keys = [key for key in found if key == "hello" or key.endswith("/hello")]
        assert len(keys) == 1, f"hello is not in the store once: {found}"
        bucket, prefix = found[keys[0]], keys[0].removesuffix("hello")
        assert s3.get_object(Bucket=bucket, Key=keys[0])["Body"].read() == b"hello\n"
        random = s3.get_object(Bucket=bucket, Key=f"{prefix}d/random")["Body"].read()
        assert hashlib.md5(random).hexdigest() == said[1]
    kube.delete("pod", "writer")


@step("a claim grows, and its next pod has the room")
def grow(kube, _):
    kube.run("-n", kube.namespace, "patch", "pvc", "one", "-p",
             json.dumps({"spec": {"resources": {"requests": {"storage": "3Gi"}}}}))
    kube.wait("the new size", 90, lambda: kube.get("pvc", "one")["status"]["capacity"]["storage"] == "3Gi")
    kube.apply(kube.pod("grower", "df -k /data", claim="one"))
    said = kube.succeeded("grower")
    assert re.search(r"\s3145728\s", said), said
    kube.delete("pod", "grower")


@step("two pods share a volume and see each other's files")
def share(kube, _):
    wait_for = "i=0; until [ -s /data/{0} ]; do i=$((i+1)); [ $i -lt 300 ]; sleep 0.2; done; cat /data/{0}"
    kube.apply(kube.pod("left", "set -e; echo from-left >/data/left; " + wait_for.format("right"), claim="one"),
               kube.pod("right", "set -e; echo from-right >/data/right; " + wait_for.format("left"), claim="one"))
    said = kube.succeeded("left"), kube.succeeded("right")
    assert said == ("from-right\n", "from-left\n"), said
    kube.delete("pod", "left", "right")


@step("deleting a claim leaves neither volume, mount nor bucket")
def delete(kube, cluster):
    name = volume_of(kube, "one")
    kube.delete("pvc", "one")
    gone(kube, "pv", name)
    no_mounts(kube, cluster)
    with kube.store() as s3:
        kube.wait("the end of the bucket", 120, lambda: not s3.list_buckets()["Buckets"])


# --- programs that die or are replaced under a load --------------------------

# Whole files are written anew and compared, one file stays open, and what was written first is compared
# again at the end; beside it fio, where the image has it, reads and writes at random and compares checksums.
# Any error ends the pod.
CHECKER = r"""
fail() { echo "FAIL: $*"; exit 1; }
# cmp does not tell which error it has met.
differs() {
    echo "$1: $(cat "$1" 2>&1 >/dev/null) $(stat -c 'inode %i, %s bytes' "$1" 2>&1)"
    sleep 2
    cmp /tmp/block "$1" && echo "$1 is right 2 s later"
    fail "$2"
}
cd /tmp; : >fio.runs
random() {
    while [ ! -e /tmp/stop ]; do
        fio --name=v --directory=/data/fio --rw=randrw --bsrange=4k-256k --size=6m --numjobs=2 --verify=crc32c \
            --verify_fatal=1 --verify_backlog=64 --fsync=64 --end_fsync=1 --group_reporting >fio.out 2>&1 ||
            { mv fio.out fio.failed; return 1; }
        echo >>fio.runs
    done
}
mkdir -p /data/fio || fail mkdir
if command -v fio >/dev/null; then random & fi
mkdir -p /data/w || fail mkdir
head -c 5000000 /dev/urandom >/tmp/first && cp /tmp/first /data/w/first || fail first
exec 3>>/data/w/log || fail open
n=0
while [ ! -e /tmp/stop ]; do
    [ ! -e fio.failed ] || fail "fio: $(tail -n 20 fio.failed)"
    f=/data/w/$((n % 7))
    head -c $((200000 + n % 13 * 50000)) /dev/urandom >/tmp/block
    dd if=/tmp/block of=$f bs=64k conv=fsync 2>/tmp/error || fail "dd $(cat /tmp/error)"
    cmp /tmp/block $f || differs $f "other bytes in $f"
    mv $f $f.moved || fail "rename of $f"
    cmp /tmp/block $f.moved || differs $f.moved "other bytes in $f after its rename"
    echo $n >&3 || fail log
    n=$((n + 1)); echo $n >/tmp/count
done
exec 3>&-
cmp /tmp/first /data/w/first || fail "other bytes in the first"
seq 0 $((n - 1)) | cmp - /data/w/log || fail "other lines in the log"
wait
[ ! -e fio.failed ] || fail "fio: $(tail -n 20 fio.failed)"
echo "$n rounds"
echo "$(wc -l <fio.runs) runs of fio"
"""


@contextlib.contextmanager
def no_errors_logged(name):
    """No mounter has answered a program with an error of which it writes a line, as the kernel may have asked again;
    none was killed for lack of memory."""
    logs = PodLogs(SYSTEM)
    well = False
    try:
        yield
        well = True
    finally:
        found = logs.end()
        wrong = [line for _, text in found for line in text.splitlines()
                 if 'msg="answered with an' in line or 'msg="mounter killed for lack of memory"' in line]
        if wrong or not well:
            out = KEPT_LOGS / f"pods-of-{name}"
            out.mkdir(parents=True, exist_ok=True)
            for file, text in found:
                (out / file).write_text(text)
        if wrong and well:
            raise StepError(f"no program has seen an error, but a mounter has logged one: {wrong[:3]}")


@contextlib.contextmanager
def load(kube, name, mode="ReadWriteOnce", node=None):
    """A pod that writes and compares all the time; at the end neither it nor a mounter must have told of an error."""
    with no_errors_logged(name), working(kube, name, mode, node) as more:
        yield more


@contextlib.contextmanager
def working(kube, name, mode, node):
    """A pod that writes and compares all the time; at the end it must have seen no error."""
    pod = kube.pod(name, CHECKER, claim=name, image=kube.tools)
    if node:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    kube.apply(kube.claim(name, mode), pod)
    kube.running(name)

    def rounds():
        if kube.phase(name) != "Running":
            raise StepError(f"the load has seen an error: {kube.logs(name)[-300:]}")
        return int(kube.execute(name, "cat /tmp/count 2>/dev/null || echo 0") or 0)

    def more():
        """Waits until the load has got on."""
        before = rounds()
        kube.wait("the load gets on", 60, lambda: rounds() > before + 2)

    more()
    yield more
    more()
    kube.execute(name, "touch /tmp/stop")
    said = kube.succeeded(name)
    assert re.search(r"^\d+ rounds$", said, re.MULTILINE), said
    assert not kube.tools or re.search(r"^[1-9]\d* runs of fio$", said, re.MULTILINE), said
    kube.delete("pod", name)
    kube.delete("pvc", name)


@step("the node plugin restarts while a pod writes")
def restart_node_plugin(kube, _):
    with load(kube, "node-restart") as more:
        before = kube.system_pods("skyvol-node")
        kube.delete("pod", *before, namespace=SYSTEM)
        more()
        kube.rolled_out("daemonset/skyvol-node")
        kube.wait("new pods", 60, lambda: not set(kube.system_pods("skyvol-node")) & set(before))


def processes(name, group="/kubepods"):
    """Pids of programs of the cluster: others of that name are none of our business."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "comm").read_text().strip() == name and group in (path / "cgroup").read_text():
                found.append(int(path.name))
    return found


def kill(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def mounters():
    return [int(pid) for group in mounter_groups() for pid in (group / "cgroup.procs").read_text().split()]


@step("mounters are killed while a pod writes")
def kill_mounters(kube, cluster):
    if not cluster:
        raise StepError("left out: mounters of another's node cannot be reached")
    with load(kube, "mounter-kill") as more:
        for _ in range(3):
            pids = mounters()
            assert pids, "no mounter is in a cgroup of its own"
            kill(pids)
            more()
            assert not set(pids) & set(mounters())


@step("the holder is replaced (maxSurge 1) while a pod writes")
def roll_holder(kube, cluster):
    with load(kube, "holder-roll") as more:
        before, pids = kube.system_pods("skyvol-holder"), mounters() if cluster else []
        kube.run("-n", SYSTEM, "rollout", "restart", "daemonset/skyvol-holder")
        kube.rolled_out("daemonset/skyvol-holder")
        more()
        kube.wait("the end of the old holder", 60,
                  lambda: not set(kube.system_pods("skyvol-holder")) & set(before))
        for name in before:
            kube.wait(f"the end of {name}", 60, lambda name=name: kube.get("pod", name, namespace=SYSTEM) is None)
        more()
        assert not cluster or pids == mounters(), "a mounter did not outlive its holder's pod"


@step("the holder's pod is killed while a pod writes")
def kill_holder(kube, cluster):
    with load(kube, "holder-kill") as more:
        before = kube.system_pods("skyvol-holder")
        kube.run("-n", SYSTEM, "delete", "pod", *before, "--force", "--grace-period=0")
        kube.rolled_out("daemonset/skyvol-holder")
        more()
    no_mounts(kube, cluster)


@step("supervisor, keeper, node plugin and all of them with the mounters are killed while a pod writes")
def kill_all(kube, cluster):
    if not cluster:
        raise StepError("left out: programs of another's node cannot be reached")
    supervisor, keeper, plugin = "holder-super", "skyvol-holder", "skyvol-node"
    with load(kube, "kill-all") as more:
        for names in ((supervisor,), (keeper,), (plugin,), (keeper, supervisor)):
            pids = [pid for name in names for pid in processes(name)]
            assert pids, f"no {names} runs"
            kill(pids + (mounters() if len(names) > 1 else []))
            kube.wait(f"another {names[0]}", 120, lambda names=names, pids=pids: set(processes(names[0])) - set(pids))
            more()
        kube.rolled_out("daemonset/skyvol-holder", "daemonset/skyvol-node")
    no_mounts(kube, cluster)


@step("kubelet restarts while a pod writes")
def restart_kubelet(kube, cluster):
    if not cluster:
        raise StepError("left out: another's kubelet is not restarted")
    with load(kube, "kubelet-restart") as more:
        cluster.end("kubelet")
        cluster.first.kubelet()
        kube.wait("the driver is known", 60, lambda: any(
            d["name"] == DRIVER for n in kube.items("csinodes") for d in n["spec"].get("drivers") or []))
        # What is in the API may be of before; of its pods it knows a moment after it has begun.
        kube.wait("kubelet knows its pods", 60, lambda: kube.execute("kubelet-restart", "echo a", check=False))
        more()
    no_mounts(kube, cluster)


# --- volumes that are not claimed --------------------------------------------

def bucket(kube, name, **objects):
    with kube.store() as s3:
        s3.create_bucket(Bucket=name)
        for key, text in objects.items():
            s3.put_object(Bucket=name, Key=key, Body=text.encode())


def keys(kube, name, **other):
    have = kube.secret("skyvol-s3-keys")
    data = {"accessKeyID": have["access_key"], "secretAccessKey": have["secret_key"],
            "endpoint": f"http://skyvol-s3.{SYSTEM}.svc:9000"} | other
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def static(kube, name, handle, secret):
    """A PersistentVolume of a bucket that exists, and the claim on it."""
    reference = {"name": secret, "namespace": kube.namespace}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
              "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"],
                       "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
                       "claimRef": {"namespace": kube.namespace, "name": name},
                       "csi": {"driver": DRIVER, "volumeHandle": handle, "nodeStageSecretRef": reference}}}
    return volume, kube.claim(name, storage_class="", volumeName=name)


def remove_static(kube, name):
    kube.delete("pod", name)
    kube.delete("pvc", name)
    kube.delete("pv", name)


@step("a bucket that exists is mounted by a static volume, and stays")
def static_volume(kube, cluster):
    bucket(kube, "team-data", there="before")
    kube.apply(keys(kube, "team-keys"), *static(kube, "static", "team-data", "team-keys"),
               kube.pod("static", "cat /data/there && echo new >/data/made", claim="static"))
    assert kube.succeeded("static") == "before"
    remove_static(kube, "static")
    no_mounts(kube, cluster)
    with kube.store() as s3:
        assert s3.get_object(Bucket="team-data", Key="made")["Body"].read() == b"new\n"


def inline(bucket_name, secret, **attributes):
    return {"csi": {"driver": DRIVER, "nodePublishSecretRef": {"name": secret},
                    "volumeAttributes": {"bucket": bucket_name} | attributes}}


@step("a pod has a bucket as an inline volume")
def ephemeral(kube, cluster):
    kube.apply(keys(kube, "team-keys"), kube.pod("inline", "cat /data/there; echo inline >/data/inline",
                                                 volume=inline("team-data", "team-keys")))
    assert kube.succeeded("inline") == "before"
    kube.delete("pod", "inline")
    no_mounts(kube, cluster)
    with kube.store() as s3:
        assert s3.get_object(Bucket="team-data", Key="inline")["Body"].read() == b"inline\n"


# --- what goes wrong is told, and nothing hangs ------------------------------

@contextlib.contextmanager
def ends_clean(kube, cluster, pod, seconds=60):
    """Whatever happens, the pod and what it has mounted can be removed."""
    try:
        yield
    finally:
        kube.delete("pod", pod, seconds=seconds)
        no_mounts(kube, cluster)


@step("wrong keys are told to the pod's owner")
def wrong_secret(kube, cluster):
    kube.apply(keys(kube, "wrong-keys", secretAccessKey="wrong"), *static(kube, "denied", "team-data", "wrong-keys"),
               kube.pod("denied", "cat /data/there", claim="denied"))
    with ends_clean(kube, cluster, "denied"):
        kube.says("denied", r"SignatureDoesNotMatch.*check the secret key")
    remove_static(kube, "denied")


@step("a bucket that does not exist is told to the pod's owner")
def wrong_bucket(kube, cluster):
    kube.apply(keys(kube, "team-keys"), *static(kube, "absent", "no-such-bucket", "team-keys"),
               kube.pod("absent", "ls /data", claim="absent"))
    with ends_clean(kube, cluster, "absent"):
        kube.says("absent", r"no-such-bucket.*NoSuchBucket|bucket .*no-such-bucket")
    remove_static(kube, "absent")


@step("a pod's inline volume does not get keys that the pod does not name")
def foreign_bucket(kube, cluster):
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "no-keys"}, "stringData": {"a": "b"}},
               kube.pod("stranger", "cat /data/there", volume=inline(
                   "team-data", "no-keys", endpoint=f"http://skyvol-s3.{SYSTEM}.svc:9000")))
    with ends_clean(kube, cluster, "stranger"):
        kube.says("stranger", r"keys|credentials")
        assert kube.phase("stranger") == "Pending"


@step("without the metadata server claims wait, and it is told")
def no_metaserver(kube, cluster):
    kube.apply(kube.claim("before"), kube.pod("before", "echo a >/data/a; sleep 1000", claim="before"))
    kube.running("before")
    kube.run("-n", SYSTEM, "scale", "statefulset/skyvol-meta", "--replicas=0")
    kube.wait("its end", 60, lambda: not kube.items(
        "pods", "-l=app.kubernetes.io/name=skyvol-meta", namespace=SYSTEM))
    try:
        kube.execute("before", "echo b >/data/b && cat /data/a /data/b")
        kube.apply(kube.claim("waits"))
        kube.says("waits", r"skyvol-meta at .*Connection refused")
        with ends_clean(kube, None, "before"):
            pass
    finally:
        kube.run("-n", SYSTEM, "scale", "statefulset/skyvol-meta", "--replicas=1")
    kube.rolled_out("statefulset/skyvol-meta")
    kube.apply(kube.pod("after", "echo c >/data/c", claim="waits"))
    kube.succeeded("after", 180)
    kube.delete("pod", "after")
    kube.delete("pvc", "waits", "before")
    no_mounts(kube, cluster)


def select(kube, name):
    kube.run("-n", SYSTEM, "patch", "service", "skyvol-s3", "-p",
             json.dumps({"spec": {"selector": {"app.kubernetes.io/name": name}}}))


@step("without the store pods wait, it is told, and they can be removed")
def no_store(kube, cluster):
    kube.apply(kube.claim("stored"), kube.pod("stored", "echo kept >/data/kept", claim="stored"))
    kube.succeeded("stored")
    kube.delete("pod", "stored")
    no_mounts(kube, cluster)
    select(kube, "nobody")  # the pod, in which all data lies, stays
    try:
        kube.apply(kube.pod("stored", "cat /data/kept", claim="stored"))
        with ends_clean(kube, cluster, "stored"):
            kube.says("stored", r"store|endpoint")
    finally:
        select(kube, "skyvol-s3")
    kube.apply(kube.pod("stored", "cat /data/kept", claim="stored"))
    assert kube.succeeded("stored", 180) == "kept\n"
    kube.delete("pod", "stored")
    kube.delete("pvc", "stored")

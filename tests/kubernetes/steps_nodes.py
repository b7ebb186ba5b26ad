# SPDX-License-Identifier: Apache-2.0
"""Two nodes: a volume that both have, one that only one may have, and what a node may not have at all."""
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kube import DRIVER, SYSTEM, StepError
from machine import KUBELET, wait
from steps import load, no_mounts, step, volume_of

SKYVOLCTL = Path(__file__).resolve().parent.parent.parent / os.environ.get("BUILD", "build") / "bin/skyvolctl"
DAEMONS = ("skyvol-holder", "skyvol-node")
ROUNDS = 15
SLEEP = "while :; do sleep 1; done"
ELSEWHERE = r"is mounted on node {0}, for that node alone: its lease ends at"


def with_driver(kube):
    return sorted(n["metadata"]["name"] for n in kube.items("csinodes")
                  if any(d["name"] == DRIVER for d in n["spec"].get("drivers") or []))


def both(kube, cluster):
    """Names of the two nodes."""
    if cluster and not cluster.second.pid():
        raise StepError("left out: there is no second node")
    found = [cluster.first.name, cluster.second.name] if cluster else with_driver(kube)[:2]
    if len(found) < 2:
        raise StepError("left out: this cluster has one node")
    return found


def on(node, pod, forced=False):
    """The pod there: by the scheduler, or without asking it."""
    pod["spec"] |= {"nodeName": node} if forced else {"nodeSelector": {"kubernetes.io/hostname": node}}
    return pod


JOIN = "a second node joins, and the holder and the node plugin run there, too"


@step(JOIN)
def join(kube, cluster):
    if cluster and not cluster.second.pid():
        cluster.second.join(cluster.images)
    nodes = both(kube, cluster)
    kube.wait("both know the driver", 240, lambda: set(nodes) <= set(with_driver(kube)))
    kube.rolled_out(*(f"daemonset/{name}" for name in DAEMONS))
    for name in DAEMONS:
        pods = kube.items("pods", f"-l=app.kubernetes.io/name={name}", namespace=SYSTEM)
        assert set(nodes) <= {p["spec"]["nodeName"] for p in pods}, f"{name} does not run on both"


@contextlib.contextmanager
def pair(kube, cluster, name, image=None):
    """A claim and a pod on each node that has it; gives the two pods' names."""
    nodes, pods = both(kube, cluster), [f"{name}-first", f"{name}-second"]
    kube.apply(kube.claim(name), *(on(node, kube.pod(pod, SLEEP, claim=name, image=image))
                                   for node, pod in zip(nodes, pods)))
    kube.running(*pods)
    assert [kube.get("pod", pod)["spec"]["nodeName"] for pod in pods] == nodes
    yield pods
    kube.delete("pod", *pods)
    kube.delete("pvc", name)
    no_mounts(kube, cluster)


@step("a pod on the second node and one on the first see what the other has written, appended, renamed and removed")
def share(kube, cluster):
    with pair(kube, cluster, "shared") as pods:
        def see(pod, script, wanted):
            said = kube.execute(pod, script)
            assert said == wanted, f"{pod}: {script}: {said[:200]!r} and not {wanted[:200]!r}"

        text = ""
        for n in range(6):  # close() on one, then open() on the other: at once
            text += f"line {n}\n"
            kube.execute(pods[n % 2], f"echo line {n} >>/data/lines")
            see(pods[1 - n % 2], "cat /data/lines", text)
        for one, other in (pods, pods[::-1]):
            digest = kube.execute(one, "head -c 5000000 /dev/urandom >/data/large && md5sum </data/large")
            see(other, "md5sum </data/large", digest)
            kube.execute(one, "mkdir /data/d && echo inside >/data/d/file && mv /data/lines /data/moved")
            see(other, "cat /data/d/file /data/moved", f"inside\n{text}")
            kube.execute(one, "mv /data/d /data/e && mv /data/moved /data/lines")
            see(other, "cat /data/e/file /data/lines", f"inside\n{text}")
            # What was there is believed for attr_timeout.
            kube.wait("names that have moved are gone", 20, lambda other=other: kube.execute(
                other, "echo /data/*").split() == ["/data/e", "/data/large", "/data/lines"])
            kube.execute(other, "rm -r /data/e /data/large")
            kube.wait("what was removed is gone", 20, lambda one=one: kube.execute(one, "echo /data/*") == "/data/lines\n")


@step("locks that a pod on one node holds are refused to one on the second node, and appends under them lose nothing")
def locks(kube, cluster):
    if not kube.tools:
        raise StepError("left out: TOOLS names no image with flock and Python")
    with pair(kube, cluster, "locked", image=kube.tools) as pods:
        # Who has a new file open has it alone: two that make one would have a conflict.
        kube.execute(pods[0], ": >/data/lock; : >/data/ranges")
        for one, other in (pods, pods[::-1]):
            flock(kube, one, other)
            ranges(kube, one, other)
        kube.execute(pods[0], ": >/data/log")
        script = (f"set -e; i=0; while [ $i -lt {ROUNDS} ]; do i=$((i+1)); "
                  "flock /data/lock sh -c \"echo {0} $i >>/data/log\"; done")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda pod: kube.execute(pod, script.format(pod), timeout=300), pods))
        wanted = sorted(f"{pod} {i}" for pod in pods for i in range(1, ROUNDS + 1))
        for pod in pods:
            have = kube.execute(pod, "cat /data/log").splitlines()
            assert sorted(have) == wanted, f"{pod} sees {len(have)} lines: {have}"
        left = kube.execute(pods[0], "ls -A /data").split()
        assert left == ["lock", "log", "ranges"], left


def flock(kube, one, other):
    kube.execute(one, "rm -f /tmp/held; echo $$ >/tmp/holds; "
                 "exec flock /data/lock sh -c 'touch /tmp/held; while [ ! -e /tmp/free ]; do sleep 0.1; done' "
                 "</dev/null >/dev/null 2>&1 &")
    kube.wait("the lock", 30, lambda: kube.execute(one, "ls /tmp/held", check=False))
    for how in ("-n", "-n -s"):
        said = kube.execute(other, f"flock {how} /data/lock true && echo given || echo refused")
        assert said == "refused\n", f"flock {how} on the other node is {said}"
    kube.execute(other, "rm -f /tmp/given; flock /data/lock touch /tmp/given </dev/null >/dev/null 2>&1 &")
    assert not kube.execute(other, "sleep 1; ls /tmp/given 2>/dev/null || true")
    kube.execute(one, "touch /tmp/free")
    kube.wait("who waits for the lock gets it", 30, lambda: kube.execute(other, "ls /tmp/given", check=False))
    kube.execute(one, "rm /tmp/free /tmp/held")


# Holds bytes 0 to 9, until its standard input ends or it is killed.
HOLD = """
import fcntl, os
file = open("/data/ranges", "a+")
fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
open("/tmp/range", "w").write(str(os.getpid()))
while not os.path.exists("/tmp/never"):
    __import__("time").sleep(0.1)
"""
TRY = """
import fcntl
file = open("/data/ranges", "a+")
for begin in (0, 10):
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, begin)
        print("given")
    except BlockingIOError:
        print("refused")
"""


def ranges(kube, one, other):
    """fcntl locks are of bytes; they end with the process that has them."""
    kube.execute(one, f"python3 -c '{HOLD}' </dev/null >/dev/null 2>&1 &")
    kube.wait("the lock of bytes", 30, lambda: kube.execute(one, "ls /tmp/range", check=False))
    said = kube.execute(other, f"python3 -c '{TRY}'")
    assert said == "refused\ngiven\n", f"fcntl on the other node is {said}"
    kube.execute(one, "kill -9 $(cat /tmp/range) && rm /tmp/range")
    kube.wait("the lock of who was killed", 30,
              lambda: kube.execute(other, f"python3 -c '{TRY}'") == "given\ngiven\n")


@step("ReadWriteOncePod and ReadWriteOnce are refused to pods on the second node, until the first one has ended")
def alone(kube, cluster):
    first, second = both(kube, cluster)
    for mode in ("ReadWriteOncePod", "ReadWriteOnce"):
        name = mode.lower()
        kube.apply(kube.claim(name, mode), on(first, kube.pod(f"{name}-has", f"echo mine >/data/file; {SLEEP}", claim=name)))
        kube.running(f"{name}-has")
        kube.apply(on(second, kube.pod(f"{name}-waits", "cat /data/file", claim=name)))
        if mode == "ReadWriteOncePod":  # the scheduler knows this one; who does not ask it is refused by us
            kube.says(f"{name}-waits", "ReadWriteOncePod")
            kube.apply(on(second, kube.pod(f"{name}-forced", "cat /data/file", claim=name), forced=True))
            kube.says(f"{name}-forced", ELSEWHERE.format(first))
            assert kube.phase(f"{name}-forced") == "Pending"
            kube.delete("pod", f"{name}-forced")
        else:
            kube.says(f"{name}-waits", ELSEWHERE.format(first))
        assert kube.phase(f"{name}-waits") == "Pending"
        assert kube.execute(f"{name}-has", "cat /data/file") == "mine\n"
        kube.delete("pod", f"{name}-has")
        assert kube.succeeded(f"{name}-waits", 180) == "mine\n"
        kube.delete("pod", f"{name}-waits")
        kube.delete("pvc", name)
        no_mounts(kube, cluster)


# --- whose a volume is -------------------------------------------------------

def staged(volume):
    """Where kubelet has a volume staged."""
    name = hashlib.sha256(volume["spec"]["csi"]["volumeHandle"].encode()).hexdigest()
    return KUBELET / "plugins/kubernetes.io/csi" / DRIVER / name / "globalmount"


class Plugin:
    """The second node's plugin, asked as kubelet does: by who has that node, or by mistake."""

    def __init__(self, cluster):
        directory = KUBELET / "plugins" / DRIVER
        self.socket, self.target = cluster.second.path(directory / "csi.sock"), directory / "of-the-test/target"
        self.staging = self.target.parent / "staging"  # where kubelet has none
        cluster.second.path(self.staging).mkdir(parents=True)

    def call(self, method, **message):
        """What is wrong with it, or nothing."""
        done = subprocess.run([SKYVOLCTL, "csi", "call", "--request", "-", self.socket, f"Node.{method}"],
                              input=json.dumps(message), text=True, capture_output=True, check=False, timeout=120)
        return done.stderr if done.returncode else ""

    def publish(self, volume, token, where):
        csi = volume["spec"]["csi"]
        context = csi["volumeAttributes"] | ({"csi.storage.k8s.io/serviceAccount.tokens": json.dumps(
            {"skyvol-meta": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}})} if token else {})
        wish = {"volumeId": csi["volumeHandle"], "volumeContext": context, "stagingTargetPath": str(where),
                "volumeCapability": {"mount": {}, "accessMode": {"mode": "MULTI_NODE_MULTI_WRITER"}}}
        return self.call("NodeStageVolume", **wish) or self.call("NodePublishVolume", **wish, targetPath=str(self.target))

    def end(self, volume):
        handle = volume["spec"]["csi"]["volumeHandle"]
        return self.call("NodeUnpublishVolume", volumeId=handle, targetPath=str(self.target))


def token_by(kube, node, pod):
    """What the API server gives to the node's kubelet for a pod, or what it says."""
    done = subprocess.run([kube.command[0], f"--kubeconfig={node.kubeconfig()}", "-n", kube.namespace, "create", "token",
                           "default", "--audience=skyvol-meta", "--bound-object-kind=Pod", f"--bound-object-name={pod}",
                           f"--bound-object-uid={kube.get('pod', pod)['metadata']['uid']}"], check=False, text=True,
                          capture_output=True, timeout=60)
    return (done.returncode == 0, (done.stdout if done.returncode == 0 else done.stderr).strip())


@step("the second node gets no volume of a pod on the first one: neither the API server nor skyvol-meta lets it")
def identity(kube, cluster):
    if not cluster:
        raise StepError("left out: another's node cannot be taken over")
    nodes = both(kube, cluster)
    names = ["of-first", "of-second"]
    kube.apply(*(kube.claim(name) for name in names), *(
        on(node, kube.pod(name, f"echo {name} >/data/file; {SLEEP}", claim=name)) for node, name in zip(nodes, names)))
    kube.running(*names)
    theirs, own = (kube.get("pv", volume_of(kube, name)) for name in names)
    given, said = token_by(kube, cluster.second, "of-first")
    assert not given and "forbidden" in said.lower(), f"the second node's kubelet asks for the other's token: {said[:300]}"
    stolen, mine = token_by(kube, cluster.first, "of-first"), token_by(kube, cluster.second, "of-second")
    assert stolen[0] and mine[0], f"a kubelet gets no token for its own pod: {stolen[1][:200]} {mine[1][:200]}"
    plugin = Plugin(cluster)
    try:
        for what, token, says in (("no token", None, "with the token of a pod that has it"),
                                  ("the token of a pod of its own", mine[1], "no claim that is bound to"),
                                  ("a stolen token", stolen[1], f"runs on node {nodes[0]} and not on {nodes[1]}")):
            wrong = plugin.publish(theirs, token, plugin.staging)
            assert says in wrong, f"with {what} the second node's plugin says: {wrong[-400:] or 'here it is'}"
        wrong = plugin.publish(own, mine[1], staged(own))
        assert not wrong, f"its own pod's volume: {wrong[-400:]}"
        assert cluster.second.path(plugin.target / "file").read_text() == "of-second\n"
    finally:
        wrong = [w for w in (plugin.end(theirs), plugin.end(own), plugin.call(
            "NodeUnstageVolume", volumeId=theirs["spec"]["csi"]["volumeHandle"], stagingTargetPath=str(plugin.staging))) if w]
    assert not wrong, wrong
    shutil.rmtree(cluster.second.path(plugin.target.parent))
    kube.delete("pod", *names)
    kube.delete("pvc", *names)
    no_mounts(kube, cluster)


@step("holder and node plugin are replaced on both while a pod on the first and one on the second node write")
def roll_both(kube, cluster):
    first, second = both(kube, cluster)
    with load(kube, "roll-first", node=first) as more, load(kube, "roll-second", node=second) as more_there:
        before = {name: set(kube.system_pods(name)) for name in DAEMONS}
        for name in DAEMONS:
            kube.run("-n", SYSTEM, "rollout", "restart", f"daemonset/{name}")
            kube.rolled_out(f"daemonset/{name}")
            kube.wait(f"the end of the old pods of {name}", 90,
                      lambda name=name: not before[name] & set(kube.system_pods(name)))
            more()
            more_there()
    no_mounts(kube, cluster)


@step("the second node is switched off, and nothing of it stays")
def leave(kube, cluster):
    if not cluster:
        raise StepError("left out: another's node is not switched off")
    if not cluster.second.dir.exists():
        raise StepError("left out: there is no second node")
    name = cluster.second.name
    cluster.second.leave()
    kube.run("delete", "node", name, "--ignore-not-found")
    kube.run("delete", "pods", "-A", f"--field-selector=spec.nodeName={name}", "--force", "--grace-period=0")
    kube.rolled_out(*(f"daemonset/{name}" for name in DAEMONS))
    wait("one node", 60, lambda: with_driver(kube) == [cluster.first.name])

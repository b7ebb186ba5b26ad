# SPDX-License-Identifier: Apache-2.0
"""A node gets the volumes of the pods that run on it, by their tokens, and no others.

skyvol-meta serves TCP with certificates here, and the node has one of its own: over the unix socket, which
the operator has, everything is allowed.
"""
import json
import subprocess
import time

import pytest
from conftest import ROOT, free_port, listening, program, tool, wait_until
from fake_kube import FakeKube, add_pod

TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


class Refused(Exception):
    pass


@pytest.fixture
def kube():
    server = FakeKube()
    yield server
    server.close()


class Meta:
    """skyvol-meta with certificates, a store, volumes; calls as a node or as an operator."""

    def __init__(self, workdir, processes, kube, *options):
        self.dir, self.port = workdir, free_port()
        certs = workdir / "certs"
        for arguments in (("init", certs), ("issue", certs, "meta", "--host", "127.0.0.1"),
                          ("issue", certs, "node", "--host", "skyvol-node"),
                          ("issue", certs, "client", "--host", "skyvol-client")):
            subprocess.run([program("skyvolctl"), "certs", *arguments], check=True, capture_output=True)
        self.certs = certs
        self.process = processes.start(
            [program("skyvol-meta"), "--listen", f"unix:{workdir}/meta.sock,127.0.0.1:{self.port}", "--database",
             workdir / "meta.db", "--seal-key-file", workdir / "seal.keys", "--tls-ca-file", certs / "ca.crt",
             "--tls-cert-file", certs / "meta.crt", "--tls-key-file", certs / "meta.key", "--pod-tokens",
             "--log-level", "debug", *kube.options(workdir), *options], "meta")
        wait_until(lambda: listening(self.port), what="skyvol-meta", process=self.process)
        self.call("operator", "Stores/AddStore",
                  store={"name": "default", "location": f"dir://{workdir}/store"})

    def tls(self, name):
        return ["--tls-ca-file", self.certs / "ca.crt", "--tls-cert-file", self.certs / f"{name}.crt",
                "--tls-key-file", self.certs / f"{name}.key"]

    def call(self, who, method, **message):
        if who == "operator":
            where = ["-plaintext", "-unix"]
            address = self.dir / "meta.sock"
        else:
            where = ["-cacert", self.certs / "ca.crt", "-cert", self.certs / f"{who}.crt", "-key",
                     self.certs / f"{who}.key"]
            address = f"127.0.0.1:{self.port}"
        done = subprocess.run([tool("grpcurl"), *where, "-max-time", "30", "-import-path", ROOT / "proto", "-proto",
                               "skyvol/meta/v1/meta.proto", "-d", json.dumps(message), address,
                               f"skyvol.meta.v1.{method}"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout)

    def volume(self, name):
        return self.call("operator", "Volumes/CreateVolume", name=name)["volume"]["id"]

    def attach(self, volume, token="", node="node-1", who="node"):
        return self.call(who, "Volumes/AttachVolume", id=volume, node=node, pod_token=token)

    def refused(self, *arguments, **more):
        with pytest.raises(Refused) as found:
            self.attach(*arguments, **more)
        return str(found.value)


@pytest.fixture
def meta(workdir, processes, kube):
    return Meta(workdir, processes, kube)


def test_the_token_of_a_pod_opens_its_volume_on_its_node(meta, kube):
    mine, other = meta.volume("mine"), meta.volume("other")
    _, token = add_pod(kube, volume=mine)
    answer = meta.attach(mine, token)
    assert answer["volume"]["id"] == mine and answer["volumeToken"]
    assert kube.calls("POST", "/tokenreviews")[0]["body"].count('"skyvol-meta"') == 1
    text = meta.refused(other, token)
    assert "PermissionDenied" in text and "no claim that is bound to" in text
    assert "node-2" in meta.refused(mine, token, node="node-2")
    asked = len(kube.calls())
    meta.attach(mine, token)
    assert len(kube.calls()) == asked, "what was found to be so is believed for a while"
    assert token not in meta.process.log.read_text()


def test_what_is_no_token_of_a_pod_opens_nothing(meta, kube):
    volume = meta.volume("mine")
    _, token = add_pod(kube, volume=volume)
    text = meta.refused(volume)
    assert "Unauthenticated" in text and "tokenRequests" in text and "--pod-tokens" in text
    assert "Unauthenticated" in meta.refused(volume, "made-up")
    asked = len(kube.calls())
    assert "Unauthenticated" in meta.refused(volume, "x" * 70000) and len(kube.calls()) == asked
    kube.tokens[token]["audiences"] = ["https://kubernetes.default.svc"]
    assert "audience skyvol-meta" in meta.refused(volume, token)
    kube.tokens[token]["audiences"] = ["skyvol-meta"]
    extra = kube.tokens[token].pop("extra")
    assert "not bound to a pod" in meta.refused(volume, token)
    kube.tokens[token].update(extra=extra, username="admin")
    assert "not bound to a pod" in meta.refused(volume, token)


def edit(kube, volume, part, change):
    found = kube.get("v1", "persistentvolumes", f"pv-{volume}")
    found["spec"][part].update(change)
    kube.put("v1", "persistentvolumes", found)


BREAKS = {
    "the pod is gone": (lambda k, p, v: k.remove("v1", "pods", p["metadata"]["name"], "team"), "is gone"),
    "another pod has its name": (
        lambda k, p, v: k.put("v1", "pods", {**p, "metadata": {**p["metadata"], "uid": "another"}}), "is gone"),
    "it runs elsewhere": (
        lambda k, p, v: k.put("v1", "pods", {**p, "spec": {**p["spec"], "nodeName": "node-2"}}), "runs on node node-2"),
    "it has no volumes": (lambda k, p, v: k.put("v1", "pods", {**p, "spec": {**p["spec"], "volumes": []}}), "no claim"),
    "its claim is gone": (lambda k, p, v: k.remove("v1", "persistentvolumeclaims", f"claim-{v}", "team"), "no claim"),
    "the volume is gone": (lambda k, p, v: k.remove("v1", "persistentvolumes", f"pv-{v}"), "no claim"),
    "another driver's": (lambda k, p, v: edit(k, v, "csi", {"driver": "other.csi.io"}), "no claim"),
    "an older claim's": (lambda k, p, v: edit(k, v, "claimRef", {"uid": "of-an-older-claim"}), "no claim"),
    "another namespace's": (lambda k, p, v: edit(k, v, "claimRef", {"namespace": "other-team"}), "no claim"),
    "another claim's": (lambda k, p, v: edit(k, v, "claimRef", {"name": "other"}), "no claim"),
}


def test_every_step_from_pod_to_volume_must_hold(meta, kube):
    for case, (change, words) in BREAKS.items():
        volume = meta.volume(case)
        pod, token = add_pod(kube, volume=volume, claim=f"claim-{volume}")
        change(kube, pod, volume)
        text = meta.refused(volume, token)
        assert "PermissionDenied" in text and words in text, case
        assert "not found" not in text.lower(), case


def test_a_claim_that_names_the_volume_of_others_opens_nothing(meta, kube):
    """The author of a pod can write any volumeName into a claim of his own."""
    volume = meta.volume("mine")
    add_pod(kube, volume=volume)
    _, token = add_pod(kube, volume="nothing", claim="greedy", space="evil")
    claim = kube.get("v1", "persistentvolumeclaims", "greedy", "evil")
    claim["spec"]["volumeName"] = f"pv-{volume}"
    kube.put("v1", "persistentvolumeclaims", claim)
    assert "PermissionDenied" in meta.refused(volume, token)


def test_an_ephemeral_claim_counts_when_it_is_the_pods_own(meta, kube):
    volume = meta.volume("mine")
    pod, token = add_pod(kube, claim="web-scratch", volume=volume, name="web")
    pod["spec"]["volumes"] = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]
    kube.put("v1", "pods", pod)
    assert "PermissionDenied" in meta.refused(volume, token), "somebody's claim of that name"
    claim = kube.get("v1", "persistentvolumeclaims", "web-scratch", "team")
    claim["metadata"]["ownerReferences"] = [{"kind": "Pod", "uid": pod["metadata"]["uid"]}]
    kube.put("v1", "persistentvolumeclaims", claim)
    meta.attach(volume, token)


def test_an_api_server_in_trouble_refuses_nobody_for_good(meta, kube, workdir):
    volume = meta.volume("mine")
    _, token = add_pod(kube, volume=volume)
    kube.fault(path="/tokenreviews", status=429, headers={"Retry-After": "1"})
    kube.fault(path="/persistentvolumes/", status=200, body={"kind": "PersistentVolume", "pad": "x" * 999}, cut=100)
    kube.fault(path="/pods/", drop=True)
    kube.fault(path="/persistentvolumeclaims/", delay=0.5)
    meta.attach(volume, token)
    assert not [f for f in kube.faults if f["times"]]
    _, token = add_pod(kube, volume=volume)
    kube.fault(path="/tokenreviews", status=403, body={"reason": "Forbidden", "message": "no"})
    text = meta.refused(volume, token)
    assert "Unavailable" in text and "ClusterRole" in text
    kube.own_tokens = {"another-token"}
    assert "Unavailable" in meta.refused(volume, token)
    kube.save_token(workdir / "kube-token", "another-token")
    meta.attach(volume, token)


def test_an_api_server_that_hangs_is_left_and_the_end_does_not_wait_for_it(meta, kube, processes):
    volume = meta.volume("mine")
    _, token = add_pod(kube, volume=volume)
    kube.fault(path="/tokenreviews", delay=60)
    hanging = subprocess.Popen(
        [tool("grpcurl"), "-cacert", meta.certs / "ca.crt", "-cert", meta.certs / "node.crt", "-key",
         meta.certs / "node.key", "-import-path", ROOT / "proto", "-proto", "skyvol/meta/v1/meta.proto", "-d",
         json.dumps({"id": volume, "node": "node-1", "pod_token": token}), f"127.0.0.1:{meta.port}",
         "skyvol.meta.v1.Volumes/AttachVolume"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: kube.calls("POST", "/tokenreviews"), what="the review")
    began = time.monotonic()
    processes.stop(meta.process)
    assert time.monotonic() - began < 10
    assert hanging.wait(10) != 0


def test_who_waits_for_the_api_server_holds_up_nobody_else(meta, kube):
    """Renewals of sessions must not wait for it, or every mount would lose its locks."""
    volume = meta.volume("mine")
    _, token = add_pod(kube, volume=volume)
    kube.fault(times=1000, path="/tokenreviews", delay=60)
    waiting = [subprocess.Popen(
        [tool("grpcurl"), "-cacert", meta.certs / "ca.crt", "-cert", meta.certs / "node.crt", "-key",
         meta.certs / "node.key", "-import-path", ROOT / "proto", "-proto", "skyvol/meta/v1/meta.proto", "-d",
         json.dumps({"id": volume, "node": "node-1", "pod_token": token}), f"127.0.0.1:{meta.port}",
         "skyvol.meta.v1.Volumes/AttachVolume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(20)]
    try:
        wait_until(lambda: len(kube.calls("POST", "/tokenreviews")) >= 16, what="the reviews")
        assert meta.call("operator", "Volumes/GetVolume", id=volume)["volume"]["id"] == volume
        assert [w.poll() for w in waiting] == [None] * 20
    finally:
        for one in waiting:
            one.kill()
            one.wait()


def test_a_node_may_do_what_mounts_do_and_nothing_else(meta, kube):
    volume = meta.volume("mine")
    for method, message in {"AccessKeys/FetchAccessKeys": {}, "AccessKeys/ListAccessKeys": {},
                            "Stores/ListStores": {}, "Volumes/ListVolumes": {}, "Volumes/GetVolume": {"id": volume},
                            "Volumes/DeleteVolume": {"id": volume}, "Volumes/CreateVolume": {"name": "x"},
                            "Sessions/ListSessions": {"volume_id": volume},
                            "Admin/Backup": {"file": "/tmp/none"}}.items():
        with pytest.raises(Refused, match="PermissionDenied"):
            meta.call("node", method, **message)
    assert meta.call("client", "Volumes/ListVolumes")["volumes"][0]["id"] == volume
    _, token = add_pod(kube, volume=volume)
    opened = meta.call("node", "Sessions/OpenSession", volume_id=volume, node="node-1", mount="m",
                       volume_token=meta.attach(volume, token)["volumeToken"])
    meta.call("node", "Sessions/CloseSession", session_id=opened["sessionId"], epoch=opened["epoch"])


def test_the_volume_token_is_for_this_volume_and_node(meta, kube):
    mine, other = meta.volume("mine"), meta.volume("other")
    _, token = add_pod(kube, volume=mine)
    volume_token = meta.attach(mine, token)["volumeToken"]
    for wrong in ({"volume_id": other, "node": "node-1"}, {"volume_id": mine, "node": "node-2"}):
        with pytest.raises(Refused, match="Unauthenticated"):
            meta.call("node", "Sessions/OpenSession", mount="m", volume_token=volume_token, **wrong)


# ---- the whole way, from kubelet's call ----

class Node:
    def __init__(self, workdir, processes, meta):
        self.dir = workdir
        for name in ("state", "mounts", "pods"):
            (workdir / name).mkdir()
        processes.start([program("skyvol-holder"), "--socket", workdir / "holder.sock"])
        self.process = processes.start(
            [program("skyvol-node"), "--endpoint", f"unix://{workdir}/node.sock", "--holder", workdir / "holder.sock",
             "--meta", f"127.0.0.1:{meta.port}", *meta.tls("node"), "--state-dir", workdir / "state", "--mounts-dir",
             workdir / "mounts", "--node-id", "node-1", "--pod-tokens", "--log-level", "debug"], "node")
        wait_until(lambda: "msg=ready" in self.process.log.read_text(), what="node plugin", process=self.process)
        wait_until((workdir / "holder.sock").exists, what="holder")

    def call(self, method, **message):
        done = subprocess.run([program("skyvolctl"), "csi", "call", "--request", "-", self.dir / "node.sock",
                               f"Node.{method}"], input=json.dumps(message), text=True, capture_output=True,
                              check=False, timeout=90)
        if done.returncode:
            raise Refused(done.stderr)

    def volume(self, volume):
        return {"volumeId": volume, "volumeContext": {"skyvol.io/managed": "true"},
                "stagingTargetPath": f"{self.dir}/staging",
                "volumeCapability": {"mount": {}, "accessMode": {"mode": "MULTI_NODE_MULTI_WRITER"}}}

    def stage(self, volume):
        self.call("NodeStageVolume", **self.volume(volume))

    def publish(self, volume, pod, token, where="secrets"):
        wish = self.volume(volume)
        if token:
            wish.setdefault(where, {})[TOKENS] = json.dumps(
                {"other": {"token": "not-this-one"},
                 "skyvol-meta": {"token": token, "expirationTimestamp": "2030-01-01T00:00:00Z"}})
        self.call("NodePublishVolume", **wish, targetPath=f"{self.dir}/pods/{pod}")
        return self.dir / "pods" / pod


@pytest.mark.parametrize("where", ["secrets", "volumeContext"])
def test_a_pod_gets_its_volume_by_the_token_that_kubelet_passes(workdir, processes, meta, kube, where):
    volume = meta.volume("mine")
    node = Node(workdir, processes, meta)
    _, token = add_pod(kube, volume=volume)
    node.stage(volume)
    first = node.publish(volume, "one", token, where)
    (first / "file").write_text("bytes")
    with pytest.raises(Refused, match="tokenRequests"):
        node.publish(volume, "two", None)
    assert not (workdir / "pods" / "two" / "file").exists()
    _, second_token = add_pod(kube, volume=volume)
    assert (node.publish(volume, "two", second_token, where) / "file").read_text() == "bytes"
    _, evil = add_pod(kube, volume="nothing", claim="greedy", space="evil")
    with pytest.raises(Refused, match="no claim that is bound to"):
        node.publish(volume, "three", evil, where)
    node.publish(volume, "one", evil, where)  # what is published stays so, with the keys that it has
    for pod in ("one", "two"):
        node.call("NodeUnpublishVolume", volumeId=volume, targetPath=f"{workdir}/pods/{pod}")
    node.call("NodeUnstageVolume", volumeId=volume, stagingTargetPath=f"{workdir}/staging")
    log = node.process.log.read_text() + meta.process.log.read_text()
    assert token not in log and second_token not in log and evil not in log
    for record in (workdir / "state").iterdir():
        assert token not in record.read_text()

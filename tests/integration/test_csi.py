# SPDX-License-Identifier: Apache-2.0
"""Controller and node plugin by CSI calls, with holder, mounter and metaserver behind them.

The rules that real incidents have taught other drivers are tests here: what may be unmounted, what
may be removed, what a restart must remember, and that nothing waits for a stalled store.
"""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time

import pytest

import holder_client
from conftest import ROOT, free_port, listening, mounts_below, program, stop_whole, tool, wait_until
from test_s3 import Endpoint, make_certificate

RWX, RWO, RWOP, RWO_MANY, ROX = ("MULTI_NODE_MULTI_WRITER", "SINGLE_NODE_WRITER",
                                 "SINGLE_NODE_SINGLE_WRITER", "SINGLE_NODE_MULTI_WRITER",
                                 "MULTI_NODE_READER_ONLY")


class Refused(Exception):
    pass


def capability(mode=RWX, **mount):
    return {"mount": mount, "accessMode": {"mode": mode}}


class Csi:
    """One node, a metaserver with the embedded store, and the calls."""

    def __init__(self, workdir, processes):
        self.dir, self.processes = workdir, processes
        self.count = 0
        for name in ("state", "mounts", "pods"):
            (workdir / name).mkdir()
        self.holder = self.start_holder()
        self.meta = processes.start(
            [program("skyvol-meta"), "--listen", f"unix:{workdir}/meta.sock", "--database",
             workdir / "meta.db", "--seal-key-file", workdir / "seal.keys"])
        self.controller = processes.start(
            [program("skyvol-controller"), "--endpoint", f"unix://{workdir}/controller.sock",
             "--meta", f"unix:{workdir}/meta.sock", "--allow-endpoints", "127.0.0.1"])
        self.node = self.start_node()
        for name in ("meta", "controller", "holder"):
            wait_until((workdir / f"{name}.sock").exists, what=f"{name}.sock")
        subprocess.run(
            [tool("grpcurl"), "-plaintext", "-unix", "-import-path", ROOT / "proto", "-proto",
             "skyvol/meta/v1/meta.proto", "-d",
             json.dumps({"store": {"name": "default", "location": f"dir://{workdir}/store"}}),
             workdir / "meta.sock", "skyvol.meta.v1.Stores/AddStore"], check=True,
            capture_output=True)

    def start_holder(self, *options, **more):
        return self.processes.start([program("skyvol-holder"), "--socket",
                                     self.dir / "holder.sock", *options], **more)

    def start_node(self, *options, allow="127.0.0.1"):
        """Endpoints of Secrets and pods are users': those of these tests must be allowed."""
        self.count += 1
        if allow:
            options += ("--allow-endpoints", allow)
        node = self.processes.start(
            [program("skyvol-node"), "--endpoint", f"unix://{self.dir}/node.sock", "--holder",
             self.dir / "holder.sock", "--meta", f"unix:{self.dir}/meta.sock", "--state-dir",
             self.dir / "state", "--mounts-dir", self.dir / "mounts", "--node-id", "node-1",
             "--log-level", "debug", *options], f"node{self.count}")
        wait_until(lambda: "msg=ready" in node.log.read_text(), what="node plugin", process=node)
        return node

    def run(self, socket, method, message, *options):
        done = subprocess.run([program("skyvolctl"), "csi", "call", "--request", "-", *options,
                               self.dir / socket, method], input=json.dumps(message), text=True,
                              capture_output=True, check=False, timeout=90)
        if done.returncode:
            raise Refused(done.stderr)
        return json.loads(done.stdout or "{}")

    def call(self, method, **message):
        return self.run("controller.sock" if method.startswith("Controller.") else "node.sock",
                        method, message)

    def create(self, name="claim", **more):
        return self.call("Controller.CreateVolume", name=name, volumeCapabilities=[capability()],
                         **more)["volume"]

    def gone(self, volume_id, **more):
        """True once the volume is deleted; what is not final may be asked again."""
        try:
            self.call("Controller.DeleteVolume", volumeId=volume_id, **more)
        except Refused as why:
            assert "ABORTED" in str(why).upper()
            return False
        return True

    def target(self, pod):
        return str(self.dir / "pods" / pod)


@pytest.fixture
def csi(workdir, processes):
    return Csi(workdir, processes)


class Volume:
    """One volume on the node, with the words that stage and publish repeat."""

    def __init__(self, csi, volume_id, context, mode=RWX, **stage):
        self.csi, self.stage_more = csi, stage
        self.wish = {"volumeId": volume_id, "volumeContext": context,
                     "stagingTargetPath": str(csi.dir / "staging"),
                     "volumeCapability": capability(mode)}

    def stage(self, **more):
        return self.csi.call("Node.NodeStageVolume", **{**self.wish, **self.stage_more, **more})

    def publish(self, pod="pod", **more):
        self.csi.call("Node.NodePublishVolume",
                      **{**self.wish, "targetPath": self.csi.target(pod), **more})
        return pathlib.Path(self.csi.target(pod))

    def unpublish(self, pod="pod"):
        self.csi.call("Node.NodeUnpublishVolume", volumeId=self.wish["volumeId"],
                      targetPath=self.csi.target(pod))

    def unstage(self):
        self.csi.call("Node.NodeUnstageVolume", volumeId=self.wish["volumeId"],
                      stagingTargetPath=self.wish["stagingTargetPath"])

    def stats(self, pod="pod"):
        return self.csi.call("Node.NodeGetVolumeStats", volumeId=self.wish["volumeId"],
                             volumePath=self.csi.target(pod))


@pytest.fixture
def volume(csi):
    made = csi.create(capacityRange={"requiredBytes": 1 << 30})
    return Volume(csi, made["volumeId"], made["volumeContext"])


@pytest.fixture
def bucket(minio):
    minio.client().create_bucket(Bucket="team-data")
    return minio


def keys(endpoint):
    return {"accessKeyID": endpoint.access_key, "secretAccessKey": endpoint.secret_key,
            "endpoint": endpoint.url}


def test_a_node_without_a_holder_says_so_once_and_when_it_is_there(workdir, processes):
    node = processes.start([program("skyvol-node"), "--endpoint", f"unix://{workdir}/node.sock", "--holder",
                            workdir / "holder.sock", "--state-dir", workdir / "state", "--mounts-dir",
                            workdir / "mounts", "--node-id", "node-1"], "alone")
    missing = "no volume can be mounted on this node until it runs"
    wait_until(lambda: missing in node.log.read_text(), what="a word about it", process=node)
    holder = processes.start([program("skyvol-holder"), "--socket", workdir / "holder.sock"])
    wait_until(lambda: 'msg="skyvol-holder answers"' in node.log.read_text(), what="another word", process=node)
    assert node.log.read_text().count(missing) == 1
    processes.stop(holder)
    wait_until(lambda: node.log.read_text().count(missing) == 2, what="the same again", process=node)


def test_a_claim_becomes_files_and_leaves_nothing_behind(csi, volume):
    volume.stage()
    here = volume.publish()
    (here / "a").write_text("hello")
    assert (volume.publish("other") / "a").read_text() == "hello"
    usage = volume.stats()
    assert {u["unit"] for u in usage["usage"]} >= {"BYTES"}
    assert not usage["volumeCondition"].get("abnormal", False)
    for pod in ("pod", "other"):
        volume.unpublish(pod)
        volume.unpublish(pod)
        assert not os.path.lexists(csi.target(pod))
    volume.unstage()
    volume.unstage()
    volume.stage()
    assert (volume.publish() / "a").read_text() == "hello"
    volume.unpublish()
    volume.unstage()
    assert os.listdir(csi.dir / "state") == [] and mounts_below(csi.dir) == []

    wait_until(lambda: csi.gone(volume.wish["volumeId"]), what="deletion")
    csi.call("Controller.DeleteVolume", volumeId=volume.wish["volumeId"])


def test_the_same_bytes_are_in_the_bucket(csi, bucket):
    v = Volume(csi, "team-data/exp", {"region": "us-east-1"}, secrets=keys(bucket))
    v.stage()
    (v.publish() / "x").write_bytes(b"1234")
    got = bucket.client().get_object(Bucket="team-data", Key="exp/x")["Body"].read()
    assert got == b"1234"
    v.unpublish()
    v.unstage()


def test_inline_volumes_need_no_stage_and_go_with_their_pod(csi, bucket):
    csi.processes.stop(csi.node)
    csi.node = csi.start_node(allow=bucket.url)
    v = Volume(csi, "csi-0123", {"bucket": "team-data", "csi.storage.k8s.io/ephemeral": "true"},
               mode=RWO)
    del v.wish["stagingTargetPath"]
    (v.publish(secrets=keys(bucket)) / "x").write_text("inline")
    v.unpublish()
    assert bucket.client().get_object(Bucket="team-data", Key="x")["Body"].read() == b"inline"
    wait_until(lambda: not mounts_below(csi.dir) and not os.listdir(csi.dir / "state"),
               what="the end of the unused mount")


@pytest.fixture
def unlisted(csi):
    """The node as it is where the operator allows no endpoint by name."""
    csi.processes.stop(csi.node)
    csi.node = csi.start_node(allow="")
    return csi


@pytest.fixture
def own_name():
    """A name that resolves to this machine, and does not look so."""
    host = socket.gethostname()
    try:
        if not socket.gethostbyname(host).startswith("127."):
            pytest.skip(f"{host} does not resolve to a loopback address")
    except OSError:
        pytest.skip(f"{host} does not resolve")
    return host


def test_who_writes_a_secret_cannot_point_us_at_the_node_either(unlisted, bucket, own_name):
    """A class or PersistentVolume can name a Secret that lies in a tenant's namespace."""
    csi, port = unlisted, bucket.url.rsplit(":", 1)[1]
    own = {name: value for name, value in keys(bucket).items() if name != "endpoint"}
    for place in ("stage", "publish"):
        for url in (bucket.url, "http://169.254.169.254", "http://localhost:1", f"http://{own_name}:{port}"):
            v = Volume(csi, "team-data", {"csi.storage.k8s.io/pod.name": place})
            with pytest.raises(Refused, match="link-local"):
                (v.stage if place == "stage" else v.publish)(secrets={**own, "endpoint": url})
    assert mounts_below(csi.dir) == []
    v = Volume(csi, "team-data", {"endpoint": bucket.url}, secrets=own)  # an administrator's word
    v.stage()
    (v.publish() / "x").write_text("y")
    v.unpublish()
    v.unstage()


def test_nor_by_the_secret_of_a_claim(unlisted, minio, own_name):
    """Neither the metaserver nor the node goes there, also after the endpoint was once allowed."""
    csi, port = unlisted, minio.url.rsplit(":", 1)[1]
    secret = {**keys(minio), "endpoint": f"http://{own_name}:{port}"}

    def restart(*options):
        csi.processes.stop(csi.controller)
        csi.controller = csi.processes.start(
            [program("skyvol-controller"), "--endpoint", f"unix://{csi.dir}/controller.sock",
             "--meta", f"unix:{csi.dir}/meta.sock", *options], f"controller{len(options)}")
        wait_until(lambda: csi_answers(csi), what="the controller")

    restart("--allow-endpoints", own_name)
    made = csi.create("trusted", secrets=secret)
    v = Volume(csi, made["volumeId"], made["volumeContext"])
    v.stage()
    v.unstage()
    restart()
    with pytest.raises(Refused, match="link-local"):
        csi.create("claim", secrets=secret)
    with pytest.raises(Refused, match="link-local"):
        v.stage()
    assert mounts_below(csi.dir) == []


def csi_answers(csi):
    try:
        csi.call("Controller.ControllerGetCapabilities")
    except Refused:
        return False
    return True


def test_a_pods_author_cannot_point_us_at_the_node_itself(csi, bucket, unlisted):
    v = Volume(csi, "csi-0123", {"bucket": "team-data", "csi.storage.k8s.io/ephemeral": "true"})
    for url in (bucket.url, "http://169.254.169.254/latest", "http://[::1]:80"):
        with pytest.raises(Refused, match="link-local"):
            v.publish(secrets={**keys(bucket), "endpoint": url})
    v.wish["volumeContext"]["options"] = "cache=/etc"
    with pytest.raises(Refused, match="operator"):
        v.publish()
    assert mounts_below(csi.dir) == [] and os.listdir(csi.dir / "state") == []


class Forward(socketserver.ThreadingTCPServer):
    """Bytes to and from a store on loopback, at another address or port of this machine."""
    allow_reuse_address = daemon_threads = True

    def __init__(self, address, to):
        self.to, self.taken = to, 0
        super().__init__(address, None)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, client_address):
        self.taken += 1

        def copy(a, b):
            with contextlib.suppress(OSError):
                while data := a.recv(65536):
                    b.sendall(data)
                b.shutdown(socket.SHUT_WR)
        with socket.create_connection(self.to) as store:
            threading.Thread(target=copy, args=(store, request), daemon=True).start()
            copy(request, store)


def own_address():
    """An address by which others reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("there is no route to anywhere")
        return s.getsockname()[0]


def test_a_pods_author_cannot_point_us_at_the_nodes_addresses_or_the_api_server(unlisted, bucket):
    csi, own = unlisted, own_address()
    store = ("127.0.0.1", int(bucket.url.rsplit(":", 1)[1]))
    csi.processes.stop(csi.holder)
    csi.holder = csi.start_holder(env={**os.environ, "KUBERNETES_SERVICE_HOST": "198.51.100.1"})
    v = Volume(csi, "csi-0127", {"bucket": "team-data", "csi.storage.k8s.io/ephemeral": "true"})
    with Forward((own, 0), store) as there:
        for url, why in ((f"http://{own}:{there.server_address[1]}", "address of this machine"),
                         (f"http://[::ffff:{own}]:{there.server_address[1]}", "address of this machine"),
                         ("https://198.51.100.1", "Kubernetes API server"),
                         ("https://198.51.100.9:10250", "port of Kubernetes")):
            with pytest.raises(Refused, match=f"(?s)PERMISSION_DENIED.*{why}"):
                v.publish(secrets={**keys(bucket), "endpoint": url})
        there.shutdown()
        assert there.taken == 0
    assert mounts_below(csi.dir) == []
    for port in range(30000, 30100):  # a NodePort Service is a store's as any other
        with contextlib.suppress(OSError), Forward((own, port), store) as there:
            (v.publish(secrets={**keys(bucket), "endpoint": f"http://{own}:{port}"}) / "f").write_text("x")
            v.unpublish()
            there.shutdown()
            assert there.taken > 0
            return
    pytest.fail("no port of NodePort Services is free here")


def test_a_pods_author_cannot_point_us_at_the_node_by_a_name_either(unlisted, bucket, own_name):
    """What a name resolves to is looked at when it is connected to, each time."""
    csi, host = unlisted, own_name
    port = bucket.url.rsplit(":", 1)[1]
    inline = {"bucket": "team-data", "csi.storage.k8s.io/ephemeral": "true"}
    v = Volume(csi, "csi-0124", inline)
    with pytest.raises(Refused, match="(?s)PERMISSION_DENIED.*link-local"):
        v.publish(secrets={**keys(bucket), "endpoint": f"http://{host}:{port}"})
    v = Volume(csi, "csi-0125", {**inline, "options": f"endpoint=http://{host}:{port}"})
    with pytest.raises(Refused, match="link-local"):
        v.publish(secrets={k: x for k, x in keys(bucket).items() if k != "endpoint"})
    v.wish["volumeContext"]["options"] += ",public_only=false"
    with pytest.raises(Refused, match="operator"):
        v.publish()
    assert mounts_below(csi.dir) == []
    csi.node.terminate()
    csi.node.wait()
    csi.node = csi.start_node(allow=host)
    v = Volume(csi, "csi-0126", inline)
    (v.publish(secrets={**keys(bucket), "endpoint": f"http://{host}:{port}"}) / "f").write_text("x")
    v.unpublish()


def test_publish_by_the_table_of_the_specification(volume):
    volume.wish["volumeCapability"] = capability(RWOP)
    volume.stage()
    volume.publish()
    volume.publish()
    with pytest.raises(Refused, match="other options"):
        volume.publish(readonly=True)
    with pytest.raises(Refused, match="one place"):
        volume.publish("other")
    with pytest.raises(Refused, match="still published"):
        volume.unstage()
    with pytest.raises(Refused, match="staged already"):
        volume.stage(volumeCapability=capability(RWX, mountFlags=["uid=7"]))


def test_readonly_is_obeyed_for_one_pod_only(volume):
    volume.stage()
    (volume.publish() / "a").write_text("x")
    reader = volume.publish("reader", readonly=True)
    assert (reader / "a").read_text() == "x"
    with pytest.raises(OSError, match="Read-only"):
        (reader / "b").write_text("y")
    (volume.publish() / "b").write_text("y")


def test_a_restarted_plugin_remembers_without_memory(csi, volume):
    volume.stage()
    here = volume.publish()
    with open(here / "open", "w", encoding="utf-8") as file:
        csi.node.send_signal(signal.SIGKILL)
        csi.node.wait(10)
        csi.node = csi.start_node()
        file.write("still open")
    assert (here / "open").read_text() == "still open"
    volume.stage()
    volume.publish()
    assert mounts_below(csi.dir).count(str(here)) == 1
    volume.unpublish()
    volume.unstage()
    assert mounts_below(csi.dir) == []


def test_republish_hands_on_keys_and_touches_no_mount(csi, bucket):
    v = Volume(csi, "team-data", {}, secrets=keys(bucket))
    v.stage()
    here = v.publish()
    before = [line for line in open("/proc/self/mountinfo", encoding="utf-8")
              if str(here) in line]
    v.publish(secrets={**keys(bucket), "sessionToken": ""})
    assert before == [line for line in open("/proc/self/mountinfo", encoding="utf-8")
                      if str(here) in line]


# Secrets as users of other S3 drivers have them: k8s-csi-s3 and ctrox, mountpoint, IBM, GeeseFS.
DIALECTS = [("accessKeyID", "secretAccessKey", "endpoint"),
            ("key_id", "access_key", "endpoint"),
            ("access-key", "secret-key", "endpoint-url"),
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")]


@pytest.mark.parametrize("names", DIALECTS, ids=lambda names: names[0])
def test_a_class_of_another_driver_needs_only_its_provisioner_changed(csi, minio, names):
    secret = dict(zip(names, (minio.access_key, minio.secret_key, minio.url)), note="ignored")
    made = csi.create("claim", secrets=secret, capacityRange={"requiredBytes": 1 << 20},
                      parameters={"mounter": "geesefs", "options": "--memory-limit 64"})
    assert minio.secret_key not in json.dumps(made) and minio.url not in json.dumps(made)
    v = Volume(csi, made["volumeId"], made["volumeContext"], secrets=secret)
    v.stage()
    (v.publish(secrets=secret) / "a").write_text("claimed")
    v.unpublish()
    v.unstage()
    (name,) = [b["Name"] for b in minio.client().list_buckets()["Buckets"]]
    assert minio.client().get_object(Bucket=name, Key="a")["Body"].read() == b"claimed"
    wait_until(lambda: csi.gone(made["volumeId"], secrets=secret), what="deletion")
    assert minio.client().list_buckets()["Buckets"] == []
    for log in csi.dir.glob("*.log"):
        assert minio.secret_key not in log.read_text(errors="replace"), log


@pytest.mark.parametrize("mode", [RWX, RWO])
def test_a_grown_claim_has_room_in_mounts_that_are_there(csi, mode):
    """As resize has it, which asks the controller only; and a mounter that dies does not forget it."""
    made = csi.create("claim", capacityRange={"requiredBytes": 1 << 20})
    v = Volume(csi, made["volumeId"], made["volumeContext"], mode=mode)
    v.stage()
    here = v.publish()

    def size():
        df = os.statvfs(here)
        return df.f_blocks * df.f_frsize

    assert size() == 1 << 20
    with pytest.raises(OSError, match="No space"):
        (here / "f").write_bytes(bytes(2 << 20))
    grown = csi.call("Controller.ControllerExpandVolume", volumeId=made["volumeId"],
                     capacityRange={"requiredBytes": 4 << 20})
    assert int(grown["capacityBytes"]) == 4 << 20 and not grown.get("nodeExpansionRequired")
    wait_until(lambda: size() == 4 << 20, 40, what="the new size")  # with the session's next renewal
    (here / "f").write_bytes(bytes(2 << 20))
    csi.processes.stop(csi.meta)  # nobody tells the successor
    mounter = holder_client.Holder(csi.dir / "holder.sock").list()[0]["mounter"]
    holder_client.kill9(mounter)
    assert size() == 4 << 20
    with open(here / "g", "wb") as file:
        file.write(bytes(1 << 20))


def test_a_rotated_secret_reaches_a_mount_that_is_in_use(csi, minio, workdir, processes):
    """The same access key with another secret key; nobody stages, restarts or loses a byte."""
    made = csi.create("claim", secrets=keys(minio))
    v = Volume(csi, made["volumeId"], made["volumeContext"])
    v.stage()
    here = v.publish()
    with open(here / "a", "w", encoding="utf-8") as file:
        file.write("before")
        file.flush()
        os.fsync(file.fileno())
        port = minio.url.rpartition(":")[2]
        processes.stop(next(p for p in processes.running if "minio" in str(p.args[0])))
        minio.secret_key = "minio-secret-2"
        server = processes.start(
            [tool("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}",
             workdir / "minio"], "minio",
            env=dict(os.environ, MINIO_ROOT_USER=minio.access_key,
                     MINIO_ROOT_PASSWORD=minio.secret_key))
        wait_until(lambda: listening(int(port)), what="MinIO", process=server)
        before = [line for line in open("/proc/self/mountinfo", encoding="utf-8")
                  if str(here) in line]
        other = csi.create("other", secrets=keys(minio))  # brings the new Secret
        v.publish()  # as kubelet repeats it
        file.write("-after")
        file.flush()
        os.fsync(file.fileno())
        assert before == [line for line in open("/proc/self/mountinfo", encoding="utf-8")
                          if str(here) in line]
    assert minio.client().get_object(Bucket=made["volumeContext"]["bucket"],
                                     Key="a")["Body"].read() == b"before-after"
    v.unpublish()
    v.unstage()
    for one in (made, other):
        wait_until(lambda one=one: csi.gone(one["volumeId"], secrets=keys(minio)), what="deletion")


def test_a_republish_of_a_managed_volume_does_not_need_the_metaserver(csi, volume):
    volume.stage()
    here = volume.publish()
    csi.processes.stop(csi.meta)
    volume.publish()
    (here / "a").write_text("goes on")
    assert "keeps the credentials that it has" in csi.node.log.read_text()
    volume.unpublish()
    volume.unstage()


def test_nothing_but_our_own_mounts_is_unmounted_and_no_file_is_ever_removed(csi, volume):
    volume.stage()
    target = pathlib.Path(csi.target("pod"))
    target.mkdir()
    (target / "precious").write_text("kept")
    with pytest.raises(Refused, match="left as it is"):
        volume.unpublish()
    assert (target / "precious").read_text() == "kept"
    (target / "precious").unlink()
    subprocess.run(["mount", "-t", "tmpfs", "other", target], check=True)
    with pytest.raises(Refused, match="something else"):
        volume.publish()
    with pytest.raises(Refused, match="something else"):
        volume.unpublish()
    assert mounts_below(target) == [str(target)]
    subprocess.run(["umount", target], check=True)
    target.rmdir()
    target.write_text("a file")
    with pytest.raises(Refused, match="no directory"):
        volume.publish()
    with pytest.raises(Refused, match="left as it is"):
        volume.unpublish()


def test_a_path_is_refused_unless_it_is_spelled_plainly(csi, volume):
    """The mount table would have it by another name: nothing could find it again."""
    volume.stage()
    volume.publish()
    (csi.dir / "x").mkdir()
    pod = csi.dir / "pods"
    for path in (f"{pod}/../x", f"{pod}/./pod", f"{csi.dir}//x", f"{csi.dir}/x/", f"{pod}/..", "/"):
        one = {"volumeId": volume.wish["volumeId"]}
        for call in (lambda: volume.stage(stagingTargetPath=path),
                     lambda: volume.publish(targetPath=path),
                     lambda: volume.publish("other", stagingTargetPath=path),
                     lambda: csi.call("Node.NodeUnpublishVolume", targetPath=path, **one),
                     lambda: csi.call("Node.NodeUnstageVolume", stagingTargetPath=path, **one),
                     lambda: csi.call("Node.NodeGetVolumeStats", volumePath=path, **one)):
            with pytest.raises(Refused, match="(?s)INVALID_ARGUMENT.*plain path"):
                call()
    assert sorted(mounts_below(csi.dir)) == sorted([str(csi.dir / "staging"), csi.target("pod")])
    volume.unpublish()
    volume.unstage()


def test_a_stalled_store_stops_neither_unpublish_nor_stats(csi, bucket, minio):
    v = Volume(csi, "team-data", {}, secrets=keys(bucket))
    v.stage()
    v.publish()
    server = next(p for p in csi.processes.running if "minio" in str(p.args[0]))
    stop_whole(server)
    try:
        for step in (v.stats, lambda: csi.run("node.sock", "Identity.Probe", {}), v.unpublish):
            start = time.monotonic()
            step()
            assert time.monotonic() - start < 2
    finally:
        server.send_signal(signal.SIGCONT)
    v.unstage()


def test_no_secret_is_in_a_log_or_record(csi, bucket):
    v = Volume(csi, "team-data", {"csi.storage.k8s.io/serviceAccount.tokens": "t0ken-xyz"},
               secrets=keys(bucket))
    v.stage()
    v.publish()
    files = [*csi.dir.glob("*.log"), *(csi.dir / "state").iterdir()]
    assert len(files) > 3
    for file in files:
        if file.name != "minio.log":
            text = file.read_text(errors="replace")
            assert bucket.secret_key not in text and "t0ken-xyz" not in text, file
    assert "NodeStageVolume" in csi.node.log.read_text()


def test_a_password_in_a_url_is_in_no_log_and_no_answer(csi, workdir):
    handle = {"bucket": "team-data"}
    for wish in ({"endpoint": "http://u:PASSHUSH@h/"}, {"options": "url=http://u:PASSHUSH@h"},
                 {"bucket": "s3://AK:PASSHUSH@b"}, {"prefix": "../s3://AK:PASSHUSH@b"}):
        with pytest.raises(Refused, match="do not belong there") as why:
            Volume(csi, "any", {**handle, **wish}).stage()
        assert "HUSH" not in str(why.value)
    for location, more in (("s3://AK:PASSHUSH@", []),
                           ("s3://", ["--endpoint", "http://u:PASSHUSH@h"])):
        done = subprocess.run([program("skyvolctl"), "store", "add", "second", location, "--meta",
                               f"unix:{workdir}/meta.sock", *more], check=False,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode and "do not belong" in done.stderr and "HUSH" not in done.stderr
    for location in ("s3://AK:PASSHUSH@b", "AK:PASSHUSH@b"):
        done = subprocess.run([program("skyvol-mount"), location, workdir], check=False,
                              capture_output=True, text=True, timeout=30)
        assert done.returncode and "HUSH" not in done.stderr + done.stdout, done.stderr
    for file in (*csi.dir.glob("*.log"), *(csi.dir / "state").iterdir()):
        assert "HUSH" not in file.read_text(errors="replace"), file


def test_what_is_not_there_yet_says_so(csi):
    later = [f"Controller.{method}" for method in (
        "ControllerPublishVolume", "ControllerUnpublishVolume", "CreateSnapshot", "DeleteSnapshot",
        "ListSnapshots", "GetSnapshot", "ControllerModifyVolume")]
    later += [f"GroupController.{method}" for method in (
        "GroupControllerGetCapabilities", "CreateVolumeGroupSnapshot", "DeleteVolumeGroupSnapshot",
        "GetVolumeGroupSnapshot")]
    for method in later:
        with pytest.raises(Refused, match="(?i)unimplemented"):
            csi.run("controller.sock", method, {})
    for method in ("GetMetadataAllocated", "GetMetadataDelta"):  # these answer by streams
        done = subprocess.run(
            [tool("grpcurl"), "-plaintext", "-unix", "-import-path", ROOT / "proto", "-proto",
             "csi.proto", csi.dir / "controller.sock", f"csi.v1.SnapshotMetadata/{method}"],
            check=False, capture_output=True, text=True, timeout=30)
        assert "Unimplemented" in done.stderr
    with pytest.raises(Refused, match="(?i)unimplemented"):
        csi.call("Node.NodeExpandVolume", volumeId="v", volumePath="/x")
    with pytest.raises(Refused, match="block volumes"):
        csi.call("Controller.CreateVolume", name="b", volumeCapabilities=[
            {"block": {}, "accessMode": {"mode": RWO}}])
    with pytest.raises(Refused, match="mirror"):
        csi.create("p", parameters={"mirror": "yes"})


def test_a_store_that_cannot_be_used_is_said_why_first_and_what_to_do(unlisted, bucket, processes, workdir):
    """Whatever a user can have written wrongly, the event of his pod names it."""
    csi = unlisted
    csi.processes.stop(csi.holder)
    csi.holder = csi.start_holder("--start-timeout", "5s")
    (workdir / "tls").mkdir()
    certified = Endpoint(processes, workdir / "tls", make_certificate(workdir), name="tls-store")
    silent, nobody = socket.create_server(("127.0.0.1", 0)), free_port()
    cases = {
        "dns": ({"endpoint": "http://nowhere.invalid:9000"}, "team-data",
                r"UNAVAILABLE: nowhere.invalid:9000: Could not resolve host.*DNS does not know"),
        "refused": ({"endpoint": f"http://127.0.0.1:{nobody}"}, "team-data",
                    rf"UNAVAILABLE: 127.0.0.1:{nobody}: Failed to connect.*nobody listens there"),
        "silent": ({"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}"}, "team-data",
                   r"UNAVAILABLE: no answer as yet .*at http://127.0.0.1.*look at the endpoint"),
        "scheme": ({"endpoint": bucket.url.replace("http:", "https:")}, "team-data",
                   r"INTERNAL: TLS with 127.0.0.1.*the endpoint begins with http://"),
        "authority": ({"endpoint": certified.url}, "team-data",
                      r"INTERNAL: TLS with 127.0.0.1.*certificate.*components/trust-bundle"),
        "key": ({"accessKeyID": "AKIAUNKNOWNUNKNOWN00"}, "team-data",
                r"PERMISSION_DENIED: InvalidAccessKeyId.*correct accessKeyID"),
        "secret": ({"secretAccessKey": "wrong" * 8}, "team-data",
                   r"PERMISSION_DENIED: SignatureDoesNotMatch.*correct secretAccessKey"),
        "bucket": ({}, "no-such-bucket",
                   r"NOT_FOUND: NoSuchBucket: .*bucket s3://no-such-bucket at .*make the bucket"),
    }

    def attempt(name):
        wrong, where, _ = cases[name]
        words = {**keys(bucket), **wrong}
        v = Volume(csi, name, {"bucket": where, "endpoint": words.pop("endpoint")}, secrets=words)
        v.wish["stagingTargetPath"] += name
        with pytest.raises(Refused) as refused:
            v.stage()
        return str(refused.value)

    with silent, concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        for name, said in zip(cases, pool.map(attempt, cases)):
            assert re.search(cases[name][2], said), said
            assert len(said) < 600 and "wrongwrong" not in said and bucket.secret_key not in said
            assert "probe-" not in said, "each time another text would be another event"
    assert mounts_below(csi.dir) == []
    certified.close()


def test_a_call_that_has_no_time_left_tells_what_the_mounter_tries_in_vain(csi, bucket):
    v = Volume(csi, "impatient", {"bucket": "team-data"},
               secrets={**keys(bucket), "endpoint": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(Refused, match="Failed to connect.*nobody listens there"):
        csi.run("node.sock", "Node.NodeStageVolume", {**v.wish, **v.stage_more}, "--timeout=3s")


def test_without_a_metaserver_static_volumes_work_and_claims_say_why_not(csi, bucket, volume):
    csi.processes.stop(csi.meta)
    with pytest.raises(Refused, match="(?i)unavailable.*skyvol-meta at unix:"):
        csi.create("late")
    v = Volume(csi, "team-data", {}, secrets=keys(bucket))
    v.stage()
    v.publish()
    v.unpublish()
    v.unstage()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as file:
        return [int(child) for child in file.read().split()]


def test_duplicates_of_the_plugin_revive_a_mount_whose_holder_and_mounter_died(csi, volume):
    volume.stage()
    here = volume.publish()
    wait_until(lambda: any(os.readlink(f) == "/dev/fuse" for f in
                           pathlib.Path("/proc", str(csi.node.pid), "fd").iterdir()),
               what="duplicates in the node plugin")
    # A process of its own: a child forked here would flush the file at its exec, and wait.
    writer = subprocess.Popen(["sh", "-c", "exec 3>\"$0\"; printf before >&3; echo; read x; "
                               "printf after >&3", here / "open"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"\n"
    supervisors = children(csi.holder.pid)
    mounters = [pid for supervisor in supervisors for pid in children(supervisor)]
    for pid in (csi.holder.pid, *supervisors, *mounters):
        os.kill(pid, signal.SIGKILL)
    csi.holder.wait(10)
    csi.holder = csi.start_holder()
    writer.communicate(b"go\n", timeout=30)
    assert writer.returncode == 0
    assert (here / "open").read_text() == "beforeafter"
    volume.unpublish()
    volume.unstage()

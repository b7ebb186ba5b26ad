# SPDX-License-Identifier: Apache-2.0
"""An API server with etcd and nothing else: takes every overlay, and says what the admission policy refuses."""
import json
import pathlib
import socket
import subprocess
import tempfile
import time

CRDS = [("cert-manager.io", "Certificate", "certificates"), ("cert-manager.io", "Issuer", "issuers"),
        ("monitoring.coreos.com", "PodMonitor", "podmonitors"),
        ("monitoring.coreos.com", "PrometheusRule", "prometheusrules"),
        ("security.openshift.io", "SecurityContextConstraints", "securitycontextconstraints")]
TOKEN = "a-token-of-this-test"


def definition(group, kind, plural):
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Cluster" if kind.startswith("Security") else "Namespaced",
                     "names": {"kind": kind, "plural": plural},
                     "versions": [{"name": "v1", "served": True, "storage": True,
                                   "schema": {"openAPIV3Schema": anything}}]}}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Server:
    def __init__(self, programs):
        self.programs, self.running = pathlib.Path(programs), []

    def __enter__(self):
        self.held = tempfile.TemporaryDirectory(prefix="skyvol-api-")
        self.dir = pathlib.Path(self.held.name)
        client, peer, port = free_ports(3)
        (self.dir / "tokens").write_text(f'{TOKEN},admin,1,"system:masters"\n')
        subprocess.run(["openssl", "genrsa", "-out", self.dir / "sa.key", "2048"], check=True, capture_output=True)
        self.start("etcd", "--data-dir", self.dir / "etcd", "--unsafe-no-fsync", "--log-level", "error",
                   "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls",
                   f"http://127.0.0.1:{client}", "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}", "--initial-cluster",
                   f"default=http://127.0.0.1:{peer}")
        self.start(self.programs / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}",
                   "--bind-address=127.0.0.1", f"--secure-port={port}", f"--cert-dir={self.dir}/certs",
                   f"--token-auth-file={self.dir}/tokens", "--authorization-mode=RBAC", "--allow-privileged=true",
                   "--service-account-issuer=https://test", f"--service-account-key-file={self.dir}/sa.key",
                   f"--service-account-signing-key-file={self.dir}/sa.key", "--service-cluster-ip-range=10.97.0.0/24",
                   "--disable-admission-plugins=ServiceAccount")
        self.url = f"https://127.0.0.1:{port}"
        (self.dir / "config").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": self.url,
                                                   "insecure-skip-tls-verify": True}}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}))
        self.wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz")[0], 90)
        for one in CRDS:
            self.apply(definition(*one))
        self.wait("the definitions", lambda: self.kubectl("get", "certificates,podmonitors,prometheusrules", "-A")[0])
        return self

    def start(self, *command):
        with open(self.dir / "log", "ab") as log:
            self.running.append(subprocess.Popen([str(c) for c in command], stdout=log, stderr=log))

    def __exit__(self, *_):
        for one in reversed(self.running):
            one.kill()  # its drain takes a minute, and nothing here is worth one
        for one in self.running:
            one.wait(60)
        self.held.cleanup()

    def kubectl(self, *words, text=None):
        done = subprocess.run([self.programs / "kubectl", "--kubeconfig", self.dir / "config", *words], input=text,
                              text=True, check=False, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode == 0, done.stdout

    def apply(self, item, *words):
        return self.kubectl("apply", *words, "-f", "-", text=json.dumps(item))

    def must(self, *words, item=None):
        good, said = self.apply(item) if item else self.kubectl(*words)
        assert good, said
        return said

    def wait(self, what, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"no {what}: {(self.dir / 'log').read_text()[-2000:]}")
            time.sleep(0.2)


def storage_class(provisioner="csi.skyvol.io", **more):
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "tried"},
            "provisioner": provisioner, **more}


def volume(driver="csi.skyvol.io", options=(), **attributes):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "tried"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "mountOptions": list(options),
                     "csi": {"driver": driver, "volumeHandle": "a-bucket", "volumeAttributes": attributes}}}


PATH = "no path of the host"
ANY = [  # object and what the refusal says; "": it is taken
    (storage_class(parameters={"store": "a", "csi.storage.k8s.io/provisioner-secret-name": "x"}), ""),
    (storage_class(parameters={"Options": "--memory-limit 1000 --dir-mode 0777", "mounter": "geesefs"}), ""),
    (storage_class(mountOptions=["uid=1000", "sync=close"]), ""),
    (storage_class(), ""),
    (storage_class("other.example", parameters={"unknown": "x"}), ""),
    (storage_class(parameters={"stoer": "a"}), "does not know the parameter stoer"),
    (storage_class(parameters={"adopt": "yes"}), "adopt is"),
    (storage_class(parameters={"options": "-o uid=3,cache=/etc"}), PATH),
    (storage_class(parameters={"options": "--cache /tmp/x"}), PATH),
    (storage_class(mountOptions=["ca_file=/etc/x"]), PATH),
    (storage_class(mountOptions=["--cache-dir=/etc/x"]), PATH),
    (storage_class(mountOptions=["use-cache=/etc/x"]), PATH),
    (volume(region="x", bucketName="y"), ""),
    (volume(endpoint="https://s3.example"), ""),
    (volume("other.example", unknown="x"), ""),
    (volume(endpoint="s3.example"), "an endpoint is http"),
    (volume(secretKey="x"), "does not know the attribute secretKey"),
    (volume(options=["Journal=/x"]), PATH),
]
LISTED = [
    (volume(endpoint="https://s3.example:9000"), ""),
    (volume(endpointURL="https://a.ok.example"), ""),
    (volume(region="x"), ""),
    (volume(endpoint="https://evil.example"), "not among those"),
    (volume(endpoint="https://evilok.example"), "not among those"),
    (volume(mountOptions="--endpoint http://169.254.169.254"), "belongs into the attribute"),
    (volume(options=["--endpoint=http://169.254.169.254"]), "belongs into the attribute"),
]


def named(name, **changes):
    return {**volume(**changes), "metadata": {"name": name}}


def claimed(item):
    """As the binder changes it, and others who judge nothing that the policy does."""
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": "c", "namespace": "default"}
    return {**item, "metadata": {**item["metadata"], "labels": {"bound": "yes"}}, "spec": {**item["spec"], "claimRef": claim}}


BEFORE = [named("older", options=["Journal=/x"], unknown="x"),  # both are there before the policy is
          storage_class(parameters={"stoer": "a"}, mountOptions=["cache=/x"])]
CHANGED = [
    (claimed(BEFORE[0]), ""),
    (named("older", options=["Journal=/y"], unknown="x"), "does not know the attribute"),
    ({**BEFORE[1], "metadata": {"name": "tried", "labels": {"a": "b"}}}, ""),
    ({**BEFORE[1], "mountOptions": ["cache=/y"]}, "does not know the parameter"),
    (claimed(named("newer", options=["uid=1"])), ""),
    (named("newer", options=["uid=2", "sync=close"]), ""),
    (named("newer", options=["uid=1", "--cache-dir=/etc/x"]), PATH),
]


def decide(server, cases):
    for item, refusal in cases:
        good, said = server.apply(item, "--dry-run=server")
        if good == bool(refusal) or refusal not in said:
            yield f"{json.dumps(item)}: {said.strip()[:300]}"


def pod_with_volume(server, volume_id):
    """A pod of node-1 with a claim of the volume, as kubelet would see it; gives its token."""
    about = {"name": "user", "namespace": "default"}
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "",
             "volumeName": "of-user"}
    for kind, spec in (("ServiceAccount", {}), ("PersistentVolumeClaim", {"spec": claim})):
        server.must(item={"apiVersion": "v1", "kind": kind, "metadata": about, **spec})
    uid = server.must("-n", "default", "get", "pvc", "user", "-o", "jsonpath={.metadata.uid}")
    own = volume()
    own["metadata"]["name"] = "of-user"
    own["spec"]["csi"]["volumeHandle"] = volume_id
    own["spec"]["claimRef"] = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "uid": uid, **about}
    server.must(item=own)
    server.must(item={"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {
        "nodeName": "node-1", "serviceAccountName": "user", "containers": [{"name": "x", "image": "x:1"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "user"}}]}})
    return server.must("-n", "default", "create", "token", "user", "--audience=skyvol-meta",
                       "--bound-object-kind=Pod", "--bound-object-name=user").strip()


def identity(server, build):
    """skyvol-meta with the rights of its ClusterRole: a node gets the volume of its pod, and no other."""
    ours, address = server.dir / "meta", f"127.0.0.1:{free_ports(1)[0]}"

    def run(*words, env=None):
        return subprocess.run([str(w) for w in words], text=True, env=env, check=True, timeout=60, capture_output=True).stdout
    ctl = build / "bin/skyvolctl"
    run(ctl, "certs", "init", ours)
    for name in ("meta", "node", "client"):
        run(ctl, "certs", "issue", ours, name, "--host", f"skyvol-{name}", "--host", "127.0.0.1")
    token = ours / "token"
    token.write_text(server.must("-n", "skyvol-system", "create", "token", "skyvol-meta").strip())
    server.start(build / "bin/skyvol-meta", "--listen", address, "--database", ours / "db", "--seal-key-file", ours / "seal",
                 "--tls-ca-file", ours / "ca.crt", "--tls-cert-file", ours / "meta.crt", "--tls-key-file",
                 ours / "meta.key", "--pod-tokens", "--kube-api", server.url, "--kube-token-file", token,
                 "--kube-ca-file", server.dir / "certs/apiserver.crt")

    def by(name):
        return {"SKYVOLCTL_META": address, "SKYVOLCTL_TLS_CA_FILE": f"{ours}/ca.crt",
                "SKYVOLCTL_TLS_CERT_FILE": f"{ours}/{name}.crt", "SKYVOLCTL_TLS_KEY_FILE": f"{ours}/{name}.key"}

    def create(name):
        return json.loads(run(ctl, "volume", "create", name, "--json", env=by("client")))["volume"]["id"]

    def attach(volume_id, token, node="node-1"):
        ask = {"id": volume_id, "node": node, "pod_token": token}
        return subprocess.run([build / "tools/grpcurl", "-cacert", ours / "ca.crt", "-cert", ours / "node.crt", "-key",
                               ours / "node.key", "-max-time", "30", "-import-path", "proto", "-proto",
                               "skyvol/meta/v1/meta.proto", "-d", json.dumps(ask), address,
                               "skyvol.meta.v1.Volumes/AttachVolume"], text=True, check=False, capture_output=True)

    def added():
        return subprocess.run([ctl, "store", "add", "default", f"dir://{ours}/store"], env=by("client"), check=False,
                              capture_output=True).returncode == 0
    server.wait("skyvol-meta", added)
    mine, other = create("mine"), create("other")
    token = pod_with_volume(server, mine)
    for what, done, refusal in (("its volume", attach(mine, token), ""),
                                ("another volume", attach(other, token), "PermissionDenied"),
                                ("the volume on another node", attach(mine, token, "node-2"), "PermissionDenied"),
                                ("no token", attach(mine, ""), "Unauthenticated")):
        if (done.returncode == 0) == bool(refusal) or refusal not in done.stderr:
            yield f"a node asks for {what}: {done.stderr[:300] or 'it is given'}"
    if subprocess.run([ctl, "store", "list"], env=by("node"), check=False, capture_output=True).returncode == 0:
        yield "a node may list stores"


def check(programs, build, overlays, policy_overlay):
    """Sentences about what is wrong."""
    with Server(programs) as server:
        for item in BEFORE:
            server.must(item=item)
        for overlay in [*overlays, policy_overlay]:
            good, said = server.kubectl("apply", "-k", overlay)
            if not good or "Warning" in said.replace("Warning: spec.serviceAccountTokenInSecrets", ""):
                yield f"{overlay}: " + "; ".join(line for line in said.splitlines() if " " in line and
                                                 not line.endswith(("created", "configured", "unchanged")))[:600]
            if overlay != policy_overlay:  # what cannot be changed by the next one
                server.kubectl("-n", "skyvol-system", "delete", "--wait=false", "sts,job,service", "--all")
        yield from identity(server, build)
        server.wait("the policy", lambda: not server.apply(storage_class(parameters={"no": ""}), "--dry-run=server")[0])
        yield from decide(server, CHANGED[:4])
        server.must("delete", "storageclass", "tried")
        server.must(item=named("newer", options=["uid=1"]))
        yield from decide(server, CHANGED[4:])
        yield from decide(server, ANY)
        server.kubectl("-n", "skyvol-system", "patch", "configmap", "skyvol-admission", "-p",
                       json.dumps({"data": {"endpoints": "s3.example *.ok.example"}}))
        evil = volume(endpoint="https://evil.example")
        server.wait("the list of endpoints", lambda: not server.apply(evil, "--dry-run=server")[0])
        yield from decide(server, LISTED)
        server.kubectl("-n", "skyvol-system", "delete", "configmap", "skyvol-admission")
        other = volume("other.example")
        server.wait("the policy without its list", lambda: server.apply(evil, "--dry-run=server")[0])
        yield from decide(server, [(other, "")])

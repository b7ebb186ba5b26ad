# SPDX-License-Identifier: Apache-2.0
"""skyvol-webhook, asked as the API server asks it: over HTTPS, trusting the caBundle of its configuration."""
import base64
import copy
import http.client
import json
import os
import ssl
import subprocess
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config
from conftest import free_port, listening, program, wait_until
from fake_kube import FakeKube, apply_operations

NAME, SPACE = "skyvol-webhook", "skyvol-system"
HOOKS = ("admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")
IMAGE = "registry.example/skyvol-s3:1"


@pytest.fixture
def kube():
    server = FakeKube()
    server.put("v1", "secrets", {"metadata": {"name": f"{NAME}-tls", "namespace": SPACE, "labels": {"a": "b"}},
                                 "type": "Opaque"})
    server.put(*HOOKS, {"metadata": {"name": NAME}, "webhooks": [
        {"name": "s3.skyvol.io", "clientConfig": {"service": {"name": NAME, "namespace": SPACE}}}]})
    yield server
    server.close()


class Webhook:
    def __init__(self, workdir, processes, kube, *options, name="webhook"):
        self.kube, self.port = kube, free_port()
        self.status = free_port()
        self.process = processes.start(
            [program("skyvol-webhook"), "--listen", f"127.0.0.1:{self.port}", "--status", f"127.0.0.1:{self.status}",
             "--namespace", SPACE, "--image", IMAGE, "--look-every", "200ms", "--settle", "500ms",
             *kube.options(workdir), *options], name)

    def wait(self):
        wait_until(lambda: listening(self.port), what="webhook", process=self.process)
        return self

    def bundle(self):
        return base64.b64decode(self.kube.get(*HOOKS, NAME)["webhooks"][0]["clientConfig"]["caBundle"]).decode()

    def connect(self, bundle=None):
        """A connection that verifies as the API server does: the Service's name, the bundle, nothing else."""
        context = ssl.create_default_context(cadata=bundle or self.bundle())

        class Connection(http.client.HTTPSConnection):
            def connect(self):
                http.client.HTTPConnection.connect(self)
                self.sock = context.wrap_socket(self.sock, server_hostname=f"{NAME}.{SPACE}.svc")

        return Connection("127.0.0.1", self.port, timeout=20)

    def served(self):
        """The certificate that it shows now."""
        connection = self.connect()
        connection.connect()
        der = connection.sock.getpeercert(binary_form=True)
        connection.close()
        return der

    def post(self, body, path="/mutate"):
        connection = self.connect()
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def review(self, pod, **more):
        request = {"uid": "7-8-9", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
                   "namespace": "team", "object": pod, **more}
        status, text = self.post(json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                                             "request": request}))
        assert status == 200, text
        answer = json.loads(text)
        assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        assert answer["response"]["uid"] == "7-8-9"
        return answer["response"]

    def changed(self, pod):
        """The pod as the API server makes it of the answer."""
        response = self.review(pod)
        assert response["allowed"] is True
        if "patch" not in response:
            return pod
        assert response["patchType"] == "JSONPatch"
        return apply_operations(copy.deepcopy(pod), json.loads(base64.b64decode(response["patch"])))


def pod(spec=None, **annotations):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-", "annotations": annotations},
            "spec": spec or {"containers": [{"name": "app", "image": "app"}]}}


S3 = {"skyvol.io/s3": "photos"}


@pytest.fixture
def webhook(workdir, processes, kube):
    return Webhook(workdir, processes, kube).wait()


def one(items, name):
    (found,) = [i for i in items if i["name"] == name]
    return found


def test_a_pod_that_asks_gets_the_sidecar_and_its_containers_find_it(webhook):
    got = webhook.changed(pod(**S3))["spec"]
    sidecar = got["initContainers"][0]
    assert (sidecar["name"], sidecar["image"], sidecar["restartPolicy"]) == ("skyvol-s3", IMAGE, "Always")
    assert "--sidecar" in sidecar["args"] and "--volume=photos=$(STORE_LOCATION)" in sidecar["args"]
    assert one(sidecar["env"], "STORE_LOCATION")["valueFrom"]["secretKeyRef"] == {
        "name": "photos-s3", "key": "location", "optional": False}
    security = sidecar["securityContext"]
    assert security["runAsNonRoot"] and security["readOnlyRootFilesystem"] and security["capabilities"] == {
        "drop": ["ALL"]} and not security["allowPrivilegeEscalation"]
    app = got["containers"][0]
    assert {e["name"]: e["value"] for e in app["env"]} == {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_REGION": "us-east-1",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9001/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/secrets/skyvol.io/s3/token"}
    (mount,) = app["volumeMounts"]
    assert mount["readOnly"] and mount["mountPath"] == "/var/run/secrets/skyvol.io/s3"
    assert one(got["volumes"], mount["name"])["projected"]["sources"][0]["serviceAccountToken"]["path"] == "token"
    store = one(got["volumes"], "skyvol-s3-store")["secret"]
    assert store["secretName"] == "photos-s3" and store["defaultMode"] == 0o440
    assert "skyvol-s3-store" not in [m["name"] for m in app["volumeMounts"]], "the store's keys are the sidecar's"
    names = {v["name"] for v in got["volumes"]}
    assert {m["name"] for m in sidecar["volumeMounts"]} <= names


class Sidecar:
    """A container of the webhook's, with the places moved; volumes lie there as kubelet lays them out."""

    def __init__(self, container, at, processes, endpoint, keys, trust=None):
        places = {"/var/run/secrets/skyvol.io/s3": "token", "/etc/skyvol/store": "store", "/run/skyvol": "run",
                  "/etc/skyvol/trust": "trust"}
        for place in places.values():
            (at / place).mkdir(parents=True)
        self.token = "a.service.account-token_" + "x" * 1500
        (at / "token" / "token").write_text(self.token)
        data = at / "store" / "..2026"
        data.mkdir()
        (data / "credentials").write_text(json.dumps(keys))
        (data / "credentials").chmod(0o440)
        (at / "store" / "..data").symlink_to("..2026")
        (at / "store" / "credentials").symlink_to("..data/credentials")
        if trust:
            (at / "trust" / "ca.crt").write_text(trust)
        self.status, self.identity, self.data = free_port(), free_port(), free_port()
        arguments = [a.replace("$(STORE_LOCATION)", "s3://bucket/photos") for a in container["args"]]
        for old, new in places.items():
            arguments = [a.replace(old, str(at / new)) for a in arguments]
        arguments = [a.replace("status=:9002", f"status=127.0.0.1:{self.status}") for a in arguments]
        self.process = processes.start(
            [program("skyvol-s3"), *arguments, "--listen", f"127.0.0.1:{self.data}", "--identity-listen",
             f"127.0.0.1:{self.identity}"], at.name,
            env={"PATH": os.environ["PATH"], "SKYVOL_S3_STORE_ENDPOINT": endpoint})
        wait_until(lambda: listening(self.identity) and listening(self.status), what="sidecar", process=self.process)

    def credentials(self):
        ask = urllib.request.Request(f"http://127.0.0.1:{self.identity}/credentials",
                                     headers={"Authorization": self.token})
        with urllib.request.urlopen(ask, timeout=10) as answer:
            return json.loads(answer.read())

    def client(self):
        keys = self.credentials()
        return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.data}", region_name="us-east-1",
                            aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
                            aws_session_token=keys.get("Token"), config=Config(retries={"total_max_attempts": 1}))


def test_the_sidecar_is_one_that_skyvol_s3_understands(webhook, workdir, processes):
    """Its arguments and variables: the program must come up and hand out credentials."""
    container = webhook.changed(pod(**S3))["spec"]["initContainers"][0]
    sidecar = Sidecar(container, workdir / "sidecar", processes, "http://127.0.0.1:1", {"accessKey": "a", "secretKey": "b"})
    with urllib.request.urlopen(f"http://127.0.0.1:{sidecar.status}/healthz", timeout=10) as answer:
        assert answer.status == 200
    assert sidecar.credentials()["SecretAccessKey"]


TRUST = "skyvol.io/s3-trust"


def test_a_sidecar_reaches_a_store_by_the_authority_that_its_pod_names(webhook, workdir, processes):
    certs, port = workdir / "certs", free_port()
    for arguments in (("init", certs), ("issue", certs, "s3", "--host", "127.0.0.1")):
        subprocess.run([program("skyvolctl"), "certs", *arguments], check=True, capture_output=True)
    keys = workdir / "keys.json"
    keys.write_text(json.dumps({"access_key": "app", "secret_key": "of-the-store"}))
    keys.chmod(0o600)
    store = processes.start([program("skyvol-s3"), "--listen", f"127.0.0.1:{port}", "--dir", workdir / "dir",
                             "--credentials-file", keys, "--run-dir", workdir / "run", "--tls-cert-file",
                             certs / "s3.crt", "--tls-key-file", certs / "s3.key"], "store")
    wait_until(lambda: listening(port), what="store", process=store)
    boto3.client("s3", endpoint_url=f"https://127.0.0.1:{port}", region_name="us-east-1", verify=str(certs / "ca.crt"),
                 aws_access_key_id="app", aws_secret_access_key="of-the-store").create_bucket(Bucket="bucket")

    def start(name, **annotations):
        spec = webhook.changed(pod(**S3, **annotations))["spec"]
        volumes = [v for v in spec["volumes"] if v["name"] == "skyvol-s3-trust"]
        (container,) = spec["initContainers"]
        assert len([m for m in container["volumeMounts"] if m["name"] == "skyvol-s3-trust"]) == len(volumes)
        assert not [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "skyvol-s3-trust"]
        return volumes, Sidecar(container, workdir / name, processes, f"https://127.0.0.1:{port}",
                                {"accessKey": "app", "secretKey": "of-the-store"}, (certs / "ca.crt").read_text())

    volumes, sidecar = start("trusts", **{TRUST: "our-store/tls-ca.pem"})
    assert [v["configMap"] for v in volumes] == [
        {"name": "our-store", "items": [{"key": "tls-ca.pem", "path": "ca.crt"}]}]
    sidecar.client().put_object(Bucket="photos", Key="x", Body=b"by TLS")
    assert sidecar.client().get_object(Bucket="photos", Key="x")["Body"].read() == b"by TLS"
    volumes, sidecar = start("does-not")
    assert not volumes
    with pytest.raises(botocore.exceptions.ClientError):
        sidecar.client().get_object(Bucket="photos", Key="x")


def test_the_authorities_of_pods_that_say_nothing_are_the_operators_word(workdir, processes, kube):
    webhook = Webhook(workdir, processes, kube, "--trust", "skyvol-trust").wait()

    def trust(**annotations):
        spec = webhook.changed(pod(**S3, **annotations))["spec"]
        return [(v["configMap"]["name"], v["configMap"]["items"][0]["key"])
                for v in spec["volumes"] if v["name"] == "skyvol-s3-trust"]
    assert trust() == [("skyvol-trust", "ca-certificates.crt")]
    assert trust(**{TRUST: "mine/a.pem"}) == [("mine", "a.pem")]
    assert trust(**{TRUST: ""}) == []
    again = webhook.changed(pod(**S3))
    assert "patch" not in webhook.review(again)
    for bad in ("../x", "x/", "x/a/b", "x/..", "/x", "X", "x" * 254, "x/" + "a" * 254, "x/a b"):
        answer = webhook.review(pod(**S3, **{TRUST: bad}))
        assert answer["allowed"] is False and TRUST in answer["status"]["message"], bad
    bad = subprocess.run([program("skyvol-webhook"), "--image", IMAGE, "--trust", "a/b/c"], capture_output=True,
                         text=True, check=False, timeout=20)
    assert bad.returncode != 0 and "'a/b/c' is no CONFIGMAP" in bad.stderr


def test_a_second_round_changes_nothing_and_gives_new_containers_what_they_lack(webhook):
    spec = {"containers": [{"name": "app", "env": [{"name": "AWS_REGION", "value": "mine"}, {"name": "X"}],
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}, {"name": "other"}],
            "initContainers": [{"name": "first", "env": []}], "volumes": [{"name": "data", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 9007199254740993}
    asked = pod(spec, **S3, **{"skyvol.io/s3-secret": "keys"})
    got = webhook.changed(asked)
    names = [c["name"] for c in got["spec"]["initContainers"]]
    assert names == ["skyvol-s3", "first"]
    assert one(got["spec"]["volumes"], "skyvol-s3-store")["secret"]["secretName"] == "keys"
    assert got["spec"]["containers"][0]["env"][0] == {"name": "AWS_REGION", "value": "mine"}
    for container in got["spec"]["containers"] + got["spec"]["initContainers"][1:]:
        assert [e["name"] for e in container["env"]].count("AWS_REGION") == 1
        assert one(container["env"], "AWS_ENDPOINT_URL") and one(container["volumeMounts"], "skyvol-s3-token")
    assert got["spec"]["terminationGracePeriodSeconds"] == 9007199254740993
    assert "patch" not in webhook.review(got)
    got["spec"]["containers"].append({"name": "by another webhook"})
    again = webhook.changed(got)
    assert one(again["spec"]["containers"][2]["env"], "AWS_ENDPOINT_URL")
    assert len(again["spec"]["initContainers"]) == 2 and len(again["spec"]["volumes"]) == 5


def test_others_are_left_alone_and_wishes_that_cannot_be_are_refused_with_a_reason(webhook):
    for left in (pod(), pod(**{"skyvol.io/other": "x"})):
        assert webhook.review(left) == {"uid": "7-8-9", "allowed": True}
    assert webhook.review(pod(**S3), operation="UPDATE") == {"uid": "7-8-9", "allowed": True}
    assert webhook.review(pod(**S3), kind={"group": "apps", "version": "v1", "kind": "Deployment"})["allowed"]
    host = pod({"hostNetwork": True, "containers": [{"name": "a"}]}, **S3)
    port = pod({"containers": [{"name": "app", "ports": [{"containerPort": 9001}]}]}, **S3)
    for refused, word in ((host, "hostNetwork"), (port, "container app has the port 9001"), (pod(**{"skyvol.io/s3": "No/Name"}), "name of a claim"),
                          (pod(**{"skyvol.io/s3": ""}), "name of a claim"),
                          (pod(**S3, **{"skyvol.io/s3-secret": "../x"}), "Secret"),
                          (pod({"containers": []}, **S3), "containers")):
        answer = webhook.review(refused)
        assert answer["allowed"] is False and word in answer["status"]["message"], answer


def test_a_name_that_no_bucket_can_have_is_refused_before_its_sidecar_would_not_start(webhook):
    for name in ("192.168.1.1", "a..b", "xn--photos"):
        answer = webhook.review(pod(**{"skyvol.io/s3": name}))
        assert not answer["allowed"] and "3 to 63" in answer["status"]["message"], name


def test_an_image_that_was_left_empty_is_missing(kube, workdir):
    done = subprocess.run([program("skyvol-webhook"), "--namespace", SPACE, *kube.options(workdir)], capture_output=True,
                          env={**os.environ, "SKYVOL_WEBHOOK_IMAGE": ""}, text=True, timeout=20, check=False)
    assert done.returncode != 0 and "option --image is missing" in done.stderr


def test_what_is_no_review_is_refused_and_large_ones_are_bounded(webhook):
    for body in ("", "x", "[]", '{"kind": "AdmissionReview"}', "[" * 2000):
        assert webhook.post(body)[0] == 400
    assert webhook.post("{}", "/other")[0] == 404
    big = pod(**S3)
    big["metadata"]["annotations"]["pad"] = "x" * (3 << 20)
    assert webhook.review(big)["patch"]
    try:
        assert webhook.post("x" * (7 << 20))[0] == 413
    except (ConnectionError, ssl.SSLError):
        pass  # it does not read what it will not take
    assert webhook.review(pod(**S3))["patch"]


def test_an_api_server_with_many_requests_at_once_is_answered(webhook):
    """It has one address, a connection for each request under way, and keeps 25 of them."""
    bundle = webhook.bundle()
    kept = [webhook.connect(bundle) for _ in range(80)]
    for one in kept:
        one.connect()
    for one in kept:
        one.request("POST", "/mutate", "{}", {"Content-Type": "application/json"})
    for one in kept:
        assert one.getresponse().status == 400
        one.close()


def test_the_certificate_is_made_once_and_kept_over_a_restart(webhook, workdir, processes, kube):
    secret = kube.get("v1", "secrets", f"{NAME}-tls", SPACE)
    assert set(secret["data"]) == {"ca.crt", "tls.crt", "tls.key"} and secret["metadata"]["labels"] == {"a": "b"}
    assert {c["path"] for c in kube.calls()} == {
        f"/api/v1/namespaces/{SPACE}/secrets/{NAME}-tls", f"/apis/{HOOKS[0]}/{HOOKS[1]}/{NAME}"}
    before = webhook.served()
    processes.stop(webhook.process)
    assert webhook.process.returncode == 0
    assert base64.b64decode(secret["data"]["tls.key"]).decode() not in webhook.process.log.read_text()
    again = Webhook(workdir, processes, kube, name="again").wait()
    assert again.served() == before
    assert kube.get("v1", "secrets", f"{NAME}-tls", SPACE)["data"] == secret["data"]


def test_replicas_that_start_together_agree(workdir, processes, kube):
    both = [Webhook(workdir, processes, kube, name=f"replica{i}") for i in range(3)]
    for replica in both:
        replica.wait()
    wait_until(lambda: len({r.served() for r in both}) == 1, what="one certificate")
    assert both[0].review(pod(**S3))["patch"]


def test_another_certificate_is_served_without_a_break_and_the_old_one_is_trusted_meanwhile(webhook, kube):
    first = webhook.served()
    kept = webhook.connect()
    kept.connect()
    secret = kube.get("v1", "secrets", f"{NAME}-tls", SPACE)
    old_bundle = webhook.bundle()
    secret["data"]["tls.crt"] = ""  # as one that has ended
    kube.put("v1", "secrets", secret)
    wait_until(lambda: webhook.bundle() != old_bundle, what="another authority", process=webhook.process)
    assert old_bundle in webhook.bundle(), "replicas that still serve the old one are trusted"
    while webhook.served() == first:
        assert webhook.review(pod(**S3))["patch"]
    assert webhook.review(pod(**S3))["patch"]
    with pytest.raises(ssl.SSLError):
        webhook.connect(old_bundle).connect()
    kept.close()


def test_a_certificate_in_the_last_third_of_its_time_is_renewed(workdir, processes, kube):
    certs = workdir / "certs"
    for arguments in (("init", certs, "--days", "90"),
                      ("issue", certs, "x", "--host", f"{NAME}.{SPACE}.svc", "--days", "90")):
        subprocess.run([program("skyvolctl"), "certs", *arguments], check=True, capture_output=True)
    names = {"ca.crt": "ca.crt", "tls.crt": "x.crt", "tls.key": "x.key"}
    secret = kube.get("v1", "secrets", f"{NAME}-tls", SPACE)
    secret["data"] = {k: base64.b64encode((certs / v).read_bytes()).decode() for k, v in names.items()}
    kube.put("v1", "secrets", secret)
    young = Webhook(workdir, processes, kube, name="young").wait()
    assert young.bundle() == (certs / "ca.crt").read_text(), "one of 90 days is young"
    processes.stop(young.process)
    other = Webhook(workdir, processes, kube, "--service", "other", name="other").wait()
    assert young.bundle() != (certs / "ca.crt").read_text(), "one of another name is of no use"
    processes.stop(other.process)


def test_a_replica_that_tells_of_an_older_authority_takes_it_back(workdir, processes, kube):
    """Another one renews between its look at the Secret and its word to the API server."""
    certs = workdir / "certs"
    for arguments in (("init", certs), ("issue", certs, "x", "--host", f"{NAME}.{SPACE}.svc")):
        subprocess.run([program("skyvolctl"), "certs", *arguments], check=True, capture_output=True)
    data = {k: base64.b64encode((certs / v).read_bytes()).decode()
            for k, v in {"ca.crt": "ca.crt", "tls.crt": "x.crt", "tls.key": "x.key"}.items()}
    kube.fault(method="GET", path="/mutatingwebhookconfigurations/", delay=2)
    webhook = Webhook(workdir, processes, kube, "--look-every", "1h")
    wait_until(lambda: kube.calls("GET", "/mutatingwebhookconfigurations/"), what="its look", process=webhook.process)
    secret = kube.get("v1", "secrets", f"{NAME}-tls", SPACE)
    secret["data"] = data
    kube.put("v1", "secrets", secret)
    hooks = kube.get(*HOOKS, NAME)
    hooks["webhooks"][0]["clientConfig"]["caBundle"] = data["ca.crt"]
    kube.put(*HOOKS, hooks)
    wait_until(lambda: len(kube.calls("PATCH", "/mutatingwebhookconfigurations/")) > 1, what="its second word",
               process=webhook.process)
    assert webhook.bundle() == (certs / "ca.crt").read_text()
    assert webhook.wait().review(pod(**S3))["patch"]


def test_an_api_server_in_trouble_delays_and_ends_nothing(workdir, processes, kube):
    kube.fault(times=2, path="/secrets/", status=500, body="nonsense")
    kube.fault(path="/mutatingwebhookconfigurations/", status=429, headers={"Retry-After": "1"})
    kube.fault(method="PUT", path="/secrets/", status=409, body={"reason": "Conflict"})
    webhook = Webhook(workdir, processes, kube).wait()
    assert webhook.review(pod(**S3))["patch"]
    kube.own_tokens = set()
    assert webhook.review(pod(**S3))["patch"]
    with urllib.request.urlopen(f"http://127.0.0.1:{webhook.status}/healthz", timeout=10) as answer:
        assert answer.read() == b"ok\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{webhook.status}/metrics", timeout=10) as answer:
        assert b"skyvol_webhook_patched_total 2" in answer.read()


def test_a_configuration_that_was_overwritten_is_told_again(webhook, kube):
    hooks = kube.get(*HOOKS, NAME)
    del hooks["webhooks"][0]["clientConfig"]["caBundle"]
    hooks["webhooks"].insert(0, {"name": "another.skyvol.io", "clientConfig": {}})
    kube.put(*HOOKS, hooks)
    wait_until(lambda: all("caBundle" in h["clientConfig"] for h in kube.get(*HOOKS, NAME)["webhooks"]),
               what="the bundle", process=webhook.process)

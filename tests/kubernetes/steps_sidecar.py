# SPDX-License-Identifier: Apache-2.0
"""S3 in a pod, by an annotation and by hand: what SDKs find there, and that it is what the mount shows."""
import contextlib
import json
import os
import secrets
import subprocess
import tempfile
from pathlib import Path

from kube import SYSTEM, StepError
from steps import no_mounts, step, volume_of

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = ROOT / "examples"
BUILD = ROOT / os.environ.get("BUILD", "build")
STORE = f"http://skyvol-s3.{SYSTEM}.svc:9000"

# An application as any other: boto3 is told nothing, it reads the environment.
APPLICATION = r"""
import json, os, sys, time, urllib.error, urllib.request
import boto3, botocore.exceptions
bucket = sys.argv[1]
s3 = boto3.client("s3")

def until(what, condition):
    end, seen = time.monotonic() + 60, ""
    while time.monotonic() < end:
        try:
            if condition():
                return
        except (OSError, botocore.exceptions.ClientError) as e:
            seen = e
        time.sleep(0.2)
    sys.exit(f"not within 60 s: {what} {seen}")

def read(key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()

s3.put_object(Bucket=bucket, Key="by-s3", Body=b"by S3\n")
assert read("by-s3") == b"by S3\n"
until("the mount shows what came by S3", lambda: open("/data/by-s3").read() == "by S3\n")
with open("/data/by-mount", "w") as file:
    file.write("by mount\n")
until("S3 shows what was written on the mount", lambda: read("by-mount") == b"by mount\n")
with open("/data/by-s3", "a") as file:
    file.write("and by mount\n")
until("S3 shows what was added on the mount", lambda: read("by-s3") == b"by S3\nand by mount\n")
assert sorted(os.listdir("/data")) == ["by-mount", "by-s3"], os.listdir("/data")
s3.delete_object(Bucket=bucket, Key="by-s3")
until("the mount shows what was deleted by S3", lambda: not os.path.exists("/data/by-s3"))
os.unlink("/data/by-mount")
until("S3 shows what was deleted on the mount", lambda: "Contents" not in s3.list_objects_v2(Bucket=bucket))
try:
    urllib.request.urlopen(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], timeout=10)
    sys.exit("credentials are given to who shows no token")
except urllib.error.HTTPError as e:
    assert e.code in (401, 403), e.code
print(json.dumps(dict(os.environ)))
"""


@contextlib.contextmanager
def claim_and_key(kube, cluster, name):
    """A claim; its bucket, and a key for it, as docs/s3-from-pods.md says to make it."""
    if not kube.tools:
        raise StepError("left out: TOOLS names no image with Python and boto3")
    kube.apply(kube.claim(name))
    shown = json.loads(kube.skyvolctl("volume", "show", volume_of(kube, name), "--json"))["volume"]
    key = json.loads(kube.skyvolctl("keys", "create", "--bucket", shown["bucket"], "--json"))
    with kube.store(key) as s3:
        def known():
            with contextlib.suppress(s3.exceptions.ClientError):
                return s3.head_bucket(Bucket=shown["bucket"])
        kube.wait("skyvol-s3 knows the key", 30, known)
    yield shown["bucket"], key
    kube.delete("pvc", name)
    kube.skyvolctl("keys", "delete", key["access_key"])
    no_mounts(kube, cluster)


def application(kube, bucket, claim):
    pod = kube.pod(claim, "", claim=claim, image=kube.tools)
    pod["spec"]["containers"][0]["command"] = ["python3", "-c", APPLICATION, bucket]
    return pod


def check(kube, name, key, token_file):
    """The contract: where S3 is, where keys are fetched, and no key in the environment or the pod's own text."""
    found = json.loads(kube.succeeded(name).splitlines()[-1])
    promised = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000", "AWS_REGION": "us-east-1",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9001/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token_file}
    have = {variable: value for variable, value in found.items() if variable.startswith("AWS_")}
    assert have == promised, have
    pod = kube.get("pod", name)
    assert pod["spec"]["initContainers"][0]["name"] == "skyvol-s3"
    assert pod["spec"]["initContainers"][0]["restartPolicy"] == "Always"
    for text in (json.dumps(found), json.dumps(pod)):
        assert key["secret_key"] not in text and key["access_key"] not in text
    kube.delete("pod", name)


def image(kube):
    """Of skyvol-s3."""
    return kube.get("statefulset", "skyvol-s3", namespace=SYSTEM)["spec"]["template"]["spec"]["containers"][0]["image"]


def credentials(key):
    return json.dumps({"accessKey": key["access_key"], "secretKey": key["secret_key"]})


@step("an annotated pod has its volume by S3, too, and both see what the other writes")
def annotated(kube, cluster):
    kube.run("label", "namespace", kube.namespace, "skyvol.io/s3=enabled", "--overwrite")
    with claim_and_key(kube, cluster, "annotated") as (bucket, key):
        pod = application(kube, "annotated", "annotated")
        pod["metadata"] |= {"annotations": {"skyvol.io/s3": "annotated"}, "namespace": kube.namespace}
        kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "annotated-s3"}, "stringData": {
            "location": f"s3://{bucket}", "endpoint": STORE, "credentials": credentials(key)}})
        kube.wait("the webhook is asked", 60, lambda: "skyvol-s3" in kube.run(
            "apply", "--dry-run=server", "-o", "json", "-f", "-", data=json.dumps(pod)))
        kube.apply(pod)
        check(kube, "annotated", key, "/var/run/secrets/skyvol.io/s3/token")
    kube.delete("secret", "annotated-s3")
    kube.run("label", "namespace", kube.namespace, "skyvol.io/s3-")


def tls_store(kube, directory, name):
    """A store with a certificate of an authority of its own, as a pod with a Service; and a bucket in it."""
    host = f"{name}.{kube.namespace}.svc"
    for words in (["init", directory], ["issue", directory, "s3", "--host", host, "--host", "127.0.0.1"]):
        subprocess.run([BUILD / "bin/skyvolctl", "certs", *words], check=True, capture_output=True, timeout=60)
    key = {"access_key": name, "secret_key": secrets.token_hex(16)}
    files = {"tls.crt": (directory / "s3.crt").read_text(), "tls.key": (directory / "s3.key").read_text(),
             "keys.json": json.dumps(key)}
    pod = kube.pod(name, "", volume={"emptyDir": {}}, labels={"app": name}, image=image(kube))
    container = pod["spec"]["containers"][0]
    container.pop("command")
    container["args"] = ["--listen=:9000", "--dir=/data/store", "--credentials-file=/secret/keys.json",
                         "--tls-cert-file=/secret/tls.crt", "--tls-key-file=/secret/tls.key", "--run-dir=/data/run"]
    container["volumeMounts"].append({"name": "secret", "mountPath": "/secret"})
    pod["spec"]["volumes"].append({"name": "secret", "secret": {"secretName": name, "defaultMode": 0o440}})
    pod["spec"]["securityContext"] = {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": files}, pod,
               {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"port": 9000}]}})
    kube.running(name)
    import boto3
    with kube.forward(name, 9000, kube.namespace) as port:
        s3 = boto3.client("s3", endpoint_url=f"https://127.0.0.1:{port}", region_name="us-east-1",
                          verify=str(directory / "ca.crt"), aws_access_key_id=key["access_key"],
                          aws_secret_access_key=key["secret_key"])
        s3.create_bucket(Bucket="bucket")
    return key, f"https://{host}:9000"


@step("an annotated pod reaches a store by the authority that it names, and none without")
def trusts(kube, _):
    if not kube.tools:
        raise StepError("left out: TOOLS names no image with Python and boto3")
    kube.run("label", "namespace", kube.namespace, "skyvol.io/s3=enabled", "--overwrite")
    script = ("import boto3; s3 = boto3.client('s3'); s3.put_object(Bucket='trusts', Key='x', Body=b'by TLS'); "
              "print(s3.get_object(Bucket='trusts', Key='x')['Body'].read().decode())")
    try:
        with tempfile.TemporaryDirectory(prefix="skyvol-tls-") as directory:
            key, endpoint = tls_store(kube, Path(directory), "tls-store")
            authority = Path(directory, "ca.crt").read_text()
        kube.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "store-ca"}, "data": {"ca.pem": authority}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "trusts-s3"}, "stringData": {
                "location": "s3://bucket", "endpoint": endpoint, "credentials": credentials(key)}})
        for name, trust in (("trusts", {"skyvol.io/s3-trust": "store-ca/ca.pem"}), ("trusts-not", {})):
            pod = kube.pod(name, "", volume={"emptyDir": {}}, image=kube.tools)
            pod["spec"]["containers"][0]["command"] = ["python3", "-c", script]
            pod["metadata"]["annotations"] = {"skyvol.io/s3": "trusts"} | trust
            kube.apply(pod)
        assert kube.succeeded("trusts") == "by TLS\n"
        kube.wait("the other's end", 120, lambda: kube.phase("trusts-not") == "Failed")
    finally:
        kube.delete("pod", "trusts", "trusts-not", "tls-store")
        kube.delete("secret", "trusts-s3", "tls-store")
        kube.delete("configmap", "store-ca")
        kube.delete("service", "tls-store")
        kube.run("label", "namespace", kube.namespace, "skyvol.io/s3-")


def documents(text):
    """kubectl prints one JSON document after the other, or a list."""
    found, decoder = [], json.JSONDecoder()
    while text.strip():
        one, end = decoder.raw_decode(text.lstrip())
        text = text.lstrip()[end:]
        found += one["items"] if one["kind"] == "List" else [one]
    return found


@step("a pod with the sidecar of examples/s3-sidecar.yaml has the same")
def by_hand(kube, cluster):
    with claim_and_key(kube, cluster, "by-hand") as (bucket, key):
        secret, pod = documents(kube.run("-n", kube.namespace, "create", "--dry-run=client", "-o", "json", "-f",
                                         EXAMPLES / "s3-sidecar.yaml"))
        secret = {name: secret[name] for name in ("apiVersion", "kind", "metadata")}
        secret["stringData"] = {"credentials": credentials(key)}
        sidecar, app = pod["spec"]["initContainers"][0], pod["spec"]["containers"][0]
        own = {"--volume": f"data=s3://{bucket}", "--store-endpoint": STORE, "--store-region": "us-east-1"}
        arguments = [(a.split("=")[0], a) for a in sidecar["args"]]
        assert set(own) <= {name for name, _ in arguments}, "the example has other options"
        sidecar["args"] = [f"{name}={own[name]}" if name in own else whole for name, whole in arguments]
        sidecar["image"] = image(kube)
        app["image"], app["command"] = kube.tools, ["python3", "-c", APPLICATION, "data"]
        app["volumeMounts"].append({"name": "claim", "mountPath": "/data"})
        pod["spec"]["volumes"].append({"name": "claim", "persistentVolumeClaim": {"claimName": "by-hand"}})
        pod["metadata"] = {"name": "by-hand"}
        kube.apply(secret, pod)
        check(kube, "by-hand", key, "/var/run/skyvol/token")
        kube.delete("secret", secret["metadata"]["name"])

# SPDX-License-Identifier: Apache-2.0
"""What a pod's author cannot reach: another's bucket, a registered store, the node, the cloud's metadata."""
import contextlib

from kube import DRIVER, SYSTEM, StepError
from steps import keys, no_mounts, step, volume_of

NO_KEYS = r"AccessDenied.*no credentials were given"
STORE = f"http://skyvol-s3.{SYSTEM}.svc:9000"


@contextlib.contextmanager
def another_claim(kube, cluster):
    """A claim with a file; its PersistentVolume and its bucket."""
    kube.apply(kube.claim("another"), kube.pod("owner", "echo hidden >/data/hidden", claim="another"))
    kube.succeeded("owner")
    volume = kube.get("pv", volume_of(kube, "another"))
    with kube.store() as s3:
        found = [b["Name"] for b in s3.list_buckets()["Buckets"]
                 for o in s3.list_objects_v2(Bucket=b["Name"]).get("Contents", []) if o["Key"] == "hidden"]
    assert len(found) == 1, found
    yield volume, found[0]
    kube.delete("pod", "owner")
    kube.delete("pvc", "another")
    no_mounts(kube, cluster)


def refused(kube, cluster, tries):
    """None of the pods (name: volume and what its event says) runs, and each can be removed. All at once."""
    wrong = []
    try:
        kube.apply(*(kube.pod(name, "cat /data/hidden", volume=volume) for name, (volume, _) in tries.items()))
        for name, (_, says) in tries.items():
            try:
                kube.says(name, says)
                phase = kube.phase(name)
                assert phase == "Pending", f"{name} is {phase}: {kube.logs(name)[-200:]}"
            except (StepError, AssertionError) as e:
                wrong.append(str(e))
    finally:
        kube.delete("pod", *tries)
        no_mounts(kube, cluster)
    if wrong:
        raise StepError("; ".join(wrong))


def inline(secret=None, **attributes):
    volume = {"driver": DRIVER, "volumeAttributes": attributes}
    if secret:
        volume["nodePublishSecretRef"] = {"name": secret}
    return {"csi": volume}


def secrets(kube):
    """Those that a pod's author can make: he may know the access key, which is no secret, and where the store is."""
    return [keys(kube, "stranger", accessKeyID="stranger", secretAccessKey="guessed"),
            keys(kube, "guessed", secretAccessKey="guessed")]


@step("inline volumes reach no other claim's bucket, no registered store, and nothing of the node")
def inline_volumes(kube, cluster):
    kube.apply(*secrets(kube))
    path, local = r"operator's to set \(it names a path of the host\)", r"on the node itself or link-local"
    with another_claim(kube, cluster) as (volume, bucket):
        at = {"bucket": bucket, "endpoint": STORE}
        tries = {
            "no-secret": (inline(**at), NO_KEYS),
            "unknown-key": (inline("stranger", bucket=bucket), r"InvalidAccessKeyId"),
            "wrong-key": (inline("guessed", bucket=bucket), r"SignatureDoesNotMatch"),
            "store": (inline(store="default", bucket=bucket), r"attribute 'store' is unknown"),
            "as-managed": (inline(**volume["spec"]["csi"]["volumeAttributes"] | at | {
                "skyvol.io/managed": "true", "csi.storage.k8s.io/ephemeral": "false"}), NO_KEYS),
            "anonymous": (inline(**at, options="anonymous"), NO_KEYS),
            "other-endpoint": (inline(bucket=bucket, endpoint="https://kubernetes.default.svc"),
                               r"not among those that this node allows"),
            "metadata": (inline(bucket=bucket, endpoint="http://169.254.169.254"), local),
            "metadata-as-number": (inline(bucket=bucket, endpoint="http://2852039166"), local),
            "metadata-as-option": (inline(bucket=bucket, options="url=http://169.254.169.254"), local),
            "loopback": (inline(bucket=bucket, endpoint="http://[::1]:9000"), local),
            "cache": (inline(**at, options="cache=/var/lib/skyvol"), path),
            "ca-file": (inline(**at, options="ca_file=/etc/shadow"), path),
            "journal": (inline(**at, options="journal=/etc"), path),
            "operators": (inline(**at, options="memory=1TiB"), r"memory' is the operator's to set"),
        }
        refused(kube, cluster, tries)
    kube.delete("secret", "stranger", "guessed")


def static(kube, name, handle, secret=None, **attributes):
    """What an administrator may have made by mistake, and a claim on it."""
    csi = {"driver": DRIVER, "volumeHandle": handle, "volumeAttributes": attributes}
    if secret:
        csi["nodeStageSecretRef"] = {"name": secret, "namespace": kube.namespace}
    return [{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
             "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "storageClassName": "",
                      "persistentVolumeReclaimPolicy": "Retain",
                      "claimRef": {"namespace": kube.namespace, "name": name}, "csi": csi}},
            kube.claim(name, storage_class="", volumeName=name)]


@step("static volumes reach a managed volume's bucket by no name of it without its keys")
def static_volumes(kube, cluster):
    kube.apply(*secrets(kube))
    with another_claim(kube, cluster) as (volume, bucket):
        handle = volume["spec"]["csi"]["volumeHandle"]
        tries = {
            "by-bucket": ((bucket, None), {"endpoint": STORE}, NO_KEYS),
            "by-attribute": (("any-name", None), {"bucket": bucket, "endpoint": STORE}, NO_KEYS),
            "by-guessed-key": (("another-name", "guessed"), {"bucket": bucket}, r"SignatureDoesNotMatch"),
            # Its id, as the claim's own PersistentVolume has it, but not what makes it a managed one.
            "by-handle": ((handle, None), {"endpoint": STORE}, rf"{NO_KEYS}|NoSuchBucket"),
        }
        for name, (arguments, attributes, _) in tries.items():
            kube.apply(*static(kube, name, *arguments, **attributes))
        try:
            refused(kube, cluster, {name: ({"persistentVolumeClaim": {"claimName": name}}, says)
                                    for name, (_, _, says) in tries.items()})
        finally:
            kube.delete("pvc", *tries)
            kube.delete("pv", *tries)
    kube.delete("secret", "stranger", "guessed")

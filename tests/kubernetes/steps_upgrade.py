# SPDX-License-Identifier: Apache-2.0
"""Another version and the one before again, while a pod writes and compares."""
import os

import images
import steps
import steps_docs
from kube import SYSTEM, StepError
from steps import gone, kill, load, mounters, no_mounts, processes, step, volume_of

VERSION = images.ours.version()
NEXT = f"{VERSION}-next"
PARTS = {"skyvol-holder": "holder", "skyvol-node": "node"}  # DaemonSet: its container


def roll(kube, name):
    """Until the pods of the DaemonSet are new ones and the old ones are gone."""
    kube.rolled_out(f"daemonset/{name}")

    def settled():
        pods = kube.items("pods", f"-l=app.kubernetes.io/name={name}", namespace=SYSTEM)
        return len(pods) == kube.get("daemonset", name, namespace=SYSTEM)["status"]["desiredNumberScheduled"]
    kube.wait(f"the end of the old pods of {name}", 90, settled)


def image_of(kube, name):
    return kube.get("daemonset", name, namespace=SYSTEM)["spec"]["template"]["spec"]["containers"][0]["image"]


def space_of(pid):
    return os.readlink(f"/proc/{pid}/ns/mnt")


@step("node plugin, holder and then the mounters go to another version and back while a pod writes")
def upgrade_and_back(kube, cluster):
    """The other version is the same programs under another tag."""
    if not cluster:
        raise StepError("left out: in another's cluster there is no second version")
    for name in PARTS:
        image = f"docker.io/library/{name}"
        cluster.first.ctr("images", "tag", "--force", f"{image}:{VERSION}", f"{image}:{NEXT}")
    before = {name: image_of(kube, name) for name in PARTS}
    with load(kube, "upgrade") as more:
        for version in (NEXT, VERSION):
            pids = mounters()
            for name, container in reversed(PARTS.items()):
                if version == NEXT:
                    kube.run("-n", SYSTEM, "set", "image", f"daemonset/{name}", f"{container}={name}:{NEXT}")
                else:
                    kube.run("-n", SYSTEM, "rollout", "undo", f"daemonset/{name}")
                roll(kube, name)
                assert image_of(kube, name) == f"{name}:{version}"
                more()
            # Mounters that run keep their version; one that is ended comes back in that of the holder.
            assert pids and pids == mounters(), "a mounter did not outlive its holder's pod"
            holders = {space_of(pid) for pid in processes("skyvol-holder")}
            assert not {space_of(pid) for pid in pids} & holders, "the mounter is of the new pod already"
            kill(pids)
            more()
            assert {space_of(pid) for pid in mounters()} == holders, "a mounter is not of the new holder's pod"
    assert {name: image_of(kube, name) for name in PARTS} == before
    no_mounts(kube, cluster)


def next_overlay():
    """All of another version but the embedded store, which would begin empty here."""
    directory = steps.OVERLAY.parent / "overlay-next"
    directory.mkdir(exist_ok=True)
    names = [name for name in images.ours.IMAGES if name != "s3"]
    (directory / "kustomization.yaml").write_text("\n".join([
        "apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", f"resources: [../{steps.OVERLAY.name}]", "images:",
        *(f"  - {{name: skyvol-{name}, newTag: {NEXT}}}" for name in names)]) + "\n")
    return directory, names


@step("another version's overlay is applied, and the one before again, while a pod writes")
def apply_and_back(kube, cluster):
    if not cluster:
        raise StepError("left out: in another's cluster there is no second version")
    directory, names = next_overlay()
    for name in names:
        image = f"docker.io/library/skyvol-{name}"
        cluster.first.ctr("images", "tag", "--force", f"{image}:{VERSION}", f"{image}:{NEXT}")
    words = "\n".join(steps_docs.block("upgrade.md", "kubectl apply -k").splitlines()[3:])
    assert "delete job" in words
    with load(kube, "applied") as more, steps_docs.shell(kube) as user:
        for overlay, version in ((directory, NEXT), (steps.OVERLAY, VERSION)):
            user.type(words, **{"YOUR-OVERLAY": str(overlay)})
            kube.rolled_out("statefulset/skyvol-meta", "deployment/skyvol-controller", "deployment/skyvol-webhook",
                            *(f"daemonset/{name}" for name in PARTS))
            for name in PARTS:
                roll(kube, name)
            found = {c["image"].split("/")[-1] for p in kube.items("pods", namespace=SYSTEM)
                     if "deletionTimestamp" not in p["metadata"]
                     for c in p["spec"]["containers"] if "/skyvol-" in f"/{c['image']}"}
            other = {name for name in found if not name.endswith(f":{version}")}
            assert other <= {f"skyvol-s3:{VERSION}"}, f"not of {version}: {other}"
            more()
            kube.apply(kube.claim(f"new-{overlay.name}"),
                       kube.pod("new", "echo a >/data/a && cat /data/a", claim=f"new-{overlay.name}"))
            assert kube.succeeded("new") == "a\n"
            volume = volume_of(kube, f"new-{overlay.name}")
            kube.delete("pod", "new")
            kube.delete("pvc", f"new-{overlay.name}")
            gone(kube, "pv", volume, 120)
    no_mounts(kube, cluster)


@step("a node's taint goes when volumes can be mounted there")
def ready_taint(kube, cluster):
    if not cluster:
        raise StepError("left out: another's node gets no taint")
    node = kube.items("nodes")[0]["metadata"]["name"]
    kube.run("taint", "node", node, "csi.skyvol.io/agent-not-ready:NoSchedule", "example.com/kept:NoSchedule")
    try:
        kube.delete("pod", *kube.system_pods("skyvol-node"), namespace=SYSTEM)
        kube.wait("the end of the taint", 120, lambda: [
            t["key"] for t in kube.get("node", node)["spec"].get("taints", [])] == ["example.com/kept"])
    finally:
        kube.run("taint", "node", node, "example.com/kept-")
        kube.run("taint", "node", node, "csi.skyvol.io/agent-not-ready-", check=False)
    kube.rolled_out("daemonset/skyvol-node")

# SPDX-License-Identifier: Apache-2.0
"""What the documents tell an administrator to type, typed: every manifest tried, a look around, backup and restore."""
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path

import apiserver
import images
import steps
from kube import SYSTEM, StepError
from steps import gone, no_mounts, step, volume_of

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS, DEPLOY = ROOT / "docs", ROOT / "deploy/kubernetes"
DISK = Path("/var/lib/skyvol-data")  # of components/hostpath-volumes
STORE = f"http://skyvol-s3.{SYSTEM}.svc:9000"


# --- every manifest ----------------------------------------------------------

@contextlib.contextmanager
def definitions(kube):
    """Of the kinds of others that our manifests use, where the cluster has none."""
    names = [f"{plural}.{group}" for group, _, plural in apiserver.CRDS]
    made = [(name, one) for name, one in zip(names, apiserver.CRDS) if not kube.get("customresourcedefinition", name)]
    for _, one in made:
        kube.run("apply", "-f", "-", data=json.dumps(apiserver.definition(*one)))
    try:
        for name, _ in made:
            kube.run("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
        yield
    finally:
        for name, _ in made:
            kube.delete("customresourcedefinition", name)


def alone(directory):
    """A kustomization of the overlay dev and each component that no overlay has."""
    on_top = {"s3-tls": ["s3-gateway"], "webhook-trust": ["webhook"]}
    used = "".join(p.read_text() for p in DEPLOY.glob("overlays/*/kustomization.yaml"))
    for component in sorted(p.name for p in (DEPLOY / "components").iterdir()):
        if re.search(rf"components/{component}[\],\s]", used):
            continue
        at = Path(directory, component)
        at.mkdir()
        deploy = os.path.relpath(DEPLOY, at)
        listed = ", ".join(f"{deploy}/components/{name}" for name in [*on_top.get(component, []), component])
        (at / "kustomization.yaml").write_text(
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: skyvol-system\n"
            f"resources: [{deploy}/overlays/dev]\ncomponents: [{listed}]\n")
        yield at


def try_out(kube, what):
    """How many objects were taken, and what is wrong with them."""
    done = subprocess.run([*kube.command, "apply", "--dry-run=server", "--validate=strict", *map(str, what)],
                          check=False, text=True, capture_output=True, timeout=240)
    told = [line for line in done.stderr.splitlines() if "serviceAccountTokenInSecrets" not in line]
    return len(done.stdout.splitlines()), \
        f"{Path(what[1]).name}: {' '.join(told)[:400]}" if done.returncode or told else None


def dry_run(kube):
    """Each overlay, component and example by this API server, strictly: before anything of ours is there."""
    if kube.get("namespace", SYSTEM):
        return f"left out, as {SYSTEM} is there already"
    kube.run("apply", "-f", DEPLOY / "base/namespace.yaml")
    try:
        with definitions(kube), tempfile.TemporaryDirectory(dir=steps.OVERLAY.parent) as directory:
            tries = [["-k", p] for p in [*sorted((DEPLOY / "overlays").iterdir()), *alone(directory)]]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                found = list(pool.map(lambda what: try_out(kube, what), [["-f", ROOT / "examples"], *tries]))
            count, wrong = sum(n for n, _ in found), [told for _, told in found if told]
            bad = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dta": {}}
            with contextlib.suppress(StepError):  # a check that refuses nothing is none
                kube.run("apply", "--dry-run=server", "--validate=strict", "-f", "-", data=json.dumps(bad))
                wrong.append("an unknown field is taken")
    finally:
        kube.delete("namespace", SYSTEM)
    if wrong:
        raise StepError("; ".join(wrong))
    return f"{count} objects"


steps.STEPS.insert(0, ("every overlay, component and example is taken by the API server in a strict dry run",
                       lambda kube, _: dry_run(kube), False))


# --- commands ----------------------------------------------------------------

def block(page, line):
    """The indented lines around the last one in which `line` stands."""
    lines = (DOCS / page).read_text().splitlines()
    first = last = [i for i, text in enumerate(lines) if line in text and text.startswith("    ")][-1]
    while lines[first - 1].startswith("    "):
        first -= 1
    while last + 1 < len(lines) and lines[last + 1].startswith("    "):
        last += 1
    return textwrap.dedent("\n".join(lines[first:last + 1]))


class Shell:
    """Where an administrator types: a directory with our sources in it, kubectl and skyvolctl in PATH."""

    def __init__(self, kube, directory):
        self.at = Path(directory)
        for name in ("examples", "deploy", "build"):
            (self.at / name).symlink_to(ROOT / name)
        self.environment = {
            **os.environ, "KUBECONFIG": kube.command[1].partition("=")[2],
            "PATH": f"{Path(kube.command[0]).parent}:{ROOT}/build/bin:{os.environ['PATH']}"}

    def type(self, script, **replaced):
        """`replaced`: words of the documents that stand for the reader's own."""
        for word, own in replaced.items():
            assert word in script, f"{word} is not in: {script}"
            script = script.replace(word, own)
        begin = "set -eu -o pipefail; shopt -s expand_aliases; trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n"
        done = subprocess.run(["bash", "-c", begin + script], check=False, text=True, capture_output=True, timeout=240,
                              cwd=self.at, env=self.environment, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise StepError(f"{script[:300]}: {done.stderr[-500:]}")
        return done.stdout


@contextlib.contextmanager
def shell(kube):
    with tempfile.TemporaryDirectory(prefix="skyvol-shell-") as directory:
        yield Shell(kube, directory)


def said(text, pattern):
    assert re.search(pattern, text), f"no /{pattern}/ in: {text[-600:]}"


@step("what the documents say to type works as it stands")
def commands(kube, cluster):
    if not cluster:
        raise StepError("left out: in another's cluster the examples' images may be absent")
    cluster.first.ctr("images", "tag", "--force", images.BUSYBOX, "docker.io/library/busybox:1.37")
    node = kube.items("nodes")[0]["metadata"]["name"]
    space = f"-n {kube.namespace} "
    with shell(kube) as user:
        lines = block("install.md", "kubectl apply -f examples/pvc.yaml -f examples/pod.yaml")
        said(user.type(lines.replace("kubectl ", f"kubectl {space}")), r"10.0G .* /data")
        claim = volume_of(kube, "data")
        said(user.type(block("install.md", "skyvolctl store list")), "default")
        user.type(block("troubleshooting.md", "kubectl describe pod POD"), POD=f"{space}writer")
        holder = block("troubleshooting.md", "H=$(kubectl").splitlines()
        user.type("\n".join([*holder[:2], "kubectl -n skyvol-system exec $H -- skyvolctl stats"]), NODE=node)
        user.type(block("troubleshooting.md", "grep ^skyvol_journal_files").replace("| grep ^", "| grep -c ^skyvol_ #"),
                  NODE=node)
        user.type(f"kubectl {space}patch " + re.search(r"`kubectl patch (pvc data .*?)`", (DOCS / "install.md").read_text())[1])
        kube.wait("more room", 90, lambda: kube.get("pvc", "data")["status"]["capacity"]["storage"] == "20Gi")
        louder, quieter = block("troubleshooting.md", "LOG_LEVEL=debug").splitlines()
        user.type(louder)
        kube.rolled_out("daemonset/skyvol-node")
        kube.wait("more in the log", 60, lambda: "level=debug" in kube.run("-n", SYSTEM, "logs", "daemonset/skyvol-node"))
        user.type(quieter)
        kube.rolled_out("daemonset/skyvol-node")
        # Keys for pods, by both ways.
        alias = block("install.md", "skyvolctl store list").splitlines()[0] + "\n"
        bucket = json.loads(kube.skyvolctl("volume", "show", claim, "--json"))["volume"]["bucket"]
        user.type(block("s3-from-pods.md", "skyvolctl keys create --bucket"), **{
            "pvc-...": claim, "BUCKET": bucket, "-n team ": space})
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} == set(kube.get("secret", "s3-key")["data"])
        user.type(alias + block("s3-from-pods.md", "skyvolctl keys secret"), **{
            "-n team ": space, "--namespace team": f"--namespace {kube.namespace}", "CLAIM": "data"})
        assert {"location", "endpoint", "credentials"} <= set(kube.get("secret", "data-s3")["data"])
        # A store's keys from the administrator's machine, and certificates for the outside.
        keys = kube.secret("skyvol-store-default")["credentials"]
        (user.at / "keys.json").write_text(keys)
        (user.at / "keys.json").chmod(0o600)
        said(user.type(block("install.md", "port-forward svc/skyvol-meta"), **{
            "7443 &": "7443 & sleep 3", "https://s3.example": STORE}), "default")
        lines = block("security.md", "skyvolctl certs init s3-ca").splitlines()
        user.type("\n".join(line for line in lines if "skyvol-s3-outside" not in line))
        upstream = kube.secret("skyvol-s3-upstream")
        assert (upstream["credentials"], upstream["endpoint"]) == (keys, STORE), upstream["endpoint"]
        shutil.copy(user.at / "s3-ca/ca.crt", user.at / "store-ca.crt")
        user.type(block("security.md", "create configmap skyvol-trust"))
    kube.delete("secret", "skyvol-s3-upstream", "skyvol-s3-tls", namespace=SYSTEM)
    kube.delete("configmap", "skyvol-trust", namespace=SYSTEM)
    kube.delete("secret", "s3-key", "data-s3")
    kube.delete("pod", "writer")
    for one in json.loads(kube.skyvolctl("keys", "list", "--json")).get("keys", []):
        kube.skyvolctl("keys", "delete", one["id"])
    kube.delete("pvc", "data")
    gone(kube, "pv", claim, 120)
    no_mounts(kube, cluster)


# --- backup and restore ------------------------------------------------------

def on_disk(kube):
    """skyvol-meta as in overlays/hostpath: its database outlives the pod. It begins empty."""
    node = kube.items("nodes")[0]["metadata"]["name"]
    DISK.mkdir(mode=0o711)
    (DISK / "meta").mkdir()
    kube.run("label", "node", node, "skyvol.io/data=true", "--overwrite")
    kube.run("apply", "-f", DEPLOY / "components/hostpath-volumes/volumes.yaml")
    meta = kube.get("statefulset", "skyvol-meta", namespace=SYSTEM)
    spec = {name: meta["spec"][name] for name in ("serviceName", "replicas", "selector", "template")}
    pod = spec["template"]["spec"]
    pod["volumes"] = [v for v in pod["volumes"] if v["name"] != "data"]
    pod["nodeSelector"]["skyvol.io/data"] = "true"
    spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "skyvol-data", "resources": {"requests": {"storage": "2Gi"}}}}]
    kube.delete("statefulset", "skyvol-meta", namespace=SYSTEM)
    kube.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": spec, "metadata": {
        "name": "skyvol-meta", "namespace": SYSTEM, "labels": meta["metadata"]["labels"]}})
    kube.rolled_out("statefulset/skyvol-meta")


def without_disk(kube):
    kube.delete("pod", "restore-meta", namespace=SYSTEM)
    kube.delete("statefulset", "skyvol-meta", namespace=SYSTEM)
    kube.delete("pvc", "data-skyvol-meta-0", namespace=SYSTEM)
    kube.run("delete", "--ignore-not-found", "--timeout=60s", "-f", DEPLOY / "components/hostpath-volumes/volumes.yaml")
    for node in kube.items("nodes"):
        kube.run("label", "node", node["metadata"]["name"], "skyvol.io/data-")
    shutil.rmtree(DISK, ignore_errors=True)
    kube.run("apply", "-k", steps.OVERLAY)
    kube.rolled_out("statefulset/skyvol-meta")


def known(kube):
    return {v["id"] for v in json.loads(kube.skyvolctl("volume", "list", "--json")).get("volumes", [])}


def before_uninstall(kube):
    """What docs/uninstall.md wants to have been looked at and kept."""
    with shell(kube) as user:
        user.type(block("uninstall.md", "skyvolctl recover"))
        user.type(block("uninstall.md", "last.sqlite last.sqlite"))
        assert (user.at / "last.sqlite").read_bytes().startswith(b"SQLite format 3")
        assert (user.at / "seal.keys").read_text() == kube.secret("skyvol-seal-keys")["seal.keys"]


@step("a restored database has the volumes of its backup, and finds those made since in their buckets")
def restore_meta(kube, cluster):
    if not cluster or DISK.exists():
        raise StepError(f"left out: {DISK} is there, or the node is another's")
    try:
        on_disk(kube)
        kube.wait("the store", 60, lambda: "default" in kube.skyvolctl("store", "list"))
        kube.apply(kube.claim("early"), kube.pod(
            "runs", "i=0; while [ ! -e /data/stop ]; do i=$((i+1)); echo $i >/data/n && sync || exit 1; sleep 0.2; done; "
            "echo whole", claim="early"))
        kube.running("runs")
        with shell(kube) as user:
            user.type("\n".join(block("upgrade.md", "skyvolctl backup").splitlines()[:3]))
            (backup,) = user.at.glob("meta-*.sqlite")
            assert backup.read_bytes().startswith(b"SQLite format 3")
            kube.apply(kube.claim("late"), kube.pod("late", "echo late >/data/late", claim="late"))
            kube.succeeded("late")
            kube.delete("pod", "late")
            lines = block("skyvol-meta.md", "restore-meta.yaml").splitlines()
            rebuild = lines.pop()
            assert "rebuild" in rebuild
            user.type("\n".join(lines).replace("meta-20261121-120000.sqlite", backup.name))
            assert (user.at / "old.sqlite").stat().st_size > 0
            late = kube.get("pv", volume_of(kube, "late"))["spec"]["csi"]["volumeHandle"]
            early = kube.get("pv", volume_of(kube, "early"))["spec"]["csi"]["volumeHandle"]
            assert known(kube) == {early}, known(kube)
            kube.apply(kube.pod("reads", "cat /data/n", claim="early"), kube.pod("later", "cat /data/late", claim="late"))
            assert int(kube.succeeded("reads")) > 0
            kube.says("later", r"skyvolctl rebuild")
            said(user.type(lines[0] + "\n" + rebuild), "added: 1")
            assert kube.succeeded("later") == "late\n"
            kube.apply(kube.pod("stops", "touch /data/stop", claim="early"))
            assert kube.succeeded("runs").strip() == "whole"
            kube.delete("pod", "reads", "later", "runs", "stops")
            # The embedded store has no disk here.
            off = block("uninstall.md", "# off").replace("skyvol-meta skyvol-s3", "skyvol-meta").splitlines()
            user.type("\n".join(off[:2]))
            kube.wait("the end of skyvol-meta", 60, lambda: not kube.items(
                "pods", "-l=app.kubernetes.io/name=skyvol-meta", namespace=SYSTEM))
            user.type("\n".join([off[0], *off[2:]]))
            kube.rolled_out("statefulset/skyvol-meta", "deployment/skyvol-controller")
            assert known(kube) == {early, late}
    finally:
        without_disk(kube)
    kube.wait("all volumes, by their buckets", 60, lambda: known(kube) >= {early, late})
    volumes = [volume_of(kube, name) for name in ("early", "late")]
    kube.delete("pvc", "early", "late")
    for name in volumes:
        gone(kube, "pv", name, 120)
    no_mounts(kube, cluster)

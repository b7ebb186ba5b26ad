# SPDX-License-Identifier: Apache-2.0
"""What a cluster of our own needs beside our images, as archives: the sandbox, a shell, the CSI sidecars."""
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUSYBOX = "localhost/busybox:1"
# As the suite names them; storage specs run nothing but a shell in the last two.
SUITE_SHELLS = ["localhost/busybox:1.37.0-1", "localhost/glibc-dns-testing:2.0.0", "localhost/nginx:1.15-4"]
SUITE_PROGRAM = "localhost/agnhost:2.63.0"
SIDECARS = "registry.k8s.io/sig-storage/"


def load_ours():
    spec = importlib.util.spec_from_file_location("skyvol_images", ROOT / "scripts" / "images.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ours = load_ours()


def write(path, tag, tree, entry=None, command=None):
    layer = ours.layer(tree)
    config = json.loads(ours.config("cli", [layer]))
    config["config"] = {"Entrypoint": entry, "Cmd": command, "Env": [ours.PATH]}
    ours.write_archive(path, tag, json.dumps(config).encode(), [layer])
    return path


def sidecar_versions():
    """Program: version, as go.mod has them."""
    text = (ROOT / "tests/kubernetes/programs/go.mod").read_text()
    found = re.findall(r"external-(provisioner|resizer)/v\d+ (v[\d.]+)", text, re.MULTILINE)
    return {f"csi-{name}": version for name, version in found}


# The suite looks at the node from a pod by `nsenter --mount=/rootfs/proc/1/ns/mnt -- ...`. Where the node's
# first process has more rights than root, nobody may enter it; kubelet sees the same mounts.
NSENTER = """#!/bin/sh
for status in /rootfs/proc/[0-9]*/comm; do
    name=$(cat $status 2>/dev/null)
    [ "$name" = kubelet ] || continue
    pid=${status#/rootfs/proc/}
    shift
    exec busybox nsenter --mount=/rootfs/proc/${pid%%/*}/ns/mnt "$@"
done
exec busybox nsenter "$@"
"""


def build(out, programs, suite=False):
    """The archives' paths; with what Kubernetes' storage suite runs in its pods."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        shell = Path(work) / "shell"
        for name in ("bin", "etc", "proc", "sys", "dev", "root"):
            (shell / name).mkdir(parents=True)
        (shell / "tmp").mkdir()
        (shell / "tmp").chmod(0o1777)
        shutil.copyfile(shutil.which("busybox"), shell / "bin/busybox")
        (shell / "bin/busybox").chmod(0o755)
        applets = subprocess.run(["busybox", "--list"], text=True, check=True, capture_output=True).stdout.split()
        for applet in set(applets) - {"busybox"}:
            (shell / "bin" / applet).symlink_to("busybox")
        made = [write(out / "busybox.tar", BUSYBOX, shell, command=["sh"]),
                write(out / "pause.tar", "localhost/pause:1", shell, entry=["/bin/sleep", "1000000000"])]
        for name, version in sidecar_versions().items():
            tree = Path(work) / name
            (tree / "tmp").mkdir(parents=True)
            shutil.copyfile(programs / name, tree / name)
            (tree / name).chmod(0o755)
            made.append(write(out / f"{name}.tar", f"{SIDECARS}{name}:{version}", tree, entry=[f"/{name}"]))
        if suite:
            made += [write(out / f"suite-shell{n}.tar", tag, shell, command=["sh"]) for n, tag in enumerate(SUITE_SHELLS)]
            (shell / "bin/nsenter").unlink()
            (shell / "bin/nsenter").write_text(NSENTER)
            (shell / "bin/nsenter").chmod(0o755)
            shutil.copyfile(programs / "agnhost", shell / "agnhost")
            (shell / "agnhost").chmod(0o755)
            made.append(write(out / "agnhost.tar", SUITE_PROGRAM, shell, entry=["/agnhost"], command=["pause"]))
    return made

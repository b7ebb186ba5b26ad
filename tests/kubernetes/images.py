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


def build(out, programs):
    """The archives' paths."""
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
    return made

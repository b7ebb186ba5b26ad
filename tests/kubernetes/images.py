# SPDX-License-Identifier: Apache-2.0
"""What a cluster of our own needs beside our images, as archives: the sandbox, a shell, tools, the CSI sidecars."""
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUSYBOX = "localhost/busybox:1"
# As the suite names them; storage specs run nothing but a shell in the last two.
SUITE_SHELLS = ["localhost/busybox:1.37.0-1", "localhost/glibc-dns-testing:2.0.0", "localhost/nginx:1.15-4"]
SUITE_PROGRAM = "localhost/agnhost:2.63.0"
TOOLS = "localhost/tools:1"  # the shell, fio, flock, and Python with boto3
PACKAGES = ["boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six.py", "urllib3"]
MODULES = "/opt/modules"
SIDECARS = "registry.k8s.io/sig-storage/"


def load_ours():
    spec = importlib.util.spec_from_file_location("skyvol_images", ROOT / "scripts" / "images.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ours = load_ours()


def write(path, tag, tree, entry=None, command=None, environment=()):
    layer = ours.layer(tree)
    config = json.loads(ours.config("cli", [layer]))
    config["config"] = {"Entrypoint": entry, "Cmd": command, "Env": [ours.PATH, *environment]}
    ours.write_archive(path, tag, json.dumps(config).encode(), [layer])
    return path


def sidecar_versions():
    """Program: version, as go.mod has them."""
    text = (ROOT / "tests/kubernetes/programs/go.mod").read_text()
    found = re.findall(r"kubernetes-csi/external-(provisioner|resizer)/v\d+ (v[\d.]+)", text, re.MULTILINE)
    return {f"csi-{name}": version for name, version in found}


# The suite looks at the node from a pod by `nsenter --mount=/rootfs/proc/1/ns/mnt -- ...`. Where the node's
# first process has more rights than root, nobody may enter it; kubelet sees the same mounts.
NSENTER = """#!/bin/sh
for status in /rootfs/proc/[0-9]*/comm; do
    name=$(cat $status 2>/dev/null)
    [ "$name" = kubelet ] || continue
    process=${status%/comm}  # of this node: there may be two on one machine
    [ "$(stat -c %d:%i $process/root/var/lib/kubelet)" = "$(stat -c %d:%i /rootfs/var/lib/kubelet)" ] || continue
    shift
    exec busybox nsenter --mount=$process/ns/mnt "$@"
done
exec busybox nsenter "$@"
"""


def write_shell(tree, programs):
    """Programs lie in `programs`, below the tree."""
    for name in (programs, "etc", "proc", "sys", "dev", "root", "tmp"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "tmp").chmod(0o1777)
    shutil.copyfile(shutil.which("busybox"), tree / programs / "busybox")
    (tree / programs / "busybox").chmod(0o755)
    applets = subprocess.run(["busybox", "--list"], text=True, check=True, capture_output=True).stdout.split()
    for applet in set(applets) - {"busybox"}:
        (tree / programs / applet).symlink_to("busybox")


def write_tools(tree):
    """The distribution's fio and flock, the Python that runs this, and boto3 of its packages, of which only S3 is kept."""
    for path, target in ours.LINKS.items():
        (tree / target).mkdir(parents=True, exist_ok=True)
        (tree / path[1:]).symlink_to(target)
    write_shell(tree, "usr/bin")
    python, standard = os.path.realpath(sys.executable), Path(sysconfig.get_path("stdlib"))
    unwanted = shutil.ignore_patterns("test", "tests", "idlelib", "lib2to3", "config-*", "dist-packages", "site-packages",
                                      "__pycache__", "ensurepip", "tkinter", "pydoc_data")
    shutil.copytree(standard, tree / str(standard).lstrip("/"), ignore=unwanted, ignore_dangling_symlinks=True)
    extensions = [str(path) for path in (standard / "lib-dynload").glob("*.so")]
    files = {python: python} | {f"/usr/bin/{name}": os.path.realpath(shutil.which(name)) for name in ("fio", "flock")}
    for program in [*files.values(), *extensions]:
        files |= {path: source for path, source in ours.libraries(program).items() if source != program}
    for path, source in files.items():
        ours.write_file(tree, path, source, tree)
    (tree / python.lstrip("/")).chmod(0o755)
    if python != "/usr/bin/python3":
        (tree / "usr/bin/python3").symlink_to(python)
    for name in PACKAGES:
        source, target = Path(sysconfig.get_path("purelib"), name), tree / MODULES[1:] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copyfile(source, target)
    for service in (tree / MODULES[1:] / "botocore/data").iterdir():
        if service.is_dir() and service.name != "s3":
            shutil.rmtree(service)


def build(out, programs, suite=False):
    """The archives' paths; with what Kubernetes' storage suite runs in its pods."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        shell, tools = Path(work) / "shell", Path(work) / "tools"
        write_shell(shell, "bin")
        write_tools(tools)
        made = [write(out / "busybox.tar", BUSYBOX, shell, command=["sh"]),
                write(out / "tools.tar", TOOLS, tools, command=["sh"], environment=[f"PYTHONPATH={MODULES}"]),
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

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The images: what is in each, and how they are made without a builder, a daemon or a registry.

    images.py tree DIR            the files of each image below DIR: base, and what is added to it
    images.py build DIR           DIR/skyvol-NAME.tar (docker-archive) and DIR/skyvol-NAME.spdx.json
    images.py tag DIR REGISTRY    the archives' names become REGISTRY/skyvol-NAME:VERSION
    images.py push DIR REGISTRY   ... and go there by skopeo, podman or docker

An image holds our programs, the shared libraries that the loader finds for them, the certificate
authorities and a list of Debian packages that all this comes from (SPDX): no package manager, and
no shell but in `setup`, for the scripts of deploy/kubernetes. deploy/images/Dockerfile copies the same trees. Equal input gives equal archives: names are
sorted, times are SOURCE_DATE_EPOCH or the last commit's.
"""
import argparse
import functools
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER = 65532
ORDINARY = f"{USER}:{USER}"
NOTHING = ""  # root: what mounts

# What the scripts of deploy/kubernetes call.
SCRIPTED = ["sh", "base64", "cat", "curl", "head", "od", "rm", "sed", "sha256sum", "sleep", "tr"]

SLEEP = "/usr/bin/sleep"  # before the end of what a Service leads to: preStop

# name: (user, entry point, our programs, files of the system's packages)
IMAGES = {
    "controller": (ORDINARY, "skyvol-controller", ["skyvol-controller"], []),
    "node": (NOTHING, "skyvol-node", ["skyvol-node"], []),
    "holder": (NOTHING, "skyvol-holder", ["skyvol-holder", "skyvol-mount", "skyvolctl"], []),  # recover, stats
    "meta": (ORDINARY, "skyvol-meta", ["skyvol-meta"], ["/usr/bin/tar"]),  # tar: kubectl cp
    "s3": (ORDINARY, "skyvol-s3", ["skyvol-s3", "skyvol-s3-keys"], ["/usr/sbin/nginx", SLEEP]),
    "cli": (ORDINARY, "skyvolctl", ["skyvolctl"], []),
    "webhook": (ORDINARY, "skyvol-webhook", ["skyvol-webhook"], [SLEEP]),
    "setup": (ORDINARY, "sh", ["skyvolctl"], [f"/usr/bin/{p}" for p in SCRIPTED]),
}
MODULE = "ngx_http_skyvol_module.so"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
TEXTS = {
    "/etc/passwd": "root:x:0:0:root:/:/usr/sbin/nologin\n"
                   f"skyvol:x:{USER}:{USER}:skyvol:/:/usr/sbin/nologin\n",
    "/etc/group": f"root:x:0:\nskyvol:x:{USER}:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
LINKS = {"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ImageError(Exception):
    pass


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, text=True, capture_output=True,
                          **options).stdout


def version():
    return re.search(r"^VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]


def commit():
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct %H"], text=True,
                          capture_output=True)
    return done.stdout.split() if done.returncode == 0 and done.stdout else ["0", ""]


def epoch():
    return int(os.environ.get("SOURCE_DATE_EPOCH") or commit()[0])


def architecture():
    known = {"x86_64": "amd64", "aarch64": "arm64"}
    return known.get(platform.machine(), platform.machine())


# --- what is in an image -----------------------------------------------------

def place(path):
    """Where a file lies when /lib and /bin lead into /usr, as in every image."""
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return path if path.startswith(("/usr/", "/etc/")) else "/usr" + path


@functools.cache
def libraries(program):
    """Place in the image: file here, of all that the loader takes for the program, itself included."""
    found = {}
    for line in run("ldd", program).splitlines():
        if "not found" in line:
            raise ImageError(f"{program}: {line.strip()}")
        match = re.search(r"(?:=> )?(/\S+) \(0x", line)
        if match:
            found[place(match[1])] = os.path.realpath(match[1])
    return found


def contents(name, build):
    """Place in the image: file here, of the image `name`."""
    _, _, programs, others = IMAGES[name]
    files = {f"/usr/bin/{p}": str(build / "bin" / p) for p in programs}
    if name == "s3":
        files[f"/usr/lib/{MODULE}"] = str(build / "lib" / MODULE)
    files |= {path: os.path.realpath(path) for path in others}
    for source in list(files.values()):
        if not os.path.exists(source):
            raise ImageError(f"{source} is not there: make all, and scripts/deps.sh build")
        files |= libraries(source)
    files[AUTHORITIES] = AUTHORITIES
    return files


def split(build):
    """What all images have, and what each has beside it."""
    whole = {name: contents(name, build) for name in IMAGES}
    common = set.intersection(*(set(files) for files in whole.values()))
    base = {path: whole["cli"][path] for path in common}
    return base, {name: {p: s for p, s in files.items() if p not in common}
                  for name, files in whole.items()}


def write_file(tree, path, source, build):
    target = Path(tree, path.lstrip("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_relative_to(build):
        run("strip", "--strip-unneeded", "-o", target, source)
    else:
        shutil.copyfile(source, target)
    runs = path.startswith(("/usr/bin", "/usr/sbin", "/usr/lib64")) or "/ld-linux" in path
    target.chmod(0o755 if runs else 0o644)


def write_base(tree, files, build):
    for path in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "proc", "sys", "dev"):
        (tree / path).mkdir(parents=True)
    for path, target in LINKS.items():
        (tree / path[1:]).symlink_to(target)
    for path, text in TEXTS.items():
        (tree / path[1:]).write_text(text)
    for path, source in files.items():
        write_file(tree, path, source, build)
    (tree / "tmp").mkdir()
    (tree / "tmp").chmod(0o1777)
    for path in ("run/skyvol", "var/lib/skyvol"):
        (tree / path).mkdir(parents=True)
        (tree / path).chmod(0o750)


def write_trees(out, build):
    shutil.rmtree(out, ignore_errors=True)
    base, added = split(build)
    write_base(out / "base", base, build)
    for name, files in added.items():
        for path, source in files.items():
            write_file(out / name, path, source, build)
        document = json.dumps(bill(name, base | files, build), indent=1, sort_keys=True) + "\n"
        place_of_bill = out / name / "usr/share/doc/skyvol/sbom.spdx.json"
        place_of_bill.parent.mkdir(parents=True)
        place_of_bill.write_text(document)


# --- the list of packages ----------------------------------------------------

def packages_of(paths):
    """Names of the Debian packages that files here are of."""
    spellings = {path: {path, path.removeprefix("/usr")} for path in paths}
    listed = subprocess.run(["dpkg-query", "-S", *sorted(set().union(*spellings.values()))], text=True,
                            capture_output=True).stdout
    owners = {path: owner.split(",")[0] for owner, _, path in
              (line.partition(": ") for line in listed.splitlines())}
    strange = [path for path, known in spellings.items() if not known & set(owners)]
    if strange:
        raise ImageError(f"{strange[0]} is of no Debian package: images are built on Debian")
    return {owners[path] for known in spellings.values() for path in known if path in owners}


def bill(name, files, build):
    """An SPDX 2.3 document."""
    owners = packages_of([source for path, source in files.items()
                          if path != AUTHORITIES and not Path(source).is_relative_to(build)])
    owners.add("ca-certificates")
    listed = run("dpkg-query", "-W", "-f=${Package}\t${Version}\t${Architecture}\t"
                 "${source:Package}\t${source:Version}\n", *sorted(owners)).splitlines()
    packages = [{"SPDXID": "SPDXRef-image", "name": f"skyvol-{name}", "versionInfo": version(),
                 "downloadLocation": "NOASSERTION", "licenseDeclared": "Apache-2.0",
                 "supplier": "Organization: Skyvol", "primaryPackagePurpose": "CONTAINER"}]
    for line in sorted(set(listed)):
        package, number, arch, source, source_number = line.split("\t")
        packages.append({
            "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", package),
            "name": package, "versionInfo": number, "downloadLocation": "NOASSERTION",
            "supplier": "Organization: Debian", "sourceInfo": f"{source} {source_number}",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": f"pkg:deb/debian/{package}@{number}?arch={arch}"}],
        })
    digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    return {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "dataLicense": "CC0-1.0",
            "name": f"skyvol-{name}-{version()}",
            "documentNamespace": f"https://skyvol.io/spdx/skyvol-{name}-{digest[:32]}",
            "creationInfo": {"created": stamp(), "creators": ["Tool: skyvol-images"]},
            "packages": packages,
            "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES",
                               "relatedSpdxElement": "SPDXRef-image"}] + [
                {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS",
                 "relatedSpdxElement": package["SPDXID"]} for package in packages[1:]]}


# --- archives ----------------------------------------------------------------

def stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch()))


def layer(tree):
    """The bytes of a layer: sorted, owned by root but what the programs write to, one time for all."""
    owned = ("run/skyvol", "var/lib/skyvol")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            name = str(path.relative_to(tree))
            info = archive.gettarinfo(path, name)
            info.uid = info.gid = USER if name in owned else 0
            info.uname = info.gname = ""
            info.mtime = epoch()
            if info.isreg():
                with path.open("rb") as file:
                    archive.addfile(info, file)
            else:
                archive.addfile(info)
    return data.getvalue()


def labels(name):
    made = {"title": f"skyvol-{name}", "version": version(), "created": stamp(),
            "licenses": "Apache-2.0", "vendor": "Skyvol",
            "description": "Object storage as volumes: " + IMAGES[name][1]}
    if commit()[1]:
        made["revision"] = commit()[1]
    return {f"org.opencontainers.image.{key}": value for key, value in made.items()}


def config(name, layers):
    user, entry, _, _ = IMAGES[name]
    return json.dumps({
        "architecture": architecture(), "os": "linux", "created": stamp(),
        "config": {"Entrypoint": [f"/usr/bin/{entry}"], "User": user, "Env": [PATH],
                   "WorkingDir": "/", "Labels": labels(name)},
        "rootfs": {"type": "layers",
                   "diff_ids": ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]},
        "history": [{"created": stamp(), "created_by": "skyvol images"} for _ in layers],
    }, sort_keys=True).encode()


def write_archive(path, tag, settings, layers):
    """A docker-archive, which docker, podman, skopeo and containerd read."""
    digests = [hashlib.sha256(one).hexdigest() for one in layers]
    member = hashlib.sha256(settings).hexdigest() + ".json"
    manifest = json.dumps([{"Config": member, "RepoTags": [tag],
                            "Layers": [f"{digest}.tar" for digest in digests]}]).encode()
    new = path.with_suffix(".new")
    with tarfile.open(new, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in [("manifest.json", manifest), (member, settings),
                           *zip((f"{digest}.tar" for digest in digests), layers)]:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(data), 0o644, epoch()
            archive.addfile(info, io.BytesIO(data))
    new.rename(path)


def build_all(out, build):
    trees = out / "trees"
    write_trees(trees, build)
    base = layer(trees / "base")
    for name in IMAGES:
        layers = [base, layer(trees / name)]
        write_archive(out / f"skyvol-{name}.tar", f"skyvol-{name}:{version()}",
                      config(name, layers), layers)
        shutil.copyfile(trees / name / "usr/share/doc/skyvol/sbom.spdx.json",
                        out / f"skyvol-{name}.spdx.json")
        print(f"skyvol-{name}:{version()}  {sum(map(len, layers)) / 1e6:.0f} MB")


def tag_all(out, registry):
    for name in IMAGES:
        path = out / f"skyvol-{name}.tar"
        with tarfile.open(path) as archive:
            read = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
        manifest = json.loads(read["manifest.json"])[0]
        tag = f"{registry}/skyvol-{name}:{version()}"
        write_archive(path, tag, read[manifest["Config"]], [read[m] for m in manifest["Layers"]])
        print(tag)


def push_all(out, registry):
    """The login is the tool's own (skopeo login, ...), as is the registry's certificate authority."""
    tool = next((t for t in ("skopeo", "podman", "docker") if shutil.which(t)), None)
    if tool is None:
        raise ImageError(
            f"pushing needs skopeo, podman or docker, and none is here. Install one (apt-get install "
            f"skopeo), or take {out}/skyvol-*.tar to a machine that has it and run there, for each: "
            f"skopeo copy docker-archive:skyvol-NAME.tar docker://{registry}/skyvol-NAME:{version()}")
    tag_all(out, registry)
    for name in IMAGES:
        archive, tag = out / f"skyvol-{name}.tar", f"{registry}/skyvol-{name}:{version()}"
        if tool == "skopeo":
            run("skopeo", "copy", "--quiet", f"docker-archive:{archive}", f"docker://{tag}")
        else:
            run(tool, "load", "--quiet", "--input", archive)
            run(tool, "push", "--quiet", tag)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["tree", "build", "tag", "push"])
    parser.add_argument("dir", type=Path)
    parser.add_argument("registry", nargs="?", help="host[:port][/path], as in an image's name")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the programs lie")
    given = parser.parse_args()
    out, build = given.dir.absolute(), given.build.absolute()
    registry = (given.registry or "").rstrip("/")
    if given.what in ("tag", "push") and not re.fullmatch(r"[\w.-]+(:\d+)?(/[\w.-]+)*", registry):
        parser.error(f"say where they shall go: make {given.what}-all REGISTRY=registry.example:5000/skyvol")
    try:
        if given.what == "tree":
            write_trees(out, build)
        elif given.what == "build":
            build_all(out, build)
        else:
            {"tag": tag_all, "push": push_all}[given.what](out, registry)
    except ImageError as e:
        sys.exit(f"images: {e}")
    except subprocess.CalledProcessError as e:
        sys.exit(f"images: {' '.join(e.cmd[:2])} failed: {e.stderr.strip()}")
    except FileNotFoundError as e:
        sys.exit(f"images: {e.filename} is not there: make images builds it")


if __name__ == "__main__":
    main()

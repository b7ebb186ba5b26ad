# SPDX-License-Identifier: Apache-2.0
"""Images made without a builder: what is in them, that they run alone, that the Dockerfile says the same."""
import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile

import pytest

from conftest import BIN, ROOT

SCRIPT = ROOT / "scripts" / "images.py"
DOCKERFILE = (ROOT / "deploy" / "images" / "Dockerfile").read_text()


def load():
    spec = importlib.util.spec_from_file_location("images", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


IMAGES = load().IMAGES


def build(out, *arguments):
    subprocess.run([SCRIPT, "build", out, "--build", BIN.parent, *arguments], check=True, text=True,
                   capture_output=True, env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"})
    return out


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("images"))


def read(path):
    """Manifest, configuration and layers of an archive."""
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}
    manifest = json.loads(files["manifest.json"])[0]
    return manifest, json.loads(files[manifest["Config"]]), [files[n] for n in manifest["Layers"]]


def stage(name):
    """The lines of a target of the Dockerfile."""
    return DOCKERFILE.split(f"\nFROM base AS {name}\n")[1].split("\nFROM ")[0]


def test_the_dockerfile_makes_the_same_images():
    assert set(re.findall(r"^FROM base AS (\w+)$", DOCKERFILE, re.MULTILINE)) == set(IMAGES)
    for name, (user, entry, _, _) in IMAGES.items():
        assert re.findall(r"^USER (.*)$", stage(name), re.MULTILINE) == ([user] if user else [])
        assert f'ENTRYPOINT ["/usr/bin/{entry}"]' in stage(name)
        assert re.findall(r"^COPY --from=build (\S+) /$", stage(name), re.MULTILINE) == [f"/images/{name}"]
    assert "scripts/images.py tree /images" in DOCKERFILE


def test_every_program_is_in_an_image():
    assert {p for _, _, programs, _ in IMAGES.values() for p in programs} == {p.name for p in BIN.iterdir()}


def test_archives_are_sound_and_say_what_they_are(built):
    for name, (user, entry, _, _) in IMAGES.items():
        manifest, config, layers = read(built / f"skyvol-{name}.tar")
        assert manifest["RepoTags"][0].startswith(f"skyvol-{name}:")
        assert config["config"]["User"] == user
        assert config["config"]["Entrypoint"] == [f"/usr/bin/{entry}"]
        assert config["config"]["Labels"]["org.opencontainers.image.title"] == f"skyvol-{name}"
        assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]
    bases = {read(built / f"skyvol-{name}.tar")[1]["rootfs"]["diff_ids"][0] for name in IMAGES}
    assert len(bases) == 1  # is pulled and kept once


def test_equal_input_gives_equal_archives(built, tmp_path):
    again = build(tmp_path)
    for name in IMAGES:
        assert (again / f"skyvol-{name}.tar").read_bytes() == (built / f"skyvol-{name}.tar").read_bytes()


def test_a_registry_is_put_in_front(built, tmp_path):
    for name in IMAGES:
        (tmp_path / f"skyvol-{name}.tar").write_bytes((built / f"skyvol-{name}.tar").read_bytes())
    subprocess.run([SCRIPT, "tag", tmp_path, "registry.example:5000/team/"], check=True, capture_output=True)
    manifest, config, layers = read(tmp_path / "skyvol-node.tar")
    assert re.fullmatch(r"registry\.example:5000/team/skyvol-node:[0-9.]+", manifest["RepoTags"][0])
    assert (config, layers) == read(built / "skyvol-node.tar")[1:]
    for bad in ("", "https://registry.example", "a b"):
        assert subprocess.run([SCRIPT, "tag", tmp_path, bad], capture_output=True).returncode == 2


def test_without_a_tool_pushing_says_what_to_do(built, tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "push", built, "r.example"],
                          text=True, capture_output=True, env={"PATH": str(tmp_path)})
    assert done.returncode == 1 and "skopeo copy docker-archive:" in done.stderr


def test_the_bill_lists_the_packages_of_the_files(built):
    bill = json.loads((built / "skyvol-s3.spdx.json").read_text())
    names = {p["name"] for p in bill["packages"]}
    assert {"libc6", "ca-certificates", "skyvol-s3"} <= names
    assert any(n.startswith("nginx") for n in names)
    assert "libfuse3-3" not in names
    assert all(p["versionInfo"] for p in bill["packages"])
    assert {r["relatedSpdxElement"] for r in bill["relationships"]} == {p["SPDXID"] for p in bill["packages"]}


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_programs_run_in_nothing_but_their_image(built, tmp_path):
    for name, (_, _, programs, others) in IMAGES.items():
        root = tmp_path / name
        root.mkdir()
        for tree in ("base", name):
            subprocess.run(["cp", "-al", f"{built / 'trees' / tree}/.", root], check=True)
        for program in [*(f"/usr/bin/{p}" for p in programs), *others]:
            flags = {"nginx": ["-v"], "sh": ["-c", "skyvolctl --version"]}.get(program.split("/")[-1], ["--version"])
            done = subprocess.run(["chroot", root, program, *flags], capture_output=True, text=True)
            assert done.returncode == 0, (name, program, done.stderr)
        assert bool([p for p in root.glob("usr/bin/*sh")]) == (name == "setup")

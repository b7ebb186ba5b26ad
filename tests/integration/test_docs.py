# SPDX-License-Identifier: Apache-2.0
"""The documents: links lead somewhere, every page is found, examples use what the programs have."""
import os
import re
import subprocess

import pytest

from conftest import BIN, ROOT, free_port

EXAMPLE = r"^    (?:build/bin/)?(skyvol[a-z0-9-]*)((?: [^|&>]+)?)"
DOCS = sorted((ROOT / "docs").glob("*.md"))


def run(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True,
                          timeout=30).stdout


def links(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith(("http:", "https:")):
            yield page.parent / target


def test_every_link_of_a_document_leads_to_a_file():
    pages = [*DOCS, *ROOT.glob("*.md")]
    broken = [f"{page.name}: {target}" for page in pages for target in links(page)
              if not target.exists()]
    assert not broken


def test_every_document_is_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop().resolve()
        if page not in seen and page.suffix == ".md":
            seen.add(page)
            todo += [target for target in links(page) if target.exists()]
    assert not {page.resolve() for page in DOCS} - seen
    assert ROOT / "examples" in {target.resolve() for target in links(ROOT / "README.md")}


def test_parameters_page_names_every_mount_option():
    options = run(BIN / "skyvol-mount", "--help").split("Mount options (-o):\n")[1]
    known = re.findall(r"^  ([a-z_]+)[ =\n]", options, re.MULTILINE)
    text = (ROOT / "docs" / "parameters.md").read_text().split("## Mount options")[1]
    assert len(known) > 20
    assert not [name for name in known if not re.search(rf"`{name}[`=]", text)]


def test_manual_page_names_every_mount_option():
    subprocess.run(["make", "-s", "-C", ROOT, "build/man/skyvol-mount.8"], check=True)
    page = (ROOT / "build/man/skyvol-mount.8").read_text().replace("\\-", "-").replace("\\fR", "")
    options = run(BIN / "skyvol-mount", "--help").split("Mount options (-o):\n")[1]
    for option in re.findall(r"^  ([a-z_]+)[ =\n]", options, re.MULTILINE):
        assert re.search(rf"\b{option}\b", page), option
    assert ".SH EXAMPLES" in page and "Mount a bucket" in page


def test_options_in_documents_exist():
    """`program --option` in an example line; options of skyvolctl are those of its commands."""
    wrong = []
    for page in DOCS:
        for line in page.read_text().replace("\\\n", " ").splitlines():
            for program, words in re.findall(EXAMPLE, line):
                options = re.findall(r"(?<=\s)--[a-z-]+", words)
                command = [w for w in words.split() if re.fullmatch("[a-z]+", w)]
                if program == "skyvolctl":
                    depth = 2 if command[:1] in (["store"], ["volume"], ["certs"], ["csi"], ["keys"]) else 1
                    usage = run(BIN / program, *command[:depth], "--help")
                else:
                    usage = run(BIN / program, "--help")
                wrong += [f"{page.name}: {program} {' '.join(command[:2])} {option}"
                          for option in options if not re.search(rf"{option}(?![a-z-])", usage)]
    assert not wrong


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"),
                    reason="needs root and /dev/fuse")
def test_commands_of_the_page_by_hand_work(workdir):
    """As they stand in docs/by-hand.md, but for the directory and the port."""
    lines = [line[4:] for line in (ROOT / "docs" / "by-hand.md").read_text().splitlines()
             if line.startswith("    ")]
    script = "\n".join(["set -eu", "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT", *lines])
    script = script.replace("$PWD/build/bin", str(BIN)).replace("9000", str(free_port()))
    script = script.replace("/tmp/skyvol", str(workdir / "by-hand"))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    assert "ListAllMyBucketsResult" in done.stdout
    assert not (workdir / "by-hand").exists()

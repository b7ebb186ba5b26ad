# SPDX-License-Identifier: Apache-2.0
"""The documents: links lead somewhere, every page is found, examples use what the programs have."""
import os
import pathlib
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


TREE = [name for name in subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True,
                                        check=False).stdout.split("\n") if name] or \
    [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")  # of an archive
     if path.relative_to(ROOT).parts[0] not in ("build", ".git") and path.is_file()]
FOLDERS = {str(parent) for name in TREE for parent in pathlib.PurePath(name).parents} - {"."}
TOPS = "|".join(sorted({name.split("/")[0] for name in FOLDERS}))


def told(page):
    """What a page says in the manner of commands and names: `so`, and indented."""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        for words in [line] if line.startswith("    ") else re.findall(r"`([^`]+)`", line):
            yield f"{page.name}:{number}", words


def test_paths_in_documents_lead_somewhere():
    """From a folder of the top on; NAME and * stand for something."""
    wrong, count = [], 0
    for page in [*DOCS, *ROOT.glob("*.md")]:
        for where, words in told(page):
            for path in re.findall(rf"(?<![\w./$@~=:-])(?:{TOPS})/[\w./*-]*", words):
                count += 1
                pattern = re.compile(re.sub(r"\\\*|[A-Z]{4,}", "[^/]+", re.escape(path.rstrip("/."))))
                if not any(pattern.fullmatch(name) for name in [*TREE, *FOLDERS]):
                    wrong.append(f"{where} {path}")
    assert count > 50 and not wrong


def test_targets_of_make_in_documents_exist():
    rules = re.findall(r"^((?:[a-z0-9-]+ ?)+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets, wrong = {name for rule in rules for name in rule.split()}, []
    assert {"all", "check", "gates", "push-all"} <= targets
    for page in [*DOCS, *ROOT.glob("*.md")]:
        for where, words in told(page):
            for names in re.findall(r"^(?:\s*)make((?: [a-z][a-z0-9-]+)+)(?= |$)", words.split("#")[0].rstrip()):
                wrong += [f"{where} make {name}" for name in names.split()
                          if name not in targets and not name.startswith("check-mount-")]
    assert not wrong


def test_every_folder_and_program_is_told():
    pages = "".join((ROOT / name).read_text() for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))
    shown = {name for name in FOLDERS if name.count("/") < (2 if name.startswith(("lib/", "mounter/", "csi/", "tests/"))
                                                             else 1) and not name.startswith(".")}
    assert "lib/kube" in shown and "deploy" in shown
    assert not [name for name in sorted(shown) if not re.search(rf"\b{name.split('/')[-1]}\b", pages)]
    programs = re.findall(r"\b(skyvol[a-z0-9-]*):([a-z0-9/]+)", (ROOT / "Makefile").read_text())
    assert len(programs) == 9
    assert sorted(programs) == sorted(re.findall(r"^\| `(skyvol[a-z0-9-]*)` \| ([a-z0-9/]+) \|",
                                                 (ROOT / "README.md").read_text(), re.MULTILINE))


def test_sources_and_functions_in_the_architecture_exist():
    names = {name.split("/")[-1] for name in TREE}
    text = (ROOT / "ARCHITECTURE.md").read_text()
    sources = "".join((ROOT / name).read_text() for name in TREE if name.endswith((".c", ".h")))
    found = re.findall(r"`(?:[\w/]+/)?(\w+\.[ch])`", text)
    assert len(found) > 20 and not [name for name in found if name not in names]
    assert not [name for name in re.findall(r"`(\w+)\(\)`", text) if f"{name}(" not in sources]


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

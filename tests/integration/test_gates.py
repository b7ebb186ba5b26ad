# SPDX-License-Identifier: Apache-2.0
"""The source gates find what they are there for."""
import subprocess
import sys

import pytest
from conftest import ROOT

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def gate(tree, name, path, text):
    file = tree / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return subprocess.run([sys.executable, ROOT / "scripts/check_source.py", name], cwd=tree,
                          capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


@pytest.mark.parametrize("path,include", [
    ("lib/util/a.c", '"objstore/objstore.h"'),
    ("lib/volume/a.c", '"mounter/session/session.h"'),
    ("csi/node/a.c", '"mounter/session/session.h"'),
    ("csi/node/a.c", '"objstore/dir.h"'),
    ("lib/csi/a.c", "<grpc/grpc.h>"),
    ("metaserver/a.c", "<curl/curl.h>"),
    ("lib/nowhere/a.c", '"util/buf.h"'),
])
def test_an_include_against_the_layer_rule_is_found(tree, path, include):
    found = gate(tree, "layers", path, f"{SPDX}#include {include}\n")
    assert found.returncode == 1 and path in found.stdout


@pytest.mark.parametrize("path,include", [
    ("lib/volume/a.c", '"objstore/s3.h"'),
    ("metaserver/a.c", '"objstore/dir.h"'),
    ("mounter/a.c", '"volume/volume.h"'),
    ("lib/rpc/a.c", "<grpc/grpc.h>"),
])
def test_an_include_along_the_layer_rule_passes(tree, path, include):
    found = gate(tree, "layers", path, f"{SPDX}#include {include}\n")
    assert found.returncode == 0, found.stdout


def test_a_banned_function_is_found_but_not_in_a_comment_or_string(tree):
    text = SPDX + '/* strcpy(a, b) */\nconst char *t = "strcpy(a, b)";\n'
    assert gate(tree, "banned", "lib/util/a.c", text).returncode == 0
    found = gate(tree, "banned", "lib/util/a.c", text + "int f(void)\n{\n    strcpy(a, b);\n}\n")
    assert found.returncode == 1 and ":6:" in found.stdout


def test_a_missing_licence_line_is_found(tree):
    assert gate(tree, "banned", "lib/util/a.c", "int a;\n").returncode == 1


def test_long_functions_files_lines_and_parameter_lists_are_found(tree):
    function = "int f(void)\n{\n" + "    a++;\n" * 61 + "}\n"
    assert "61 lines" in gate(tree, "limits", "lib/util/a.c", SPDX + function).stdout
    function = "int f(void)\n{\n" + "    a++;\n" * 60 + "}\n"
    assert gate(tree, "limits", "lib/util/a.c", SPDX + function).returncode == 0
    assert "801 lines" in gate(tree, "limits", "lib/util/a.c", SPDX + "int a;\n" * 800).stdout
    assert "101 columns" in gate(tree, "limits", "lib/util/a.c", SPDX + "/" * 101 + "\n").stdout
    many = "int f(int a, int b, int c, int (*d)(int, int), int e, int f, int g)\n{\n}\n"
    assert "7 parameters" in gate(tree, "limits", "lib/util/a.c", SPDX + many).stdout

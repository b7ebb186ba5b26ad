# SPDX-License-Identifier: Apache-2.0
"""Each name of the tier has a test here."""
import ast
import collections
import pathlib

HERE = pathlib.Path(__file__).parent


def names():
    return [n for line in (HERE / "must_tier.txt").read_text().splitlines()
            if not line.startswith("#") for n in line.split()]


def test_each_name_of_the_tier_has_one_test():
    found = collections.Counter(
        node.name for path in HERE.glob("test_*.py") for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))
    assert len(names()) == len(set(names())) == 262  # the 261 and 100_continue
    assert [n for n in names() if found[f"test_{n}"] != 1] == []

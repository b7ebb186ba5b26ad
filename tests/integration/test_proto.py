# SPDX-License-Identifier: Apache-2.0
"""Our csi.proto against the facts of CSI 1.12: names, numbers, types, labels, oneofs, marks, methods.

tests/conformance/csi-1.12.facts was made once from the specification's own release by
`protoc --proto_path=SPEC --descriptor_set_out=SET csi.proto && scripts/proto_facts.py SET`.
"""
import re
import subprocess
import sys

import pytest
from conftest import ROOT

OURS = (ROOT / "proto" / "csi.proto").read_text()
OFFICIAL = (ROOT / "tests" / "conformance" / "csi-1.12.facts").read_text()


def facts(directory, text):
    (directory / "csi.proto").write_text(text)
    subprocess.run(["protoc", f"--proto_path={directory}", "--proto_path=/usr/include",
                    f"--descriptor_set_out={directory / 'set'}", "csi.proto"], check=True)
    return subprocess.run([sys.executable, ROOT / "scripts" / "proto_facts.py", directory / "set"],
                          check=True, capture_output=True, text=True).stdout


def test_our_csi_proto_is_that_of_the_specification(tmp_path):
    ours = facts(tmp_path, OURS)
    assert ours.splitlines() == OFFICIAL.splitlines()
    kinds = [line.split()[0] for line in ours.splitlines()]
    assert [kinds.count(k) for k in ("service", "method", "message", "field", "enum", "value")] == [
        5, 32, 94, 196, 8, 47]


@pytest.mark.parametrize("change", [
    ("string vendor_version = 2;", "string vendor_version = 4;"),
    ("int64 required_bytes = 1;", "uint64 required_bytes = 1;"),
    ("repeated string source_volume_ids = 2;", "string source_volume_ids = 2;"),
    ("bool ready_to_use = 5;", "bool is_ready = 5;"),
    ("secrets = 7 [(csi_secret) = true];", "secrets = 7;"),
    ("map<string, string> segments = 1;", "map<string, bytes> segments = 1;"),
    ("MULTI_NODE_MULTI_WRITER = 5;", "MULTI_NODE_MULTI_WRITER = 15;"),
    ("returns (stream GetMetadataDeltaResponse)", "returns (GetMetadataDeltaResponse)"),
    ("rpc Probe(ProbeRequest)", "rpc Probe(GetPluginInfoRequest)"),
    ("package csi.v1;", "package csi.v2;"),
    (re.compile(r"  oneof access_type \{\n(.*?)\n  \}", re.DOTALL), r"\1"),
], ids=lambda change: str(change[1])[:30])
def test_a_changed_fact_is_found(tmp_path, change):
    before, after = change
    if isinstance(before, str):
        changed = OURS.replace(before, after, 1)
    else:
        changed = before.sub(after, OURS, count=1)
    assert changed != OURS
    assert facts(tmp_path, changed).splitlines() != OFFICIAL.splitlines()


def test_comments_and_order_leave_no_trace(tmp_path):
    kept = [line for line in OURS.splitlines() if not line.strip().startswith("//")]
    assert facts(tmp_path, "\n".join(kept)) == facts(tmp_path, OURS)

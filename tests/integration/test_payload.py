# SPDX-License-Identifier: Apache-2.0
"""How bytes are protected on their way to the store: a checksum that it checks, or a signature."""
import base64
import os
import random

import pytest
from rig import Rig

MIB = 1 << 20
SMALL = random.Random(5).randbytes(70000)
LARGE = random.Random(6).randbytes(28 * MIB + 4321)


@pytest.fixture
def rig():
    with Rig() as one:
        yield one


def crc32c(data):
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return base64.b64encode((crc ^ 0xFFFFFFFF).to_bytes(4, "big")).decode()


def write(mount):
    for name, data in (("small", SMALL), ("large", LARGE)):
        with open(mount.point / name, "wb", buffering=0) as file:
            for at in range(0, len(data), MIB):
                file.write(data[at:at + MIB])
            os.fsync(file.fileno())


def sent(rig):
    """Heads of the requests that brought bytes of the two files."""
    return [(op, path.rpartition("/")[2], head) for op, path, head in rig.proxy.heads
            if op in ("PUT", "UPLOAD_PART") and path.endswith(("/small", "/large"))]


def test_to_this_machine_bodies_go_unsigned_with_a_checksum(rig):
    write(rig.mount(sync="fsync"))
    heads = sent(rig)
    assert {(op, name) for op, name, _ in heads} == {("PUT", "small"), ("UPLOAD_PART", "large")}
    for _, _, head in heads:
        assert head.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD"
        assert len(head.get("x-amz-checksum-crc32c")) == 8  # the store has checked it
        assert "x-amz-checksum-crc32c;" in head.get("authorization")
    assert [head.get("x-amz-checksum-crc32c") for op, _, head in heads if op == "PUT"] == [crc32c(SMALL)]
    assert rig.objects() == {"small": SMALL, "large": LARGE}


def test_a_body_that_arrives_changed_is_refused_and_sent_again(rig):
    mount = rig.mount(sync="fsync")
    rig.proxy.add("garbled", op="PUT", key="/small$", count=1)
    rig.proxy.add("garbled", op="UPLOAD_PART", key="/large$", count=2)
    write(mount)
    assert rig.proxy.injected["garbled"] == 3
    assert len([1 for op, _, _ in sent(rig) if op == "PUT"]) == 2
    assert rig.objects() == {"small": SMALL, "large": LARGE}


def test_a_store_that_does_not_check_gets_a_signature(rig):
    rig.proxy.add("status", op="PUT", key="/probe-[^/]*-sum$", code=200)
    rig.proxy.add("status", op="UPLOAD_PART", key="/probe-", first=3, count=1, code=200)
    write(rig.mount(sync="fsync"))
    assert rig.proxy.injected["status"] == 2  # nothing with a right one followed
    heads = sent(rig)
    assert {op for op, _, _ in heads} == {"PUT", "UPLOAD_PART"}
    for _, _, head in heads:
        how = head.get("x-amz-content-sha256")
        assert how == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" or len(how) == 64
        assert head.get("x-amz-checksum-crc32c") == ""
    assert rig.objects() == {"small": SMALL, "large": LARGE}


def test_a_store_that_refuses_every_checksum_gets_none(rig):
    rig.proxy.add("status", op="PUT", key="/probe-[^/]*-sum$", code=400, s3="InvalidRequest")
    rig.proxy.add("status", op="UPLOAD_PART", key="/probe-", first=3, count=2, code=400, s3="InvalidRequest")
    write(rig.mount(sync="fsync"))
    assert rig.proxy.injected["status"] == 4
    assert {head.get("x-amz-checksum-crc32c") for _, _, head in sent(rig)} == {""}
    assert rig.objects() == {"small": SMALL, "large": LARGE}

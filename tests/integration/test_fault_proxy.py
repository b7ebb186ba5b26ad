# SPDX-License-Identifier: Apache-2.0
"""The injecting proxy does what it says: otherwise the tests that stand on it would pass for nothing."""
import http.client
import json
import time
import urllib.parse

import pytest

from fault_proxy import FaultProxy, Head, operation
from rig import BUCKET, Rig


@pytest.fixture(scope="module")
def rig():
    with Rig() as one:
        one.client().put_object(Bucket=BUCKET, Key="k", Body=b"0123456789")
        yield one


@pytest.fixture
def ask(rig):
    """GET of k through the proxy; status and body."""
    rig.proxy.clear()
    rig.proxy.reset_counts()
    path = urllib.parse.urlsplit(rig.client().generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": "k"}))

    def one():
        connection = http.client.HTTPConnection("127.0.0.1", rig.proxy.port, timeout=10)
        try:
            connection.request("GET", f"{path.path}?{path.query}",
                               headers={"Host": f"127.0.0.1:{rig.port}"})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    yield one
    rig.proxy.clear()


@pytest.mark.parametrize("line, expected", [
    ("GET /b?list-type=2&prefix=x", "LIST"), ("GET /b/k", "GET"), ("HEAD /b/k", "HEAD"),
    ("PUT /b/k?partNumber=1&uploadId=u", "UPLOAD_PART"), ("POST /b/k?uploadId=u", "COMPLETE"),
    ("POST /b/k?uploads=", "CREATE_UPLOAD"), ("DELETE /b/k?uploadId=u", "ABORT"),
    ("DELETE /b/a/b", "DELETE"), ("POST /b?delete=", "DELETE_BATCH"), ("GET /b?uploads=", "LIST_UPLOADS"),
    ("PUT /b", "BUCKET"), ("PUT /b/k", "PUT")])
def test_every_operation_is_told_apart(line, expected):
    assert operation(Head(f"{line} HTTP/1.1\r\nHost: h\r\n\r\n".encode())) == expected
    if expected in ("PUT", "UPLOAD_PART"):
        copy = Head(f"{line} HTTP/1.1\r\nx-amz-copy-source: /b/o\r\n\r\n".encode())
        assert operation(copy) == {"PUT": "COPY", "UPLOAD_PART": "UPLOAD_PART_COPY"}[expected]


def test_without_a_rule_nothing_is_changed(rig, ask):
    assert ask() == (200, b"0123456789")
    assert rig.proxy.seen == {"GET": 1} and not rig.proxy.injected


def test_answers_of_its_own(rig, ask):
    rig.proxy.add("status", op="GET", code=503, s3="SlowDown", first=2, count=1)
    assert ask() == (200, b"0123456789")
    status, body = ask()
    assert status == 503 and b"<Code>SlowDown</Code>" in body
    assert ask() == (200, b"0123456789")
    rig.proxy.add("expired", op="GET", count=1)
    assert ask()[0] == 403
    rig.proxy.add("error200", op="GET", count=1)
    status, body = ask()
    assert status == 200 and body.startswith(b"<?xml") and b"InternalError" in body


def test_bodies_are_broken(rig, ask):
    rig.proxy.add("corrupt", op="GET", at=3, count=1)
    assert ask() == (200, b"012\x13456789")
    rig.proxy.add("short", op="GET", bytes=4, count=1)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask()
    assert caught.value.partial == b"0123"
    rig.proxy.add("replace", op="GET", body="other", count=1)
    assert ask() == (200, b"other")


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_connections_are_reset(rig, ask, when):
    rig.proxy.add("reset", op="GET", when=when, count=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask()
    assert ask() == (200, b"0123456789")


def test_time_passes(rig, ask):
    rig.proxy.add("stall", op="GET", seconds=0.4, count=1)
    begun = time.monotonic()
    assert ask() == (200, b"0123456789")
    assert time.monotonic() - begun >= 0.4
    rig.proxy.add("slow", op="GET", rate=1000, count=1)
    assert ask() == (200, b"0123456789")
    assert time.monotonic() - begun >= 0.6


def test_it_is_controlled_from_outside():
    with FaultProxy("http://127.0.0.1:1", control=0) as proxy:
        def call(method, path, body=None):
            connection = http.client.HTTPConnection("127.0.0.1", proxy.control, timeout=5)
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

        assert call("POST", "/rules", '{"what": "status", "op": "PUT", "code": 500}')[0] == 200
        assert call("POST", "/rules", '{"what": "nonsense"}')[0] == 400
        assert len(proxy.rules) == 1
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
        connection.request("PUT", "/b/k", b"x")
        assert connection.getresponse().status == 500
        assert call("GET", "/counts")[1]["injected"] == {"status": 1}
        assert call("DELETE", "/rules")[0] == 200 and proxy.rules == []

# SPDX-License-Identifier: Apache-2.0
"""What skyvol-s3 tells of its requests: the log, the metrics, and the name of each request."""
import contextlib
import json
import urllib.request

import pytest

from conftest import free_port, wait_until
from test_s3 import ACCESS, MIB, SECRET, Endpoint, plain, s3  # noqa: F401
from test_s3_hostile import signed, status, talk, whole
from test_s3_limits import begin_put, opened


def lines(endpoint):
    """Every line that the log of requests has; each must be JSON in UTF-8."""
    found = []
    for line in endpoint.process.log.read_bytes().split(b"\n"):
        if line.startswith(b"{"):
            found.append(json.loads(line.decode()))
    return found


def line_of(endpoint, request_id):
    found = []

    def there():
        found[:] = [line for line in lines(endpoint) if line["request_id"] == request_id]
        return found
    wait_until(there, what="the line of the request")
    assert len(found) == 1
    return found[0]


def id_of(reply):
    names = [h.split(b":", 1)[1].strip().decode() for h in
             reply.partition(b"\r\n\r\n")[0].split(b"\r\n")
             if h.lower().startswith(b"x-amz-request-id:")]
    assert len(names) == 1 and len(names[0]) == 32, reply
    return names[0]


def done(reply, endpoint):
    return line_of(endpoint, reply["ResponseMetadata"]["HTTPHeaders"]["x-amz-request-id"])


KEY = 'a "quoted" \\ back\tslash/ünï 日本 ' + "\x01 %2F?#&'{}"


def test_a_line_tells_who_did_what_to_which_object(plain, s3):
    put = done(s3.put_object(Bucket="bucket", Key=KEY, Body=b"x" * 3 * MIB), plain)
    assert (put["key_id"], put["operation"], put["bucket"], put["key"], put["status"],
            put["error"]) == (ACCESS, "put", "bucket", KEY, 200, "")
    assert 3 * MIB < put["received"] < 4 * MIB and 100 < put["sent"] < 2000
    assert 0 < put["store_seconds"] <= put["seconds"] + 0.01
    got = s3.get_object(Bucket="bucket", Key=KEY)
    got["Body"].read()
    got = done(got, plain)
    assert (got["operation"], got["key"], got["method"]) == ("get", KEY, "GET")
    assert 3 * MIB < got["sent"] and got["received"] < 3000 and got["store_seconds"] > 0
    with pytest.raises(s3.exceptions.NoSuchKey) as caught:
        s3.get_object(Bucket="bucket", Key="absent")
    absent = done(caught.value.response, plain)
    assert (absent["operation"], absent["status"], absent["error"]) == ("get", 404, "NoSuchKey")
    with pytest.raises(s3.exceptions.ClientError) as caught:
        plain.client("reader").put_object(Bucket="bucket", Key="k", Body=b"")
    refused = done(caught.value.response, plain)
    assert (refused["key_id"], refused["error"]) == ("reader", "AccessDenied")


def test_no_secret_and_no_unproved_name_is_in_the_log(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"")
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"})
    with urllib.request.urlopen(url, timeout=20) as reply:
        seen = line_of(plain, reply.headers["x-amz-request-id"])
    assert seen["key_id"] == ACCESS and seen["path"] == "/bucket/k"
    reply = talk(plain, signed(plain, "GET", "/bucket/k", access="somebody's-secret"),
                 line="GET /bucket/k HTTP/1.1")
    stranger = line_of(plain, id_of(reply))
    assert (stranger["key_id"], stranger["error"], stranger["operation"]) == (
        "", "InvalidAccessKeyId", "none")
    wrong = talk(plain, signed(plain, "GET", "/bucket/k", secret="wrong"),
                 line="GET /bucket/k HTTP/1.1")
    assert line_of(plain, id_of(wrong))["key_id"] == ""
    log = plain.process.log.read_text()
    for secret in (SECRET, url.partition("X-Amz-Signature=")[2], "somebody's-secret"):
        assert secret[:40] not in log


HOSTILE = [
    b'GET /bucket/"},{"status":200 HTTP/1.1\r\nHost: a\r\n\r\n',
    b"GET /bucket/\xff\xfe\xc3( HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /bucket/%ff%c3%28%22%5c%0a HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /bucket/\\\\\\ HTTP/1.1\r\nHost: \xff\r\n\r\n",
    b"GET /\xed\xa0\x80/\xf4\x90\x80\x80 HTTP/1.1\r\nHost: a\r\nUser-Agent: \xff\"\r\n\r\n",
    b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\nReferer: \"\\\xff\r\n\r\n",
]

REFUSED_BY_NGINX = {
    "request line": (b"NONSENSE\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "long target": (b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "long header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40000 + b"\r\n\r\n", 400),
    "above the root": (b"GET /bucket/../../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another version": (b"GET / HTTP/2.7\r\nHost: a\r\n\r\n", 505),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another coding": (b"PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "a bad length": (b"PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n", 400),
    "a bad version": (b"GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400),
    "old and without a name": (b"GET / HTTP/1.0\r\n\r\n", 403),
    "a list of ranges": (b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2,4-5\r\n\r\n", 403),
    "an expectation": (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 403),
}


def answer(endpoint, raw):
    reply = b""
    with contextlib.ExitStack() as stack:
        sock = opened(endpoint, stack)
        sock.sendall(raw)
        with contextlib.suppress(ConnectionResetError):
            while not whole(reply) and (data := sock.recv(65536)):
                reply += data
    return reply


def test_bytes_of_any_kind_leave_lines_that_are_json(plain, s3):
    for raw in HOSTILE:
        reply = answer(plain, raw)
        assert status(reply) in (400, 403), reply
        seen = line_of(plain, id_of(reply))
        assert seen["status"] == status(reply) and seen["path"].isascii()
    assert line_of(plain, id_of(answer(plain, HOSTILE[1])))["path"] == "/bucket/%FF%FE%C3("


def test_what_nginx_refuses_is_named_and_logged(plain):
    for what, (raw, want) in REFUSED_BY_NGINX.items():
        reply = answer(plain, raw)
        assert status(reply) == want, (what, reply)
        name = id_of(reply)
        assert name.encode() in reply.partition(b"\r\n\r\n")[2] and b"<html" not in reply, what
        seen = line_of(plain, name)
        assert seen["status"] == want and seen["operation"] == "none" and seen["error"], what
        assert b"<Code>" + seen["error"].encode() in reply, what


def test_replies_of_every_kind_have_a_name(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"x" * 100)
    etag = s3.head_object(Bucket="bucket", Key="k")["ETag"]
    for method, headers, want in (
            ("HEAD", {}, 200), ("GET", {}, 200), ("GET", {"Range": "bytes=1-2"}, 206),
            ("GET", {"If-None-Match": etag}, 304), ("GET", {"If-Match": '"a"'}, 412),
            ("GET", {"Range": "bytes=200-"}, 416), ("DELETE", {}, 204), ("HEAD", {}, 404)):
        reply = talk(plain, [*signed(plain, method, "/bucket/k", headers), "Connection: close"],
                     line=f"{method} /bucket/k HTTP/1.1")
        assert status(reply) == want
        assert line_of(plain, id_of(reply))["status"] == want
    assert status(answer(plain, b"OPTIONS /bucket/k HTTP/1.1\r\nHost: a\r\n\r\n")) == 400
    id_of(answer(plain, b"OPTIONS /bucket/k HTTP/1.1\r\nHost: a\r\n\r\n"))


def test_metrics_tell_operations_limits_and_what_is_under_way(processes, workdir):
    port = free_port()
    served = Endpoint(processes, workdir, serve=[
        "--dir", workdir / "store", "--status", f"127.0.0.1:{port}", "--key-concurrent-requests",
        "2", "--workers", "2"])
    served.client().create_bucket(Bucket="bucket")

    def counted():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
            return {name: float(value) for name, value in (
                line.rsplit(" ", 1) for line in reply.read().decode().splitlines()
                if line.startswith("s3_"))}
    wait_until(lambda: counted()["s3_requests_in_flight"] == 0, what="quiet")
    with contextlib.ExitStack() as stack:
        said = [begin_put(served, stack, path=f"/bucket/{i}")[1] for i in range(5)]
        assert [status(s) for s in said].count(503) == 3
        now = counted()
        assert now["s3_requests_in_flight"] == 2
        assert now['s3_limited_total{reason="concurrent"}'] == 3
        assert now['s3_limited_total{reason="rate"}'] == 0
    answer(served, REFUSED_BY_NGINX["long target"][0])
    wait_until(lambda: counted().get('s3_requests_total{op="none",status="4xx"}') == 1,
               what="what nginx refused to be counted")
    wait_until(lambda: counted()["s3_requests_in_flight"] == 0, what="quiet")
    served.client().put_object(Bucket="bucket", Key="k", Body=b"x" * MIB)
    wait_until(lambda: 's3_requests_total{op="put",status="2xx"}' in counted(), what="the put")
    now = counted()
    assert MIB < now['s3_received_bytes_total{op="put"}'] < 2 * MIB
    assert now['s3_sent_bytes_total{op="put"}'] > 0
    assert 0 < now['s3_store_seconds_total{op="put"}'] <= now['s3_request_seconds_total{op="put"}']
    assert now['s3_requests_total{op="put",status="gone"}'] == 2  # those that gave no body
    assert now['s3_requests_total{op="none",status="5xx"}'] == 3  # refused before
    served.close()

# SPDX-License-Identifier: Apache-2.0
"""skyvol-s3 against requests that are wrong, broken off or meant to deceive, byte by byte."""
import base64
import concurrent.futures
import hashlib
import json
import random
import signal
import socket
import threading
import zlib

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from conftest import wait_until
from test_s3 import (ACCESS, MIB, SECRET, Endpoint, code_of, keys,  # noqa: F401
                     make_certificate, plain, s3)

STREAM = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
PATH = "/bucket/k"


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


class Signer(S3SigV4Auth):
    """Signs a request whose body is none of botocore's business."""

    def __init__(self, payload, access, secret):
        super().__init__(Credentials(access, secret), "s3", "us-east-1")
        self.payload_text = payload

    def payload(self, request):
        return self.payload_text

    def _modify_request_before_signing(self, request):
        super()._modify_request_before_signing(request)
        del request.headers["X-Amz-Content-SHA256"]
        request.headers["X-Amz-Content-SHA256"] = self.payload_text


def signed(endpoint, method="PUT", path=PATH, headers=(), payload="UNSIGNED-PAYLOAD",
           access=ACCESS, secret=SECRET):
    """The head's lines without the request line and the framing."""
    request = AWSRequest(method, endpoint.url + path, headers=dict(headers) | {
        "X-Amz-Content-SHA256": payload})
    Signer(payload, access, secret).add_auth(request)
    lines = [f"{k}: {v}" for k, v in request.headers.items() if k.lower() != "host"]
    return [f"Host: 127.0.0.1:{endpoint.port}", *lines]


def talk(endpoint, lines, body=b"", line=f"PUT {PATH} HTTP/1.1", end="\r\n", seconds=15):
    """All that comes back until the server closes, or until one reply is whole."""
    out = b""
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as raw:
        raw.settimeout(seconds)
        raw.sendall((end.join([line, *lines]) + end + end).encode("latin-1") + body)
        while not whole(out):
            data = raw.recv(65536)
            if not data:
                break
            out += data
    return out


def whole(reply):
    head, end, body = reply.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return whole(body)
    length = [int(h.split(b":")[1]) for h in head.split(b"\r\n")
              if h.lower().startswith(b"content-length:")]
    return bool(end) and bool(length) and len(body) >= length[0]


def status(reply):
    assert reply.startswith(b"HTTP/1.1 "), reply[:200]
    return int(reply[9:12])


def nothing_left(endpoint, client):
    assert keys(client) == []
    assert client.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []
    store = endpoint.directory / "store"
    wait_until(lambda: not [p for d in ("data", "tmp") for p in (store / d).rglob("*")
                            if p.is_file() and p.suffix != ".lock"], what="files of refused bodies to go")


TRAILED = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:" + crc32(b"hello").encode() + b"\r\n\r\n"
BAD_STREAMS = {
    "bytes that the trailer does not cover": (TRAILED.replace(b"hello", b"hellp"), 5, 400),
    "no last chunk": (b"5\r\nhello\r\n", 5, 400),
    "no trailer": (b"5\r\nhello\r\n0\r\n\r\n", 5, 400),
    "another trailer": (TRAILED.replace(b"crc32:", b"sha1:"), 5, 400),
    "one byte less than announced": (TRAILED, 6, 400),
    "one byte more than announced": (TRAILED, 4, 400),
    "a chunk length beyond 64 bits": (b"fffffffffffffffff" + TRAILED[1:], 5, 400),
    "a negative chunk length": (b"-" + TRAILED, 5, 400),
    "bytes after the end": (TRAILED + b"more", 5, 400),
}


def stream_head(endpoint, size, **kwargs):
    return signed(endpoint, payload=STREAM, headers={
        "x-amz-decoded-content-length": str(size), "x-amz-trailer": "x-amz-checksum-crc32",
        "Content-Encoding": "aws-chunked"}, **kwargs)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("what", [None, *BAD_STREAMS])
def test_a_streamed_body_is_kept_only_if_its_trailer_fits(plain, s3, what, chunked):
    body, size, want = BAD_STREAMS[what] if what else (TRAILED, 5, 200)
    lines = stream_head(plain, size) + ["Connection: close"]
    if chunked:
        framed = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        reply = talk(plain, lines + ["Transfer-Encoding: chunked"], framed)
    else:
        reply = talk(plain, lines + [f"Content-Length: {len(body)}"], body)
    assert status(reply) == want, reply
    if want == 200:
        assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"hello"
        assert "ContentEncoding" not in s3.head_object(Bucket="bucket", Key="k")
    else:
        nothing_left(plain, s3)


@pytest.mark.parametrize("who", [{"secret": "wrong"}, {"access": "nobody"}, {"access": "reader"}])
def test_a_streamed_body_of_a_stranger_is_refused(plain, s3, who):
    reply = talk(plain, stream_head(plain, 5, **who) + [f"Content-Length: {len(TRAILED)}"], TRAILED)
    assert status(reply) == 403
    nothing_left(plain, s3)


CHUNK = b"100000\r\n" + bytes(MIB) + b"\r\n"


@pytest.mark.parametrize("body, chunked", [
    (3 * CHUNK + b"zz\r\n" + bytes(100000), False),
    (b"%x\r\n" % (3 * len(CHUNK)) + 3 * CHUNK + b"\r\nZZ\r\n" + bytes(100000), True),
    (b"%x\r\n" % (3 * len(CHUNK)) + 3 * CHUNK + b"\r\n0\r\n\r\n", True),
], ids=["bad aws-chunked framing", "bad HTTP framing", "HTTP ends too early"])
def test_a_body_that_breaks_while_it_is_written_gets_an_answer(plain, s3, body, chunked):
    lines = stream_head(plain, 8 * MIB)
    lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {9 * MIB}")
    reply = talk(plain, lines, body)
    assert status(reply) == 400 and reply.count(b"HTTP/1.1 ") == 1 and b"<Code>" in reply
    nothing_left(plain, s3)
    assert "header already sent" not in plain.process.log.read_text()


def test_a_stranger_is_not_asked_to_send_the_body(plain, s3):
    lines = ["Content-Length: 5", "Expect: 100-continue"]
    reply = talk(plain, signed(plain, secret="wrong") + lines)
    assert status(reply) == 403 and b"100 Continue" not in reply
    assert b"connection: close" in reply.lower()
    reply = talk(plain, signed(plain) + lines, b"hello")
    assert reply.startswith(b"HTTP/1.1 100 ") and b"HTTP/1.1 200 " in reply
    assert keys(s3) == ["k"]


@pytest.mark.parametrize("extra", ["x-amz-meta-a: b", "x-amz-acl: public-read",
                                   "x-amz-copy-source: /bucket/other"])
def test_headers_added_on_the_way_are_refused(plain, s3, extra):
    lines = signed(plain) + ["Content-Length: 5", "Connection: close", extra]
    assert status(talk(plain, lines, b"hello")) == 403
    nothing_left(plain, s3)


@pytest.mark.parametrize("path", [PATH + "2", PATH + "?x=1", "/other/k"])
def test_a_signature_serves_no_other_target(plain, s3, path):
    lines = signed(plain) + ["Content-Length: 5", "Connection: close"]
    assert status(talk(plain, lines, b"hello", line=f"PUT {path} HTTP/1.1")) == 403
    nothing_left(plain, s3)


def test_a_name_in_the_query_is_no_signature(plain, s3):
    lines = [h for h in stream_head(plain, 5) if not h.startswith("Authorization")]
    date = next(h for h in lines if h.startswith("X-Amz-Date")).split(": ")[1]
    name = f"X-Amz-Credential={ACCESS}%2F{date[:8]}%2Fus-east-1%2Fs3%2Faws4_request"
    zero = (f"&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={date}&X-Amz-Expires=60"
            f"&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}")
    for query in (name, name + zero):
        reply = talk(plain, lines + [f"Content-Length: {len(TRAILED)}", "Connection: close"],
                     TRAILED, line=f"PUT {PATH}?{query} HTTP/1.1")
        assert status(reply) in (400, 403)
    nothing_left(plain, s3)


SMUGGLING = {
    "length and chunked": ["Content-Length: 5", "Transfer-Encoding: chunked"],
    "two lengths": ["Content-Length: 5", "Content-Length: 6"],
    "a signed length": ["Content-Length: +5"],
    "an unknown coding": ["Transfer-Encoding: xchunked"],
    "a space before the colon": ["Transfer-Encoding : chunked"],
    "two hosts": ["Host: other", "Content-Length: 5"],
    "a folded line": ["X-A: b", " c", "Content-Length: 5"],
    "a zero byte": ["X-A: b\0c", "Content-Length: 5"],
    "a header of 70 kB": ["X-A: " + "a" * 70000, "Content-Length: 5"],
    "chunked twice": ["Transfer-Encoding: chunked, chunked"],
}


@pytest.mark.parametrize("what", SMUGGLING)
def test_ambiguous_framing_is_refused(plain, s3, what):
    body = b"0\r\n\r\n" if "hunked" in str(SMUGGLING[what]) else b"hello"
    assert status(talk(plain, signed(plain) + SMUGGLING[what], body)) in (400, 501)
    nothing_left(plain, s3)


def test_requests_of_no_host_or_an_old_version_are_refused(plain, s3):
    lines = signed(plain)
    assert status(talk(plain, lines[1:] + ["Content-Length: 5"], b"hello")) == 400
    assert status(talk(plain, lines + ["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n",
                       line=f"PUT {PATH} HTTP/1.0")) == 400
    nothing_left(plain, s3)


def test_bare_line_feeds_frame_the_same_request(plain, s3):
    reply = talk(plain, signed(plain) + ["Content-Length: 5", "Connection: close"],
                 b"helloGET / HTTP/1.1\n\n", end="\n")
    assert status(reply) == 200 and reply.count(b"HTTP/1.1 ") == 1
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"hello"


@pytest.mark.parametrize("header", [("Content-MD5", base64.b64encode(bytes(16)).decode()),
                                    ("x-amz-checksum-crc32", crc32(b"other"))])
def test_a_batch_delete_that_was_damaged_deletes_nothing(plain, s3, header):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    lines = signed(plain, "POST", "/bucket?delete", [header])
    reply = talk(plain, lines + [f"Content-Length: {len(body)}"], body,
                 line="POST /bucket?delete HTTP/1.1")
    assert status(reply) == 400 and b"<Code>BadDigest</Code>" in reply
    assert keys(s3) == ["k"]


@pytest.mark.parametrize("header,answer", [
    (("x-amz-server-side-encryption", "aws:kms"), (501, b"NotImplemented")),
    (("x-amz-object-lock-legal-hold", "ON"), (400, b"InvalidRequest")),
    (("x-amz-checksum-sha512", "AAAA"), (501, b"NotImplemented")),
    (("x-amz-write-offset-bytes", "5"), (501, b"NotImplemented"))])
def test_a_promise_that_cannot_be_kept_is_not_given(plain, s3, header, answer):
    reply = talk(plain, signed(plain, headers=[header]) + ["Content-Length: 5"], b"hello")
    assert status(reply) == answer[0] and b"<Code>%s</Code>" % answer[1] in reply
    nothing_left(plain, s3)


def test_a_promise_that_is_not_wanted_does_no_harm(s3):
    s3.create_bucket(Bucket="second", ObjectLockEnabledForBucket=False)
    s3.put_object(Bucket="second", Key="k", Body=b"1", ObjectLockLegalHoldStatus="OFF")


def test_what_was_put_at_once_is_one_part(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    assert s3.get_object(Bucket="bucket", Key="k", PartNumber=1)["Body"].read() == b"1"
    assert code_of(s3.get_object, Bucket="bucket", Key="k", PartNumber=2)[1] == 416


def test_a_query_may_ask_for_other_reply_headers(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1", CacheControl="no-store")
    got = s3.get_object(Bucket="bucket", Key="k", ResponseCacheControl="no-cache",
                        ResponseContentLanguage="de", ResponseContentType="a/b")
    assert (got["CacheControl"], got["ContentLanguage"], got["ContentType"]) == (
        "no-cache", "de", "a/b")
    assert s3.head_object(Bucket="bucket", Key="k")["CacheControl"] == "no-store"


def test_one_of_64_writers_wins_a_key(plain, s3):
    client = plain.client(max_pool_connections=64)
    for turn in range(5):
        winners, others = [], []

        def write(i, key=f"key-{turn}", winners=winners, others=others):
            try:
                client.put_object(Bucket="bucket", Key=key, Body=b"%d" % i, IfNoneMatch="*")
                winners.append(i)
            except ClientError as error:
                others.append(error.response["Error"]["Code"])
        threads = [threading.Thread(target=write, args=(i,)) for i in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(winners) == 1 and len(others) == 63
        assert set(others) <= {"PreconditionFailed", "ConditionalRequestConflict"}
        got = s3.get_object(Bucket="bucket", Key=f"key-{turn}")["Body"].read()
        assert got == b"%d" % winners[0]


def test_an_upload_goes_on_across_a_reload(plain, s3):
    lines = signed(plain) + [f"Content-Length: {4 * MIB}", "Connection: close"]
    head = "\r\n".join([f"PUT {PATH} HTTP/1.1", *lines]) + "\r\n\r\n"
    body = bytes(range(256)) * (4 * MIB // 256)
    with socket.create_connection(("127.0.0.1", plain.port), 10) as raw:
        raw.settimeout(20)
        raw.sendall(head.encode() + body[:2 * MIB])
        plain.process.send_signal(signal.SIGHUP)
        s3.list_buckets()
        raw.sendall(body[2 * MIB:])
        assert status(raw.recv(65536)) == 200
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == body


def send_in_pieces(endpoint, i):
    """An upload of odd length in odd pieces, and behind it on the same connection a GET of it; every third breaks off."""
    chance = random.Random(i)
    body = chance.randbytes(3 * MIB + 1234 * i)
    head = "\r\n".join([f"PUT /bucket/{i} HTTP/1.1", *signed(endpoint, path=f"/bucket/{i}"),
                        f"Content-Length: {len(body)}"]) + "\r\n\r\n"
    get = "\r\n".join([f"GET /bucket/{i} HTTP/1.1", "Connection: close",
                       *signed(endpoint, "GET", path=f"/bucket/{i}")]) + "\r\n\r\n"
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as raw:
        raw.settimeout(30)
        sent, left = 0, head.encode() + body
        while left and (i % 3 or sent < 2 * MIB):
            piece = left[:chance.choice([1, 777, 40000, 300000])]
            raw.sendall(piece)
            sent, left = sent + len(piece), left[len(piece):]
        if not i % 3:
            return
        raw.sendall(get.encode())
        reply = b"".join(iter(lambda: raw.recv(1 << 20), b""))
    put, end, got = reply.partition(b"\r\n\r\n")
    assert status(put + end) == 200 and f'"{hashlib.md5(body).hexdigest()}"'.encode() in put
    assert status(got) == 200 and got.endswith(b"\r\n\r\n" + body)


def test_uploads_side_by_side_and_cut_off_keep_their_bytes(processes, workdir):
    served = Endpoint(processes, workdir, serve=["--dir", workdir / "data", "--workers", "1"])
    served.client().create_bucket(Bucket="bucket")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda i: send_in_pieces(served, i), range(24)))
    assert keys(served.client()) == sorted(str(i) for i in range(24) if i % 3)
    served.close()


@pytest.mark.parametrize("size", [5, 3 * MIB])
@pytest.mark.parametrize("path, code", [
    ("/bucket/k?partNumber=1&uploadId=unknown", b"NoSuchUpload"), ("/absent/k", b"NoSuchBucket")])
def test_a_body_that_would_go_nowhere_is_not_asked_for(plain, s3, path, code, size):
    lines = signed(plain, path=path) + [f"Content-Length: {size}", "Expect: 100-continue"]
    reply = talk(plain, lines, line=f"PUT {path} HTTP/1.1")
    assert status(reply) == 404 and code in reply and b"100 Continue" not in reply


@pytest.mark.parametrize("size", [0, 5, 3 * MIB])
def test_a_body_is_asked_for_where_it_has_a_place(plain, s3, size):
    body = bytes(range(256)) * (size // 256 + 1)
    lines = signed(plain) + [f"Content-Length: {size}", "Expect: 100-continue", "Connection: close"]
    with socket.create_connection(("127.0.0.1", plain.port), 10) as raw:
        raw.settimeout(20)
        raw.sendall("\r\n".join([f"PUT {PATH} HTTP/1.1", *lines]).encode() + b"\r\n\r\n")
        reply = raw.recv(65536)
        if size > 0:
            assert reply == b"HTTP/1.1 100 Continue\r\n\r\n"
            raw.sendall(body[:size])
            reply = raw.recv(65536)
        assert status(reply) == 200
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == body[:size]


def test_a_client_that_goes_away_while_it_waits_does_no_harm(plain, s3):
    lines = signed(plain) + [f"Content-Length: {3 * MIB}", "Expect: 100-continue"]
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", plain.port), 10) as raw:
            raw.sendall("\r\n".join([f"PUT {PATH} HTTP/1.1", *lines]).encode() + b"\r\n\r\n")
    nothing_left(plain, s3)


def without_length(endpoint, body):
    framed = b"".join(b"%x\r\n" % len(part) + part + b"\r\n" for part in (
        body[i:i + 300_000] for i in range(0, len(body), 300_000))) + b"0\r\n\r\n"
    return talk(endpoint, signed(endpoint) + ["Transfer-Encoding: chunked", "Connection: close"], framed)


@pytest.mark.parametrize("size", [0, 5, 3 * MIB, 9 * MIB])
def test_a_body_needs_no_length(plain, s3, size):
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    reply = without_length(plain, body)
    assert status(reply) == 200, reply
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == body


def test_in_front_of_another_store_a_body_without_a_length_may_have_8_MiB(plain, s3, processes, workdir):
    secret = workdir / "store.json"
    secret.write_text(json.dumps({"access_key": ACCESS, "secret_key": SECRET}))
    secret.chmod(0o600)
    directory = workdir / "front"
    directory.mkdir()
    front = Endpoint(processes, directory, name="front", serve=[
        "--store", "s3://", "--store-endpoint", plain.url, "--store-credentials-file", secret])
    body = bytes(range(256)) * (3 * MIB // 256)
    assert status(without_length(front, body)) == 200
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == body
    s3.delete_object(Bucket="bucket", Key="k")
    assert status(without_length(front, body * 3)) == 411
    nothing_left(plain, s3)
    front.close()


@pytest.mark.parametrize("raw, want, code", [
    (b"NONSENSE\r\n\r\n", 400, b"BadRequest"),
    (b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, b"InvalidURI"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40000 + b"\r\n\r\n", 400, b"BadRequest"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, b"BadRequest"),
    (b"GET /bucket/../../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400, b"BadRequest"),
    (b"GET /.skyvol-fault HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 403, b"AccessDenied"),
], ids=["request line", "long target", "long header", "no host", "beyond the root",
        "the place of faults"])
def test_what_nginx_refuses_is_s3s_xml_too(plain, raw, want, code):
    with socket.create_connection(("127.0.0.1", plain.port), 10) as sock:
        sock.settimeout(10)
        sock.sendall(raw)
        reply = b""
        try:
            while data := sock.recv(65536):
                reply += data
        except ConnectionResetError:  # it has not read all that was sent: the answer came before
            pass
    assert status(reply) == want and b"<Code>" + code in reply and b"<html" not in reply, reply
    assert b"x-amz-request-id" in reply.lower()


def test_plain_http_on_the_tls_port_is_told_so(processes, workdir):
    served = Endpoint(processes, workdir, make_certificate(workdir))
    with socket.create_connection(("127.0.0.1", served.port), 10) as sock:
        sock.settimeout(10)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        reply = sock.recv(65536)
    assert status(reply) == 400 and b"<Code>BadRequest" in reply
    served.close()


def test_an_overridden_reply_header_brings_no_other(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    path = f"{PATH}?response-content-type=a%2Fb%0D%0AX-Evil%3A%201"
    reply = talk(plain, signed(plain, "GET", path) + ["Connection: close"], line=f"GET {path} HTTP/1.1")
    assert status(reply) == 400 and b"X-Evil" not in reply.split(b"\r\n\r\n")[0]


@pytest.mark.parametrize("header, want", [
    (("x-amz-acl", "public-read"), 400), (("x-amz-acl", "private"), 200),
    (("x-amz-expected-bucket-owner", "123456789012"), 403),
    (("x-amz-expected-bucket-owner", "skyvol"), 200),
    (("x-amz-sdk-checksum-algorithm", "CRC32"), 400), (("x-amz-checksum-nonsense", "A"), 400)])
def test_what_a_request_insists_on_is_kept_or_refused(plain, s3, header, want):
    reply = talk(plain, signed(plain, headers=[header]) + ["Content-Length: 5"], b"hello")
    assert status(reply) == want, reply


def test_user_metadata_may_have_long_names_and_empty_values(s3):
    told = {"k" * 400: "v", "l" * 400: "", "m": "w" * 900}
    s3.put_object(Bucket="bucket", Key="k", Body=b"1", Metadata=told)
    assert s3.head_object(Bucket="bucket", Key="k")["Metadata"] == told


def test_an_upload_says_what_checksum_it_will_have(s3):
    def create(**kwargs):
        return s3.create_multipart_upload(Bucket="bucket", Key="k", **kwargs)
    assert create(ChecksumAlgorithm="CRC32")["ChecksumType"] == "COMPOSITE"
    full = create(ChecksumAlgorithm="CRC32C", ChecksumType="FULL_OBJECT")
    assert (full["ChecksumAlgorithm"], full["ChecksumType"]) == ("CRC32C", "FULL_OBJECT")
    for algorithm, kind in (("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
        assert code_of(create, ChecksumAlgorithm=algorithm, ChecksumType=kind)[0] == "InvalidRequest"


@pytest.mark.parametrize("name, first", [("x-amz-copy-source", "/bucket/a"), ("x-amz-tagging", "a=1"),
                                         ("x-amz-acl", "private"), ("cache-control", "no-cache"),
                                         ("content-type", "text/plain")])
def test_a_signed_header_cut_in_two_is_refused(plain, s3, name, first):
    """The signature of two is that of one with a comma, and the first one alone would count."""
    s3.put_object(Bucket="bucket", Key="a", Body=b"1")
    lines = signed(plain, headers=[(name, f"{first},b")])
    at = next(i for i, h in enumerate(lines) if h.startswith(name))
    cut = lines[:at] + [f"{name}: {first}", f"{name}: b"] + lines[at + 1:]
    reply = talk(plain, cut + ["Content-Length: 0"])
    assert status(reply) == 400 and b"<Code>InvalidRequest</Code>" in reply
    assert keys(s3) == ["a"]


def test_user_metadata_told_twice_is_joined(plain, s3):
    lines = signed(plain, headers=[("x-amz-meta-a", "1,2")])
    at = next(i for i, h in enumerate(lines) if h.startswith("x-amz-meta-a"))
    lines[at:at + 1] = ["x-amz-meta-a: 1", "x-amz-meta-a: 2"]
    assert status(talk(plain, lines + ["Content-Length: 5"], b"hello")) == 200
    assert s3.head_object(Bucket="bucket", Key="k")["Metadata"] == {"a": "1,2"}

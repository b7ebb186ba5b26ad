# SPDX-License-Identifier: Apache-2.0
"""What a gateway must refuse, request by request, and that nothing is left of it: no object, no part.

Each table's row is one check; docs/conformance.md says from where they are. Requests are signed by hand,
so that each word of a signature can be wrong by itself.
"""
import datetime
import hashlib
import hmac
import shutil
import socket
import tempfile
import pathlib
import urllib.parse

import pytest

from conftest import Processes
from test_s3 import ACCESS, SECRET, Endpoint, keys
from test_s3_hostile import crc32, nothing_left, status, whole

UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_STREAM = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
TRAILER_STREAM = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
OPEN_STREAM = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()
HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture(scope="module")
def served():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="skyvol-"))
    group = Processes(directory)
    endpoint = Endpoint(group, directory)
    client = endpoint.client()
    client.create_bucket(Bucket="bucket")
    client.create_bucket(Bucket="other")
    client.put_object(Bucket="other", Key="secret", Body=b"secret")
    client.put_object(Bucket="other", Key="k", Body=b"not for others")
    yield endpoint
    try:
        endpoint.close()
    finally:
        group.end()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def s3(served):
    return served.client()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def now(minutes=0):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    return at.strftime("%Y%m%dT%H%M%SZ")


class Request:
    """A request with all that its signature is made of; what is changed after sign() is not signed."""

    def __init__(self, served, method="PUT", path="/bucket/k", payload=UNSIGNED, body=b"hello", **how):
        self.served, self.method, self.path, self.body = served, method, path, body
        self.query, self.payload = dict(how.pop("query", {})), payload
        self.date = how.pop("date", None) or now(how.pop("minutes", 0))
        self.day = how.pop("day", self.date[:8])
        self.access, self.secret = how.pop("access", ACCESS), how.pop("secret", SECRET)
        self.region, self.service = how.pop("region", "us-east-1"), how.pop("service", "s3")
        self.end, self.algorithm = how.pop("end", "aws4_request"), "AWS4-HMAC-SHA256"
        self.headers = {"host": f"127.0.0.1:{served.port}", **how.pop("headers", {})}
        self.skip = how.pop("skip", ())  # headers that are sent and not signed
        self.expires = how.pop("expires", None)  # presigned
        self.after, self.lines = [], None
        assert not how
        self.sign()

    @property
    def scope(self):
        return f"{self.day}/{self.region}/{self.service}/{self.end}"

    def key(self):
        key = ("AWS4" + self.secret).encode()
        for text in (self.day, self.region, self.service, self.end):
            key = mac(key, text)
        return key

    def encoded(self):
        pairs = sorted((urllib.parse.quote(k, safe="-_.~"), urllib.parse.quote(str(v), safe="-_.~"))
                       for k, v in self.query.items())
        return "&".join(f"{k}={v}" for k, v in pairs)

    def sign(self):
        if self.expires is None:
            self.headers |= {"x-amz-date": self.date, "x-amz-content-sha256": self.payload}
        names = sorted(n for n in self.headers if n not in self.skip)
        listed = ";".join(names)
        if self.expires is not None:
            self.query |= {"X-Amz-Algorithm": self.algorithm, "X-Amz-Date": self.date,
                           "X-Amz-Credential": f"{self.access}/{self.scope}",
                           "X-Amz-Expires": self.expires, "X-Amz-SignedHeaders": listed}
        canonical = "\n".join([self.method, self.path, self.encoded(),
                               *[f"{n}:{self.headers[n]}" for n in names], "", listed, self.payload])
        text = "\n".join([self.algorithm, self.date, self.scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        self.signature = mac(self.key(), text).hex()
        if self.expires is not None:
            self.query["X-Amz-Signature"] = self.signature
        else:
            self.authorization = (f"{self.algorithm} Credential={self.access}/{self.scope},"
                                  f"SignedHeaders={listed},Signature={self.signature}")

    def send(self, keep=None):
        query = self.encoded()
        lines = [f"{self.method} {self.path}{'?' + query if query else ''} HTTP/1.1",
                 *[f"{k}: {v}" for k, v in self.headers.items()],
                 *([f"Authorization: {self.authorization}"]
                   if self.expires is None and self.authorization is not None else []),
                 *self.after, f"Content-Length: {len(self.body)}"]
        raw = keep or socket.create_connection(("127.0.0.1", self.served.port), 10)
        try:
            raw.settimeout(15)
            raw.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + self.body)
            reply = b""
            while not (whole(reply) or reply.startswith(b"HTTP/1.1 204")):
                data = raw.recv(65536)
                if not data:
                    break
                reply += data
        finally:
            if keep is None:
                raw.close()
        return reply


def changed(served, change, **how):
    request = Request(served, **how)
    change(request)
    return request


def put(what, **values):
    """A change: attributes of a request after it was signed."""
    def change(request):
        for name, value in values.items():
            setattr(request, name, value(request) if callable(value) else value)
    change.what = what
    return change


def add(*lines):
    return put("added", after=list(lines))


DENIED = {b"AccessDenied": 403}
MISMATCH = {b"SignatureDoesNotMatch": 403}
MALFORMED = {b"AuthorizationHeaderMalformed": 400}
NO_QUERY = {b"AuthorizationQueryParametersError": 400}
SKEWED = {b"RequestTimeTooSkewed": 403}
UNKNOWN = {b"InvalidAccessKeyId": 403}
NOTHING = put("nothing")
# What, how it is signed, what is changed then, which codes are right.
HEADERS = [
    ("no Authorization", {}, put("", authorization=None), DENIED),
    ("an empty Authorization", {}, put("", authorization=""), DENIED),
    ("Basic", {}, put("", authorization="Basic dGVzdDp0ZXN0"), {b"InvalidArgument": 400}),
    ("Signature V2", {}, put("", authorization=f"AWS {ACCESS}:c2lnbmF0dXJl"), {b"InvalidRequest": 400}),
    ("an algorithm alone", {}, put("", authorization="AWS4-HMAC-SHA256"), {b"InvalidArgument": 400}),
    ("Signature V4A", {}, put("", authorization=lambda r: r.authorization.replace(
        "AWS4-HMAC", "AWS4-ECDSA-P256")), {b"NotImplemented": 501, b"InvalidRequest": 400,
                                           b"InvalidArgument": 400}),
    ("no signature", {}, put("", authorization=lambda r: r.authorization.split(",Signature")[0]), MALFORMED),
    ("no credential", {}, put("", authorization=lambda r: "AWS4-HMAC-SHA256 " +
                              r.authorization.split(",", 1)[1]), MALFORMED),
    ("no list of headers", {}, put("", authorization=lambda r: r.authorization.replace(
        "SignedHeaders=host;x-amz-content-sha256;x-amz-date,", "")), MALFORMED),
    ("an unknown key", {"access": "nobody"}, NOTHING, UNKNOWN),
    ("an empty key", {"access": ""}, NOTHING, MALFORMED | UNKNOWN),
    ("a wrong secret", {"secret": "wrong"}, NOTHING, MISMATCH),
    ("zeros", {}, put("", authorization=lambda r: r.authorization.replace(
        r.signature, "0" * 64)), MISMATCH),
    ("half a signature", {}, put("", authorization=lambda r: r.authorization[:-32]), MALFORMED | MISMATCH),
    ("an empty signature", {}, put("", authorization=lambda r: r.authorization[:-64]), MALFORMED | MISMATCH),
    ("another region", {"region": "eu-west-1"}, NOTHING, MALFORMED),
    ("the service sts", {"service": "sts"}, NOTHING, MALFORMED),
    ("the service s3express", {"service": "s3express"}, NOTHING, MALFORMED),
    ("the service execute-api", {"service": "execute-api"}, NOTHING, MALFORMED),
    ("another end of the scope", {"end": "aws3_request"}, NOTHING, MALFORMED),
    ("another day in the scope", {"day": "20200101"}, NOTHING, MALFORMED),
    ("20 minutes late", {"minutes": -20}, NOTHING, SKEWED),
    ("20 minutes early", {"minutes": 20}, NOTHING, SKEWED),
    ("no date", {}, lambda r: r.headers.pop("x-amz-date"), DENIED),
    ("a date that is none", {}, lambda r: r.headers.update({"x-amz-date": "yesterday"}), DENIED),
    ("another date than was signed", {"date": now(-1)},
     lambda r: r.headers.update({"x-amz-date": now()}), MISMATCH),
    ("host not signed", {"skip": ("host",)}, NOTHING, DENIED | MISMATCH | MALFORMED),
    ("date not signed", {"skip": ("x-amz-date",)}, NOTHING, DENIED | MISMATCH | MALFORMED),
    ("payload not signed", {"skip": ("x-amz-content-sha256",)}, NOTHING, DENIED | MISMATCH | MALFORMED),
    ("metadata not signed", {}, add("x-amz-meta-a: b"), DENIED),
    ("a source not signed", {}, add("x-amz-copy-source: /other/secret"), DENIED),
    ("an ACL not signed", {}, add("x-amz-acl: public-read"), DENIED),
    ("tags not signed", {}, add("x-amz-tagging: a=b"), DENIED),
    ("a token not signed", {}, add("x-amz-security-token: abc"), DENIED | {b"InvalidToken": 400}),
    ("another host than was signed", {}, lambda r: r.headers.update(host="example.org"), MISMATCH),
    ("a signed header that is not there", {"headers": {"x-amz-meta-a": "b"}},
     lambda r: r.headers.pop("x-amz-meta-a"), DENIED | MISMATCH | MALFORMED),
    ("a signed header that is another", {"headers": {"x-amz-meta-a": "b"}},
     lambda r: r.headers.update({"x-amz-meta-a": "c"}), MISMATCH),
    ("two dates", {}, add(f"x-amz-date: {now()}"), DENIED | MISMATCH),
    ("two Authorizations", {}, add("Authorization: AWS4-HMAC-SHA256 x"),
     MALFORMED | DENIED | {b"InvalidArgument": 400, b"BadRequest": 400, b"InvalidRequest": 400}),
    ("another key", {}, put("", path="/bucket/k2"), MISMATCH),
    ("another bucket", {}, put("", path="/other/k"), MISMATCH),
    ("another method", {}, put("", method="DELETE"), MISMATCH),
    ("one more query parameter", {}, lambda r: r.query.update(tagging=""), MISMATCH),
    ("another body than was signed", {"payload": HELLO, "body": b"hellp"}, NOTHING,
     {b"XAmzContentSHA256Mismatch": 400}),
    ("another hash than was signed", {"payload": HELLO, "body": b"other"},
     lambda r: r.headers.update({"x-amz-content-sha256": hashlib.sha256(b"other").hexdigest()}), MISMATCH),
    ("unsigned instead of a hash", {"payload": HELLO},
     lambda r: r.headers.update({"x-amz-content-sha256": UNSIGNED}), MISMATCH),
    ("no hash", {}, lambda r: r.headers.pop("x-amz-content-sha256"),
     {b"InvalidRequest": 400, b"MissingSecurityHeader": 400} | MISMATCH | DENIED | MALFORMED),
    ("a hash that is none", {"payload": "nonsense"}, NOTHING, {b"InvalidArgument": 400,
                                                               b"InvalidRequest": 400}),
    ("a stream signed by ECDSA", {"payload": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"}, NOTHING,
     {b"NotImplemented": 501}),
    ("an MD5 of another body", {"headers": {"content-md5": "XUFAKrxLKna5cZ2REBfFkA=="}, "body": b"hellp"},
     NOTHING, {b"BadDigest": 400}),
    ("a checksum of another body", {"headers": {"x-amz-checksum-crc32": crc32(b"other")}}, NOTHING,
     {b"BadDigest": 400}),
    ("two checksums", {"headers": {"x-amz-checksum-crc32": crc32(b"hello"),
                                   "x-amz-checksum-sha1": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}}, NOTHING,
     {b"InvalidRequest": 400}),
    ("a key that only reads", {"access": "reader"}, NOTHING, DENIED),
]
PRESIGNED = [
    ("no signature", {}, lambda r: r.query.pop("X-Amz-Signature"), NO_QUERY | DENIED),
    ("zeros", {}, lambda r: r.query.update({"X-Amz-Signature": "0" * 64}), MISMATCH),
    ("a name alone", {}, lambda r: [r.query.pop(k) for k in list(r.query) if k != "X-Amz-Credential"],
     NO_QUERY | DENIED),
    ("a time below zero", {"expires": -1}, NOTHING, NO_QUERY),
    ("no time", {"expires": 0}, NOTHING, NO_QUERY),
    ("more than a week", {"expires": 604801}, NOTHING, NO_QUERY),
    ("a time that is no number", {"expires": "soon"}, NOTHING, NO_QUERY),
    ("over", {"date": now(-10), "expires": 60}, NOTHING, DENIED),
    ("an hour early", {"date": now(60)}, NOTHING, DENIED | SKEWED),
    ("a longer time than was signed", {}, lambda r: r.query.update({"X-Amz-Expires": 600}), MISMATCH),
    ("another key", {}, put("", path="/bucket/k2"), MISMATCH),
    ("another bucket", {}, put("", path="/other/k"), MISMATCH),
    ("another method", {}, put("", method="DELETE"), MISMATCH),
    ("one more parameter", {}, lambda r: r.query.update({"response-content-type": "a/b"}), MISMATCH),
    ("an unknown key", {"access": "nobody"}, NOTHING, UNKNOWN),
    ("a wrong secret", {"secret": "wrong"}, NOTHING, MISMATCH),
    ("another region", {"region": "eu-west-1"}, NOTHING, NO_QUERY),
    ("another service", {"service": "sts"}, NOTHING, NO_QUERY),
    ("host not signed", {"headers": {"x-amz-meta-a": "b"}, "skip": ("host",)}, NOTHING,
     NO_QUERY | DENIED | MISMATCH),
    ("metadata not signed", {}, add("x-amz-meta-a: b"), DENIED),
    ("with an Authorization", {}, add("Authorization: AWS4-HMAC-SHA256 x"),
     {b"InvalidArgument": 400, b"InvalidRequest": 400} | MALFORMED),
    ("zeros and a streamed body", {"payload": UNSIGNED, "body": b"5\r\nhello\r\n0\r\n\r\n"},
     lambda r: (r.query.update({"X-Amz-Signature": "0" * 64}),
                r.after.extend([f"x-amz-content-sha256: {OPEN_STREAM}",
                                "x-amz-decoded-content-length: 5"])), MISMATCH | DENIED),
]


def refused(reply, want, what):
    code = next((c for c in want if b"<Code>" + c + b"</Code>" in reply), None)
    assert code is not None and status(reply) == want[code], (what, reply)
    assert SECRET.encode() not in reply, what


def untouched(served, s3):
    nothing_left_but_others(served, s3)
    assert s3.get_object(Bucket="other", Key="k")["Body"].read() == b"not for others"


def nothing_left_but_others(served, s3):
    assert keys(s3) == []
    assert s3.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="other")["Contents"]] == ["k", "secret"]


def test_a_request_signed_by_hand_is_accepted(served, s3):
    """Else all that follows would prove nothing."""
    assert status(Request(served).send()) == 200
    assert status(Request(served, payload=HELLO).send()) == 200
    assert status(Request(served, expires=60).send()) == 200
    assert status(Request(served, "GET", "/bucket/k", body=b"", expires=60).send()) == 200
    assert status(Request(served, headers={"x-amz-meta-a": "b"}).send()) == 200
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"hello"
    assert status(Request(served, "DELETE", body=b"").send()) == 204


def test_a_signature_in_headers_is_looked_at_word_by_word(served, s3):
    for what, how, change, want in HEADERS:
        refused(changed(served, change, **how).send(), want, what)
    untouched(served, s3)


def test_a_signature_in_a_url_is_looked_at_word_by_word(served, s3):
    for what, how, change, want in PRESIGNED:
        refused(changed(served, change, **({"expires": 60} | how)).send(), want, what)
    untouched(served, s3)


# ---- streams whose chunks are signed ----

def chunk_text(request, last, data):
    return "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", request.date, request.scope, last, EMPTY,
                      hashlib.sha256(data).hexdigest()])


def stream(request, pieces, trailer=None):
    """The body's chunks, each with its signature; the last is empty."""
    last, chunks = request.signature, []
    for data in [*pieces, b""]:
        last = mac(request.key(), chunk_text(request, last, data)).hex()
        chunks.append([data, last])
    end = b""
    if trailer is not None:
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", request.date, request.scope, last,
                          hashlib.sha256(trailer + b"\n").hexdigest()])
        end = trailer + b"\r\nx-amz-trailer-signature:" + mac(request.key(), text).hex().encode() + b"\r\n"
    return chunks, end


def framed(chunks, end=b""):
    return b"".join(b"%x;chunk-signature=%s\r\n" % (len(d), s.encode()) + (d + b"\r\n" if d else b"")
                    for d, s in chunks) + end + b"\r\n"


PIECES = [b"hello" * 2000, b"world"]
SIZE = sum(map(len, PIECES))
TRAILER = b"x-amz-checksum-crc32:" + crc32(b"".join(PIECES)).encode()


def spoil(place, value):
    def change(chunks):
        chunks[place][1] = value
    return change


STREAMS = {
    "whole": lambda c: None,
    "a wrong signature of the first chunk": spoil(0, "0" * 64),
    "a wrong signature of the second chunk": spoil(1, "0" * 64),
    "a wrong signature of the last chunk": spoil(2, "0" * 64),
    "a short signature": spoil(0, "0" * 32),
    "no signature": spoil(1, ""),
    "other bytes": lambda c: c[1].__setitem__(0, b"w0rld"),
    "no end": lambda c: c.pop(),
    "chunks in another order": lambda c: c.insert(0, c.pop(1)),
    "a chunk twice": lambda c: c.insert(1, list(c[1])),
    "a chunk left out": lambda c: c.pop(1),
}


def streamed(served, payload, target, size=SIZE, **how):
    headers = {"x-amz-decoded-content-length": str(size), "content-encoding": "aws-chunked"}
    if payload != SIGNED_STREAM:
        headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    headers |= how.pop("headers", {})
    return Request(served, path="/bucket/k", payload=payload, headers=headers, query=target, **how)


@pytest.fixture(params=["object", "part"])
def target(request, s3):
    """What the stream goes to, and that nothing of it is there afterwards."""
    if request.param == "object":
        yield {}
        assert keys(s3) == []
        return
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k", ChecksumAlgorithm="CRC32",
                                        ChecksumType="FULL_OBJECT")["UploadId"]
    yield {"partNumber": "1", "uploadId": upload}
    assert "Parts" not in s3.list_parts(Bucket="bucket", Key="k", UploadId=upload)
    s3.abort_multipart_upload(Bucket="bucket", Key="k", UploadId=upload)


def take_back(s3, target):
    """What a good stream has left."""
    if target:
        parts = s3.list_parts(Bucket="bucket", Key="k", UploadId=target["uploadId"])["Parts"]
        assert [p["Size"] for p in parts] == [SIZE]
        s3.abort_multipart_upload(Bucket="bucket", Key="k", UploadId=target["uploadId"])
        target["uploadId"] = s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    else:
        assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"".join(PIECES)
        s3.delete_object(Bucket="bucket", Key="k")


def test_signed_chunks_are_checked_one_by_one(served, s3, target):
    fixed = dict(target)
    for what, change in STREAMS.items():
        if what == "whole":
            continue
        request = streamed(served, SIGNED_STREAM, fixed)
        chunks, _ = stream(request, PIECES)
        change(chunks)
        request.body = framed(chunks)
        assert status(request.send()) in (400, 403), what
    for size in (SIZE - 1, SIZE + 1):
        request = streamed(served, SIGNED_STREAM, fixed, size)
        request.body = framed(stream(request, PIECES)[0])
        assert status(request.send()) == 400, size
    if not target:
        request = streamed(served, SIGNED_STREAM, fixed)
        request.body = framed(stream(request, PIECES)[0])
        assert status(request.send()) == 200
        take_back(s3, target)


def test_signed_trailers_are_checked(served, s3, target):
    def body(request, change=lambda end: end, trailer=TRAILER):
        chunks, end = stream(request, PIECES, trailer)
        return framed(chunks, change(end))

    wrong = b"x-amz-checksum-crc32:" + crc32(b"other").encode()
    spoilt = [
        ("a wrong signature", lambda end: end[:-66] + b"0" * 64 + b"\r\n", TRAILER),
        ("no signature", lambda end: end.split(b"\r\n")[0] + b"\r\n", TRAILER),
        ("a checksum of other bytes", lambda end: end, wrong),
        ("another checksum than was signed", lambda end: end.replace(TRAILER, wrong), TRAILER),
        ("another trailer than was announced", lambda end: end,
         TRAILER.replace(b"crc32", b"crc32c")),
        ("no trailer", lambda end: b"", TRAILER)]
    for what, change, trailer in spoilt:
        request = streamed(served, TRAILER_STREAM, target)
        request.body = body(request, change, trailer)
        assert status(request.send()) in (400, 403), what
    if not target:
        request = streamed(served, TRAILER_STREAM, target)
        request.body = body(request)
        assert status(request.send()) == 200
        take_back(s3, target)


def test_a_stream_that_nobody_signed_needs_its_owner_all_the_more(served, target):
    body = b"%x\r\n" % SIZE + b"".join(PIECES) + b"\r\n0\r\n" + TRAILER + b"\r\n\r\n"
    for how in ({"secret": "wrong"}, {"access": "nobody"}, {"access": "reader"}):
        assert status(streamed(served, OPEN_STREAM, target, body=body, **how).send()) == 403, how
    both = streamed(served, OPEN_STREAM, target, body=body, headers={
        "x-amz-checksum-crc32": crc32(b"".join(PIECES))})
    refused(both.send(), {b"InvalidRequest": 400}, "a trailer and a header")
    other = streamed(served, OPEN_STREAM, target, body=body.replace(b"crc32:", b"sha1:"))
    assert status(other.send()) == 400


# ---- one connection, many requests ----

def test_each_request_of_a_connection_is_authenticated_by_itself(served, s3):
    with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
        for turn in range(3):
            good = Request(served, "GET", "/other/k", body=b"")
            assert b"not for others" in good.send(keep=raw)
            bad = Request(served, payload=OPEN_STREAM, body=b"5\r\nhello\r\n0\r\n\r\n", headers={
                "x-amz-decoded-content-length": "5"})
            bad.authorization = [None, bad.authorization[:-4] + "0000", ""][turn]
            reply = bad.send(keep=raw)
            assert status(reply) == 403, reply
            if b"connection: close" in reply.lower():
                raw.close()
                break
    untouched(served, s3)


# ---- what anybody can ask ----

def test_nobody_is_told_anything_without_a_signature(served, s3):
    paths = ["/", "/bucket", "/other", "/other/k", "/other/secret", "/?policy", "/bucket?policy",
             "/bucket?location", "/bucket?versioning", "/bucket?acl", "/bucket?uploads", "/metrics",
             "/status", "/healthz", "/minio/health/live", "/minio/admin/v3/info",
             "/minio/bootstrap/v1/verify", "/credentials", "/_status", "/debug/pprof/", "/env",
             "/.skyvol/volume.json", "/bucket/.skyvol/x", "/nginx_status", "/favicon.ico",
             "/?Action=ListUsers&Version=2010-05-08", "/?Action=AssumeRole", "/list-users",
             "/create-user", "/change-bucket-owner", "/latest/meta-data/"]
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        for path in paths:
            with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
                raw.settimeout(10)
                raw.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
                            "Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
                reply = b""
                while data := raw.recv(65536):
                    reply += data
            assert 400 <= status(reply) < 600 and status(reply) != 500, (method, path, reply)
            for word in (SECRET.encode(), b"not for others", str(served.directory).encode()):
                assert word not in reply, (method, path)
    untouched(served, s3)


# ---- names that lead elsewhere ----

TRICKS = ["/bucket/../other/k", "/bucket/%2e%2e/other/k", "/bucket/..%2fother%2fk",
          "/bucket/%2e%2e%2fother%2fk", "/bucket/a/../../other/k", "/bucket/./../other/k",
          "/bucket/..\\other\\k", "/bucket/%5c..%5cother%5ck", "/bucket//../other/k",
          "/bucket/%252e%252e/other/k", "/../other/k", "/%2e%2e/other/k", "//other/k", "/./other/k",
          "/bucket%2f..%2fother/k", "/bucket/%00", "/bucket/a%00b", "/other%00/k"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_path_never_leads_to_another_bucket(served, s3, method):
    """What is taken is a key of just that name, in the bucket that was named first."""
    for path in TRICKS:
        reply = Request(served, method, path, body=b"mine" if method == "PUT" else b"").send()
        assert b"not for others" not in reply, path
        if "%00" in path:
            assert status(reply) in (400, 403), (path, reply)
        if status(reply) == 200:
            assert method == "PUT" and path.startswith("/bucket/"), (path, reply)
            taken = keys(s3)
            assert len(taken) == 1 and b"mine" == s3.get_object(
                Bucket="bucket", Key=taken[0])["Body"].read(), path
            s3.delete_object(Bucket="bucket", Key=taken[0])
        else:
            assert status(reply) in ((400, 403, 404, 405) if method != "DELETE"
                                     else (204, 400, 403, 404, 405, 409)), (path, reply)
    untouched(served, s3)


def test_a_source_never_leads_out_of_what_the_key_may(served):
    """The same in x-amz-copy-source, by a key that is for one bucket only."""
    served.write_keys([{"access_key": ACCESS, "secret_key": SECRET},
                       {"access_key": "reader", "secret_key": SECRET, "read_only": True},
                       {"access_key": "one", "secret_key": SECRET, "buckets": ["bucket"]}])
    from conftest import wait_until
    wait_until(lambda: status(Request(served, "GET", "/bucket", body=b"", access="one").send()) == 200,
               what="the new key")
    for path in [*TRICKS, "/other/k", "other/k", "/other/k?versionId=null"]:
        for headers, query in (({"x-amz-copy-source": path}, {}),
                               ({"x-amz-copy-source": path}, {"partNumber": "1", "uploadId": "none"})):
            reply = Request(served, headers=headers, query=query, body=b"", access="one").send()
            assert status(reply) in (400, 403, 404), (path, reply)
    assert "Contents" not in served.client().list_objects_v2(Bucket="bucket")


def test_a_form_is_no_way_around_its_policy(served, s3):
    """By a path or a field that names another bucket, and by what looks like an archive."""
    form = served.client().generate_presigned_post("bucket", "posted")
    fields = form["fields"]
    edge = "--e\r\nContent-Disposition: form-data; name="

    def post(path, fields, extra=()):
        text = "".join(f'{edge}"{n}"\r\n\r\n{v}\r\n' for n, v in [*fields.items(), *extra,
                                                                  ("file", "bytes")]) + "--e--\r\n"
        with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
            raw.settimeout(10)
            raw.sendall((f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n"
                         f"Content-Type: multipart/form-data; boundary=e\r\n"
                         f"Content-Length: {len(text)}\r\n\r\n{text}").encode())
            return raw.recv(65536)

    assert status(post("/bucket", fields)) == 204
    s3.delete_object(Bucket="bucket", Key="posted")
    for path, changes, extra in (
            ("/other", {}, ()), ("/other/k", {}, ()), ("/bucket/../other", {}, ()),
            ("/bucket", {"key": "other"}, ()), ("/bucket", {"key": ".skyvol/volume.json"}, ()),
            ("/bucket", {}, [("bucket", "other")]), ("/bucket", {}, [("x-amz-meta-snowball", "1")]),
            ("/bucket", {}, [("X-Amz-Meta-Snowball-Auto-Extract", "true")]),
            ("/bucket", {n: v[:-2] + "00" for n, v in fields.items() if n.lower().endswith("signature")},
             ())):
        assert status(post(path, fields | changes, extra)) in (400, 403, 405), (path, changes, extra)
    untouched(served, s3)


def test_nothing_of_all_this_is_on_the_disk(served, s3):
    s3.delete_object(Bucket="other", Key="k")
    s3.delete_object(Bucket="other", Key="secret")
    nothing_left(served, s3)

# SPDX-License-Identifier: Apache-2.0
"""Reads that the event loop answers itself: the same, byte for byte, as the store's threads answer them."""
import concurrent.futures
import hashlib
import os
import re
import socket
import urllib.request

import pytest

from conftest import free_port
from test_s3 import ACCESS, MIB, SECRET, Endpoint
from test_s3_hostile import signed, status

B = {"Bucket": "bucket"}


class Pair:
    """Two endpoints, two processes, on one store: `fast` answers itself what it can, `slow` never."""

    def __init__(self, processes, directory):
        self.store = directory / "store"
        self.status = free_port()
        serve = ["--dir", self.store, "--workers", "1"]
        more = [{"access_key": "mine", "secret_key": SECRET, "account": "me"}]
        for name in ("fast", "slow"):
            (directory / name).mkdir()
        self.fast = Endpoint(processes, directory / "fast", name="fast", more_keys=more,
                             serve=[*serve, "--status", f"127.0.0.1:{self.status}"])
        self.slow = Endpoint(processes, directory / "slow", name="slow", more_keys=more,
                             serve=[*serve, "--reads-by-threads"])

    def at_once(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status}/metrics", timeout=20) as reply:
            return sum(float(line.rsplit(" ", 1)[1]) for line in reply.read().decode().splitlines()
                       if line.startswith("s3_at_once_total{"))

    def close(self):
        self.fast.close()
        self.slow.close()


@pytest.fixture
def pair(processes, workdir):
    served = Pair(processes, workdir)
    yield served
    served.close()


def head_of(endpoint, method, path, headers=(), access=ACCESS, secret=SECRET, sign=True):
    lines = signed(endpoint, method, path, headers, access=access, secret=secret) if sign else [
        f"Host: 127.0.0.1:{endpoint.port}", *(f"{k}: {v}" for k, v in dict(headers).items())]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "Connection: close", "", ""])


def ask(endpoint, head):
    """The reply to the last byte, on a connection of its own, without what is another each time."""
    out = b""
    with socket.create_connection(("127.0.0.1", endpoint.port), 10) as raw:
        raw.settimeout(30)
        raw.sendall(head.encode("latin-1"))
        while data := raw.recv(1 << 18):
            out += data
    assert re.search(rb"x-amz-request-id: [0-9a-f]{32}\r\n", out), out[:500]
    out = re.sub(rb"x-amz-request-id: [0-9a-f]{32}\r\n", b"", out)
    out = re.sub(rb"<RequestId>[0-9a-f]{32}</RequestId>", b"", out)
    return re.sub(rb"\r\nDate: [^\r]*\r\n", b"\r\n", out)


def fill(client):
    """Objects of all kinds; the path of each, with its ETag."""
    etags = {}

    def put(key, body, bucket="bucket", **kwargs):
        etags[f"/{bucket}/{key}"] = client.put_object(Bucket=bucket, Key=key, Body=body, **kwargs)["ETag"]
    put("small", b"hello", ContentType="text/x", Metadata={"a": "1", "b": "two"},
        Tagging="a=b&c=d", CacheControl="no-store", ContentDisposition="inline", ChecksumAlgorithm="SHA256")
    put("plain", b"x" * 4096)
    put("empty", b"")
    put("edge", os.urandom(64 * 1024))
    put("over", os.urandom(64 * 1024 + 1))
    put("big", os.urandom(3 * MIB))
    put("dir/", b"")
    begun = client.create_multipart_upload(**B, Key="parts", ChecksumAlgorithm="CRC32")["UploadId"]
    parts = []
    for i, body in enumerate([b"a" * 5 * MIB, b"bcd"], 1):
        done = client.upload_part(**B, Key="parts", UploadId=begun, PartNumber=i, Body=body,
                                  ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": i, "ETag": done["ETag"], "ChecksumCRC32": done["ChecksumCRC32"]})
    etags["/bucket/parts"] = client.complete_multipart_upload(
        **B, Key="parts", UploadId=begun, MultipartUpload={"Parts": parts})["ETag"]
    return etags


def versions(client):
    client.create_bucket(Bucket="kept")
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    old = client.put_object(Bucket="kept", Key="k", Body=b"old")["VersionId"]
    client.put_object(Bucket="kept", Key="k", Body=b"new")
    client.put_object(Bucket="kept", Key="gone", Body=b"x")
    marker = client.delete_object(Bucket="kept", Key="gone")["VersionId"]
    return [f"/kept/k?versionId={old}", f"/kept/gone?versionId={marker}", "/kept/k", "/kept/gone",
            "/kept/k?versionId=null", "/kept/k?versionId=nonsense", f"/kept/gone?versionId={old}"]


HEADERS = [
    {}, {"Range": "bytes=0-0"}, {"Range": "bytes=1-3"}, {"Range": "bytes=2-"}, {"Range": "bytes=-2"},
    {"Range": "bytes=-70000"}, {"Range": "bytes=70000-70001"}, {"Range": "bytes=99999999-"},
    {"Range": "bytes=3-1"}, {"Range": "bytes=0-1,3-4"}, {"If-None-Match": "*"}, {"If-Match": '"other"'},
    {"If-None-Match": '"other"', "Range": "bytes=1-"},
    {"If-Modified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"},
    {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}, {"x-amz-checksum-mode": "ENABLED"},
    {"Origin": "http://a.example"}, {"Origin": "http://b.example"},
    {"x-amz-expected-bucket-owner": "skyvol"}, {"x-amz-expected-bucket-owner": "other"},
]
QUERIES = ["?partNumber=1", "?partNumber=2", "?partNumber=3", "?partNumber=0", "?versionId=null",
           "?response-content-type=a%2Fb&response-expires=never", "?response-content-type=%0d",
           "?x-id=GetObject", "?uploads%5b", "?%76ersionId=null"]


def table(etags, kept):
    """(method, path, headers, more)"""
    rows = [(path, headers, {}) for path in etags for headers in HEADERS]
    rows += [(path, {name: value}, {}) for path, etag in etags.items()
             for name, value in (("If-None-Match", etag), ("If-Match", etag))]
    rows += [(path + query, {}, {}) for path in ("/bucket/parts", "/bucket/small") for query in QUERIES]
    rows += [(path, headers, {}) for path in kept for headers in HEADERS[:4]]
    rows += [(path, {}, {}) for path in ("/bucket/absent", "/no-bucket/k", "/bucket/.skyvol/x",
                                         "/mine/k", "/bucket/small%00", "/bucket/" + "k" * 1025)]
    rows += [("/mine/k", {}, {"access": "mine"}), ("/bucket/small", {}, {"access": "mine"}),
             ("/bucket/small", {}, {"access": "reader"}), ("/bucket/small", {}, {"access": "nobody"}),
             ("/bucket/small", {}, {"secret": "wrong"}), ("/bucket/small", {}, {"sign": False}),
             ("/open/read", {}, {"sign": False}), ("/open/absent", {}, {"sign": False}),
             ("/open/denied", {}, {}), ("/open/read", {"Range": "bytes=-2"}, {"access": "mine"})]
    return [(method, *row) for row in rows for method in ("GET", "HEAD")]


def prepare(client, pair):
    client.create_bucket(**B)
    client.put_bucket_cors(**B, CORSConfiguration={"CORSRules": [
        {"AllowedMethods": ["GET"], "AllowedOrigins": ["http://a.example"], "ExposeHeaders": ["ETag"]}]})
    mine = pair.slow.client("mine")
    mine.create_bucket(Bucket="mine")
    mine.put_object(Bucket="mine", Key="k", Body=b"mine")
    client.create_bucket(Bucket="open")
    for key in ("read", "denied"):
        client.put_object(Bucket="open", Key=key, Body=key.encode())
    client.delete_public_access_block(Bucket="open")
    client.put_bucket_policy(Bucket="open", Policy="""{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::open/*"},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::open/denied"}]}""")


def test_both_ways_answer_alike(pair):
    client = pair.slow.client()
    prepare(client, pair)
    rows = table(fill(client), versions(client))
    found = set()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        def both(row):
            method, path, headers, more = row
            head = head_of(pair.fast, method, path, headers, **more)  # one: errors tell what was signed
            return row, [ask(e, head) for e in (pair.fast, pair.slow)]
        for row, (fast, slow) in pool.map(both, rows):
            assert fast == slow, (row, fast[:1500], slow[:1500])
            found.add(status(fast))
    assert found >= {200, 206, 304, 400, 403, 404, 405, 412, 416}, found
    # All but what was refused before the store, and what had to ask for a policy or for others' turn.
    assert pair.at_once() > len(rows) / 2


def test_a_read_sees_all_that_was_acknowledged_before_it(pair):
    slow, fast = pair.slow.client(), pair.fast.client()
    slow.create_bucket(**B)
    rounds = 0
    while rounds < 40:
        body = b"%d" % rounds * 100
        (slow if rounds % 3 else fast).put_object(**B, Key="k", Body=body)
        got = fast.get_object(**B, Key="k")
        assert got["Body"].read() == body
        assert got["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        slow.delete_object(**B, Key="k")
        with pytest.raises(fast.exceptions.ClientError, match="404"):
            fast.head_object(**B, Key="k")
        rounds += 1
    assert pair.at_once() > rounds


def changes(client, i):
    """One after the other, each of another kind; what was acknowledged is to be seen at once."""
    body = b"%d" % i * 50
    client.put_object(**B, Key="k", Body=body, ContentType=f"text/{i}")
    yield
    client.put_object_tagging(**B, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": str(i)}]})
    yield
    client.copy_object(**B, Key="k", CopySource="bucket/k", MetadataDirective="REPLACE", Metadata={"i": str(i)})
    yield
    client.delete_object_tagging(**B, Key="k")
    yield
    begun = client.create_multipart_upload(**B, Key="k")["UploadId"]
    etag = client.upload_part(**B, Key="k", UploadId=begun, PartNumber=1, Body=body * 2)["ETag"]
    yield
    client.complete_multipart_upload(**B, Key="k", UploadId=begun,
                                     MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    yield
    version = client.delete_object(**B, Key="k").get("VersionId")
    yield
    if version:  # the marker goes, and what it hid is there again
        client.delete_object(**B, Key="k", VersionId=version)
        yield


def test_what_is_remembered_of_an_object_ends_with_each_change(pair):
    writer = pair.slow.client()
    writer.create_bucket(**B)
    seen, asked = set(), 0
    for i in range(24):
        if i == 12:
            writer.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
        for _ in changes(writer, i):
            for method in ("GET", "HEAD"):
                head = head_of(pair.fast, method, "/bucket/k")
                fast = [ask(pair.fast, head) for _ in range(2)]
                assert fast == [ask(pair.slow, head)] * 2
                seen.add(fast[0])
                asked += 2
    assert len(seen) > 24 * 8, len(seen)
    assert pair.at_once() > asked / 2


def test_readers_and_writers_in_two_processes_never_meet_halves(pair):
    slow, fast = pair.slow.client(), pair.fast.client(max_pool_connections=8)
    slow.create_bucket(**B)
    acknowledged, over = [0], []

    def body(i):
        return b"%08d" % i * (1 << (i % 15))
    slow.put_object(**B, Key="k", Body=body(0))

    def read():
        last = 0
        while not over:
            known = acknowledged[0]
            data = fast.get_object(**B, Key="k")["Body"].read()
            number = int(data[:8])
            assert data == body(number) and number >= max(known, last)
            last = number
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for i in range(1, 60):
                slow.put_object(**B, Key="k", Body=body(i))
                acknowledged[0] = i
        finally:
            over.append(True)
        for reader in readers:
            reader.result(30)
    assert pair.at_once() > 0

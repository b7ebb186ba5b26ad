# SPDX-License-Identifier: Apache-2.0
"""What clients send, as it was captured of them: row by row, and that it is really what goes over the wire."""
import base64
import hashlib
import io
import socket

import pytest

from test_s3 import MIB, Endpoint, code_of, keys, make_certificate, plain, s3  # noqa: F401
from test_s3_hostile import crc32, status
from test_s3_negative import (HELLO, OPEN_STREAM, PIECES, SIGNED_STREAM, SIZE, TRAILER, TRAILER_STREAM,
                              Request, framed, stream)

BODY = b"".join(PIECES)


@pytest.fixture(params=["http", "https"])
def client(request, processes, workdir):
    served = Endpoint(processes, workdir,
                      make_certificate(workdir) if request.param == "https" else None)
    made = served.client()
    made.create_bucket(Bucket="bucket")
    made.sent = {}
    made.meta.events.register("before-send.s3", lambda request, event_name, **_: made.sent.update(
        {event_name.rsplit(".", 1)[1]: ({k.lower(): v if isinstance(v, str) else v.decode()
                                         for k, v in request.headers.items()}, request.url)}))
    made.secure = request.param == "https"
    yield made
    served.close()


def test_boto3_with_its_defaults(client):
    """PutObject, UploadPart, GET, lists, DeleteObjects and completions, over http and https."""
    client.put_object(Bucket="bucket", Key="k", Body=BODY)
    sent, _ = client.sent["PutObject"]
    assert sent["expect"] == "100-continue" and sent["x-amz-sdk-checksum-algorithm"] == "CRC32"
    if client.secure:
        assert sent["x-amz-content-sha256"] == OPEN_STREAM and sent["content-encoding"] == "aws-chunked"
        assert sent["transfer-encoding"] == "chunked" and "content-length" not in sent
        assert sent["x-amz-trailer"] == "x-amz-checksum-crc32"
    else:
        assert sent["x-amz-content-sha256"] == hashlib.sha256(BODY).hexdigest()
        assert sent["x-amz-checksum-crc32"] == crc32(BODY)
    head = client.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == crc32(BODY) and "ContentEncoding" not in head
    got = client.get_object(Bucket="bucket", Key="k")
    assert client.sent["GetObject"][0]["x-amz-checksum-mode"] == "ENABLED"
    assert got["Body"].read() == BODY and got["ContentLength"] == SIZE
    part = client.get_object(Bucket="bucket", Key="k", Range="bytes=0-8388607")
    assert part["Body"].read() == BODY and part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert [o["Key"] for o in client.list_objects_v2(Bucket="bucket")["Contents"]] == ["k"]
    assert "list-type=2&encoding-type=url" in client.sent["ListObjectsV2"][1]
    client.upload_fileobj(io.BytesIO(bytes(9 * MIB)), "bucket", "m")
    assert client.sent["CreateMultipartUpload"][0]["x-amz-checksum-algorithm"] == "CRC32"
    assert (client.sent["UploadPart"][0]["x-amz-content-sha256"] == OPEN_STREAM) == client.secure
    assert client.head_object(Bucket="bucket", Key="m")["ContentLength"] == 9 * MIB
    gone = client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}, {"Key": "m"}]})
    sent, _ = client.sent["DeleteObjects"]
    assert "content-md5" not in sent and sent["x-amz-checksum-crc32"]
    assert len(gone["Deleted"]) == 2 and keys(client) == []


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_each_checksum_as_a_header_and_as_a_trailer(client, algorithm):
    """awscli v2 sends CRC64NVME, mountpoint-s3 CRC32C."""
    put = client.put_object(Bucket="bucket", Key="k", Body=BODY, ChecksumAlgorithm=algorithm)
    name = f"x-amz-checksum-{algorithm.lower()}"
    sent, _ = client.sent["PutObject"]
    assert sent.get("x-amz-trailer") == name if client.secure else sent[name]
    head = client.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]


def stored(s3, **want):
    head = s3.head_object(Bucket="bucket", Key="k")
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == BODY
    assert {k: head.get(k) for k in want} == want
    s3.delete_object(Bucket="bucket", Key="k")


def chunked(body):
    return b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


def send_chunked(request):
    """HTTP's framing around what is framed already, and no length."""
    lines = [f"{request.method} {request.path} HTTP/1.1",
             *[f"{k}: {v}" for k, v in request.headers.items()],
             f"Authorization: {request.authorization}", "Transfer-Encoding: chunked", "Connection: close"]
    with socket.create_connection(("127.0.0.1", request.served.port), 10) as raw:
        raw.settimeout(15)
        raw.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + chunked(request.body))
        return raw.recv(65536)


@pytest.mark.parametrize("how", ["length", "chunked"])
def test_each_kind_of_payload_in_each_framing(plain, s3, how):
    """s3cmd and old SDKs: a hash; rclone: none; minio-py over https: none and an MD5; SDKs: three streams."""
    send = Request.send if how == "length" else send_chunked
    decoded = {"x-amz-decoded-content-length": str(SIZE), "content-encoding": "aws-chunked"}
    trailer = {"x-amz-trailer": "x-amz-checksum-crc32"}
    md5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    for payload, headers in ((hashlib.sha256(BODY).hexdigest(), {}), ("UNSIGNED-PAYLOAD", {}),
                             ("UNSIGNED-PAYLOAD", {"content-md5": md5})):
        assert status(send(Request(plain, payload=payload, headers=headers, body=BODY))) == 200
        stored(s3)
    for encoding, kept in (("aws-chunked", None), ("gzip,aws-chunked", "gzip")):
        request = Request(plain, payload=SIGNED_STREAM, headers=decoded | {"content-encoding": encoding})
        request.body = framed(stream(request, PIECES)[0])
        assert status(send(request)) == 200  # the Java SDK of old, seaweedfs #1632
        stored(s3, ContentEncoding=kept)
    request = Request(plain, payload=TRAILER_STREAM, headers=decoded | trailer)
    request.body = framed(*stream(request, PIECES, TRAILER))
    assert status(send(request)) == 200  # the Java SDK since 2.30
    stored(s3, ContentEncoding=None)
    request = Request(plain, payload=OPEN_STREAM, headers=decoded | trailer)
    request.body = b"%x\r\n" % SIZE + BODY + b"\r\n0\r\n" + TRAILER + b"\r\n\r\n"
    assert status(send(request)) == 200  # boto3, mountpoint-s3 with a length, Go
    stored(s3, ContentEncoding=None)


def test_a_batch_delete_needs_one_digest_of_any_kind(plain, s3):
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    digests = ({"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()},
               {"x-amz-checksum-crc32": crc32(body)}, {"x-amz-checksum-sha256": base64.b64encode(
                   hashlib.sha256(body).digest()).decode()})
    for headers in digests:
        s3.put_object(Bucket="bucket", Key="k", Body=b"")
        reply = Request(plain, "POST", "/bucket", query={"delete": ""}, body=body, headers=headers).send()
        assert status(reply) == 200 and b"<Deleted><Key>k</Key></Deleted>" in reply
        assert keys(s3) == []


def test_headers_that_change_nothing_are_no_hindrance(plain, s3):
    """s3proxy #327, #870, #942."""
    for headers in ({"x-amz-te": "append-md5"}, {"x-amz-user-agent": "aws-sdk-js/3"},
                    {"amz-sdk-invocation-id": "1", "amz-sdk-request": "attempt=1; max=3"},
                    {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": crc32(b"hello")},
                    {"x-amz-acl": "private"}, {"x-amz-storage-class": "STANDARD"},
                    {"x-amz-request-payer": "requester"}, {"x-amz-something-new": "1"}):
        reply = Request(plain, payload=HELLO, headers=headers).send()
        assert status(reply) == 200, (headers, reply)
    got = Request(plain, "GET", body=b"", headers={"x-amz-checksum-mode": "ENABLED", "x-amz-te": "x"}).send()
    assert status(got) == 200 and got.endswith(b"hello")


def test_what_is_another_servers_gets_a_clean_no(plain, s3):
    """GeeseFS's PATCH and Yandex's list, S3 Express's sessions, renames and appends."""
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    for method, query, headers in (
            ("PATCH", {}, {"content-range": "bytes 0-4/*"}), ("PUT", {"renameObject": ""}, {}),
            ("PUT", {}, {"x-amz-write-offset-bytes": "1"}), ("POST", {"select": "", "select-type": "2"}, {}),
            ("POST", {"restore": ""}, {}), ("GET", {"torrent": ""}, {})):
        reply = Request(plain, method, query=query, headers=headers).send()
        assert status(reply) in (400, 405, 501) and b"<Code>" in reply, (method, query, reply)
    reply = Request(plain, "GET", "/bucket", query={"session": ""}, body=b"").send()
    assert status(reply) == 501 and b"<Code>NotImplemented</Code>" in reply
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"x"


def test_a_client_finds_out_the_region(plain, s3):
    assert s3.head_bucket(Bucket="bucket")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    reply = Request(plain, "GET", "/bucket", body=b"", region="eu-west-1").send()
    assert status(reply) == 400 and b"<Code>AuthorizationHeaderMalformed</Code>" in reply
    assert b"<Region>us-east-1</Region>" in reply


def test_create_only_if_absent_as_hadoop_does(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"2",
                   IfNoneMatch="*") == ("PreconditionFailed", 412)
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    which = {"Bucket": "bucket", "Key": "k", "UploadId": upload}
    etag = s3.upload_part(PartNumber=1, Body=bytes(MIB), **which)["ETag"]
    assert code_of(s3.complete_multipart_upload, IfNoneMatch="*", MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": etag}]}, **which) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"

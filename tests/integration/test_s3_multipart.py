# SPDX-License-Identifier: Apache-2.0
"""Multipart objects, their checksums and attributes as boto3 sees them; test names are those of the public S3
suites that ask the same, where one does."""
import base64
import datetime
import hashlib
import http.client
import random
import threading
import time
import zlib

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from test_s3 import ACCESS, MIB, SECRET, Endpoint, code_of, keys

PART = 5 * MIB


@pytest.fixture
def plain(processes, workdir):
    served = Endpoint(processes, workdir)
    yield served
    served.close()


@pytest.fixture
def s3(plain):
    """Without the checksums that boto3 adds by itself: those that are asked for count."""
    client = boto3.client(
        "s3", endpoint_url=plain.url, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", retries={"max_attempts": 1}, connect_timeout=10,
                      read_timeout=30, s3={"addressing_style": "path"},
                      request_checksum_calculation="when_required"))
    client.create_bucket(Bucket="bucket")
    return client


def send(plain, method, target, body=b"", headers=None, lengthless=False, spoilt=False):
    """A request that boto3 would not make; the body signed, unless it is spoilt."""
    request = AWSRequest(method, f"{plain.url}{target}", data=body, headers=headers or {})
    S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=30)
    body = body[:-1] + b"?" if spoilt else body
    sent = iter([body[i:i + 100000] for i in range(0, len(body), 100000)]) if lengthless else body
    head = dict(request.headers) | ({"Transfer-Encoding": "chunked"} if lengthless else {})
    connection.request(method, target, sent, head, encode_chunked=lengthless)
    reply = connection.getresponse()
    return reply, reply.read()


def bodies(count=2, last=b"the end"):
    return [random.Random(i).randbytes(PART) for i in range(count)] + [last]


def upload(s3, key, parts, create=None, **each):
    where = {"Bucket": "bucket", "Key": key}
    where["UploadId"] = s3.create_multipart_upload(**where, **(create or {}))["UploadId"]
    done = []
    for number, body in enumerate(parts, 1):
        answer = s3.upload_part(PartNumber=number, Body=body, **where, **each)
        done.append({"PartNumber": number, "ETag": answer["ETag"]} | {
            k: v for k, v in answer.items() if k.startswith("Checksum") and k != "ChecksumType"})
    return where, done


def complete(s3, where, parts, **more):
    return s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, **more)


def test_multipart_get_part(s3):
    parts = bodies()
    etag = complete(s3, *upload(s3, "k", parts))["ETag"]
    for number, body in enumerate(parts, 1):
        for call in (s3.get_object, s3.head_object):
            got = call(Bucket="bucket", Key="k", PartNumber=number)
            assert got["PartsCount"] == 3 and got["ETag"] == etag
            assert got["ContentLength"] == len(body)
            assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
            first = sum(map(len, parts[:number - 1]))
            assert got["ContentRange"] == (f"bytes {first}-{first + len(body) - 1}/"
                                           f"{sum(map(len, parts))}")
        assert s3.get_object(Bucket="bucket", Key="k", PartNumber=number)["Body"].read() == body
    assert code_of(s3.get_object, Bucket="bucket", Key="k",
                   PartNumber=4) == ("InvalidPartNumber", 416)
    assert code_of(s3.head_object, Bucket="bucket", Key="k", PartNumber=4)[1] == 416
    for number in (0, 10001):
        assert code_of(s3.get_object, Bucket="bucket", Key="k",
                       PartNumber=number) == ("InvalidArgument", 400)
    assert code_of(s3.get_object, Bucket="bucket", Key="k", PartNumber=1,
                   Range="bytes=0-1") == ("InvalidRequest", 400)


def test_multipart_single_get_part(s3):
    complete(s3, *upload(s3, "k", [b"only"]))
    got = s3.get_object(Bucket="bucket", Key="k", PartNumber=1)
    assert got["PartsCount"] == 1 and got["Body"].read() == b"only"
    assert code_of(s3.get_object, Bucket="bucket", Key="k", PartNumber=2)[1] == 416
    complete(s3, *upload(s3, "empty", [b""]))
    got = s3.get_object(Bucket="bucket", Key="empty", PartNumber=1)
    assert got["PartsCount"] == 1 and got["Body"].read() == b""


def test_non_multipart_get_part(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"whole")
    got = s3.get_object(Bucket="bucket", Key="k", PartNumber=1)
    assert got["Body"].read() == b"whole" and "PartsCount" not in got
    assert code_of(s3.get_object, Bucket="bucket", Key="k",
                   PartNumber=2) == ("InvalidPartNumber", 416)


def test_parts_keep_the_numbers_they_were_sent_with(s3):
    where = {"Bucket": "bucket", "Key": "k"}
    where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
    done = [{"PartNumber": n, "ETag": s3.upload_part(PartNumber=n, Body=b, **where)["ETag"]}
            for n, b in ((3, bytes(PART)), (7, b"seven"))]
    complete(s3, where, done)
    assert s3.get_object(Bucket="bucket", Key="k", PartNumber=7)["Body"].read() == b"seven"
    assert code_of(s3.get_object, Bucket="bucket", Key="k", PartNumber=1)[1] == 416
    s3.put_object(Bucket="bucket", Key="k", Body=b"new")  # what it was joined of goes with it
    assert s3.get_object(Bucket="bucket", Key="k", PartNumber=1)["Body"].read() == b"new"


EVERYTHING = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def test_get_object_attributes(s3):
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"bytes", ChecksumAlgorithm="SHA256")
    got = s3.get_object_attributes(Bucket="bucket", Key="k", ObjectAttributes=EVERYTHING)
    assert got["ETag"] == put["ETag"].strip('"') and got["ObjectSize"] == 5
    assert got["StorageClass"] == "STANDARD" and "ObjectParts" not in got
    assert got["Checksum"] == {"ChecksumSHA256": put["ChecksumSHA256"],
                               "ChecksumType": "FULL_OBJECT"}
    assert abs(got["LastModified"].timestamp() - time.time()) < 600
    got = s3.get_object_attributes(Bucket="bucket", Key="k", ObjectAttributes=["ObjectSize"])
    assert {k for k in got if k in EVERYTHING} == {"ObjectSize"}
    assert code_of(s3.get_object_attributes, Bucket="bucket", Key="k",
                   ObjectAttributes=["ETag", "Nonsense"]) == ("InvalidArgument", 400)
    assert code_of(s3.get_object_attributes, Bucket="bucket", Key="absent",
                   ObjectAttributes=["ETag"]) == ("NoSuchKey", 404)


@pytest.mark.parametrize("count", [1, 3])
def test_get_multipart_object_attributes(s3, count):
    """Also get_single_multipart_object_attributes and get_multipart_checksum_object_attributes."""
    parts = bodies(count - 1)
    where, done = upload(s3, "k", parts, {"ChecksumAlgorithm": "SHA256"}, ChecksumAlgorithm="SHA256")
    answer = complete(s3, where, done)
    got = s3.get_object_attributes(Bucket="bucket", Key="k", ObjectAttributes=EVERYTHING)
    assert got["ETag"] == answer["ETag"].strip('"')
    assert got["ObjectSize"] == sum(map(len, parts))
    assert got["Checksum"] == {"ChecksumSHA256": answer["ChecksumSHA256"],
                               "ChecksumType": "COMPOSITE"}
    listed = got["ObjectParts"]
    assert listed["TotalPartsCount"] == count and listed["IsTruncated"] is False
    assert listed["PartNumberMarker"] == 0 and listed["MaxParts"] == 1000
    assert [(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in listed["Parts"]] == [
        (d["PartNumber"], len(b), d["ChecksumSHA256"]) for d, b in zip(done, parts)]


def test_get_paginated_multipart_object_attributes(s3):
    complete(s3, *upload(s3, "k", bodies(3)))
    got, marker = [], 0
    for number in (1, 2, 3, 4):
        page = s3.get_object_attributes(Bucket="bucket", Key="k", ObjectAttributes=["ObjectParts"],
                                        MaxParts=1, PartNumberMarker=marker)["ObjectParts"]
        assert page["MaxParts"] == 1 and page["TotalPartsCount"] == 4
        assert page["PartNumberMarker"] == marker
        assert page["IsTruncated"] is (number < 4)
        got += [p["PartNumber"] for p in page["Parts"]]
        marker = page["NextPartNumberMarker"]
    assert got == [1, 2, 3, 4]


def composite(algorithm, parts):
    raw = b"".join(base64.b64decode(p[f"Checksum{algorithm}"]) for p in parts)
    if algorithm == "CRC32":
        digest = zlib.crc32(raw).to_bytes(4, "big")
    else:
        digest = hashlib.new(algorithm.lower(), raw).digest()
    return f"{base64.b64encode(digest).decode()}-{len(parts)}"


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA1", "CRC32"])
def test_multipart_use_cksum_helper(s3, algorithm):
    """Of the parts' checksums; CRC32C and CRC64NVME, which boto3 cannot compute here, are below."""
    name, parts = f"Checksum{algorithm}", bodies(1)
    where, done = upload(s3, "k", parts, {"ChecksumAlgorithm": algorithm},
                         ChecksumAlgorithm=algorithm)
    listed = s3.list_parts(**where)
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, "COMPOSITE")
    assert [p[name] for p in listed["Parts"]] == [d[name] for d in done]
    entry, = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert (entry["ChecksumAlgorithm"], entry["ChecksumType"]) == (algorithm, "COMPOSITE")
    want = composite(algorithm, done)
    wrong = "AAAA" + want[4:]
    assert code_of(complete, s3, where, done, **{name: wrong}) in (("BadDigest", 400),
                                                                   ("InvalidRequest", 400))
    assert code_of(complete, s3, where, done, ChecksumType="FULL_OBJECT") == ("InvalidRequest", 400)
    answer = complete(s3, where, done, ChecksumType="COMPOSITE", **{name: want})
    assert (answer[name], answer["ChecksumType"]) == (want, "COMPOSITE")
    for call in (s3.get_object, s3.head_object):
        got = call(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
        assert (got[name], got["ChecksumType"]) == (want, "COMPOSITE")
    got = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED", PartNumber=2)
    assert got[name] == done[1][name] and got["ContentLength"] == len(parts[1])
    assert code_of(s3.create_multipart_upload, Bucket="bucket", Key="k", ChecksumAlgorithm="SHA256",
                   ChecksumType="FULL_OBJECT") == ("InvalidRequest", 400)


def test_a_full_object_crc32_is_that_of_the_bytes(s3):
    parts = bodies()
    where, done = upload(s3, "k", parts, {"ChecksumAlgorithm": "CRC32",
                                          "ChecksumType": "FULL_OBJECT"})
    want = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    answer = complete(s3, where, done, ChecksumType="FULL_OBJECT", ChecksumCRC32=want)
    assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (want, "FULL_OBJECT")
    assert s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == want


def crc64nvme(data):
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x9A6C9329AC4BC9B5 if crc & 1 else 0)
    return base64.b64encode((crc ^ 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")).decode()


def test_object_checksum_crc64nvme(s3):
    """What nobody asks a checksum of gets this one, whole, copied or in parts."""
    assert crc64nvme(b"123456789") == "rosUhgp5mIg="
    put = s3.put_object(Bucket="bucket", Key="k", Body=b"123456789")
    assert put["ChecksumCRC64NVME"] == "rosUhgp5mIg=" and put["ChecksumType"] == "FULL_OBJECT"
    copy = s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/k")
    assert copy["CopyObjectResult"]["ChecksumCRC64NVME"] == "rosUhgp5mIg="
    where, done = upload(s3, "parts", [b"123456789"])
    assert done[0]["ChecksumCRC64NVME"] == "rosUhgp5mIg="
    answer = complete(s3, where, done)
    assert (answer["ChecksumCRC64NVME"], answer["ChecksumType"]) == ("rosUhgp5mIg=", "FULL_OBJECT")
    head = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == "rosUhgp5mIg="
    reply, text = send(plain_of(s3), "PUT", "/bucket/bad", b"123456789",
                       {"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="})
    assert reply.status == 400 and b"<Code>BadDigest</Code>" in text


class plain_of:
    def __init__(self, client):
        self.url = client.meta.endpoint_url
        self.port = int(self.url.rsplit(":", 1)[1])


def test_parts_must_be_of_their_uploads_kind(s3):
    where = {"Bucket": "bucket", "Key": "k"}
    where["UploadId"] = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
    for more in ({"ChecksumAlgorithm": "CRC32"}, {}):
        assert code_of(s3.upload_part, PartNumber=1, Body=b"x", **where,
                       **more) == ("InvalidRequest", 400)
    assert s3.list_parts(**where).get("Parts", []) == []


def test_multipart_upload_completes_twice(s3):
    """multipart_upload: completing again answers the same, also after the object was deleted."""
    where, done = upload(s3, "k", bodies(1))
    first = complete(s3, where, done)
    s3.delete_object(Bucket="bucket", Key="k")
    again = complete(s3, where, done)
    assert (again["ETag"], again["ChecksumCRC64NVME"]) == (first["ETag"], first["ChecksumCRC64NVME"])
    assert keys(s3) == []
    assert code_of(complete, s3, where, done[:1]) == ("NoSuchUpload", 404)
    assert code_of(s3.abort_multipart_upload, **where) == ("NoSuchUpload", 404)


def test_multipart_upload_object_size(s3):
    where, done = upload(s3, "k", [b"12345"])
    assert code_of(complete, s3, where, done, MpuObjectSize=6) == ("InvalidRequest", 400)
    complete(s3, where, done, MpuObjectSize=5)


def test_multipart_resend_part(s3):
    where, done = upload(s3, "k", [b"first"])
    again = s3.upload_part(PartNumber=1, Body=b"second", **where)["ETag"]
    assert code_of(complete, s3, where, done) == ("InvalidPart", 400)
    complete(s3, where, [{"PartNumber": 1, "ETag": again}])
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"second"


def test_multipart_resend_first_finishes_last(plain, s3):
    """A part that began first and ended last is the one that counts, whatever came between; and of
    two entries with its number the completion takes the last."""
    where, done = upload(s3, "k", [])
    slow, sent = bytes(2 * MIB), threading.Event()

    def pieces():
        yield slow[:MIB]
        assert sent.wait(20)
        yield slow[MIB:]
    url = s3.generate_presigned_url("upload_part", where | {"PartNumber": 1})
    answers = []

    def first():
        connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=30)
        connection.request("PUT", url[len(plain.url):], pieces(), {"Content-Length": str(len(slow))})
        reply = connection.getresponse()
        reply.read()
        answers.append((reply.status, reply.headers["ETag"]))
    thread = threading.Thread(target=first)
    thread.start()
    between = s3.upload_part(PartNumber=1, Body=b"between", **where)["ETag"]
    sent.set()
    thread.join(30)
    assert answers[0][0] == 200
    done = [{"PartNumber": 1, "ETag": between}, {"PartNumber": 1, "ETag": answers[0][1]}]
    complete(s3, where, done)
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == slow


def test_multipart_reupload_checksum_and_etag(s3):
    """The same bytes are the same object again, the second time over the first."""
    parts = bodies(1)
    first, second = (complete(s3, *upload(s3, "k", parts, {"ChecksumAlgorithm": "SHA256"},
                                          ChecksumAlgorithm="SHA256")) for _ in range(2))
    assert first["ETag"] == second["ETag"] and first["ChecksumSHA256"] == second["ChecksumSHA256"]


def test_multipart_copy_invalid_range(s3):
    s3.put_object(Bucket="bucket", Key="source", Body=b"12345")
    where, _ = upload(s3, "k", [])
    assert code_of(s3.upload_part_copy, PartNumber=1, CopySource="bucket/source",
                   CopySourceRange="bytes=0-21", **where) == ("InvalidRange", 416)
    for text in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5"):
        assert code_of(s3.upload_part_copy, PartNumber=1, CopySource="bucket/source",
                       CopySourceRange=text, **where) == ("InvalidArgument", 400)


def test_list_multipart_upload(s3):
    begun = []
    for key in ("a", "d/1", "d/2", "d/2", "e e", "z"):
        begun.append((key, s3.create_multipart_upload(Bucket="bucket", Key=key)["UploadId"]))
    got = s3.list_multipart_uploads(Bucket="bucket")["Uploads"]
    assert [(u["Key"], u["UploadId"]) for u in got] == begun  # those of one key as they began
    got = s3.list_multipart_uploads(Bucket="bucket", Delimiter="/")
    assert [p["Prefix"] for p in got["CommonPrefixes"]] == ["d/"] and got["Delimiter"] == "/"
    assert [u["Key"] for u in got["Uploads"]] == ["a", "e e", "z"]
    got = s3.list_multipart_uploads(Bucket="bucket", Prefix="d/", Delimiter="/")
    assert [u["Key"] for u in got["Uploads"]] == ["d/1", "d/2", "d/2"]
    for more in ({}, {"Delimiter": "/"}):
        seen, markers = [], {}
        for _ in range(6):
            page = s3.list_multipart_uploads(Bucket="bucket", MaxUploads=1, **markers, **more)
            seen += [(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])]
            seen += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
            if not page["IsTruncated"]:
                break
            markers = {"KeyMarker": page["NextKeyMarker"],
                       "UploadIdMarker": page.get("NextUploadIdMarker", "")}
        assert seen == (begun if not more else [begun[0], "d/", *begun[4:]])
    got = s3.list_multipart_uploads(Bucket="bucket", KeyMarker="d/2")["Uploads"]
    assert [u["Key"] for u in got] == ["e e", "z"]
    reply, text = send(plain_of(s3), "GET", "/bucket?encoding-type=url&prefix=e&uploads=")
    assert reply.status == 200 and b"<Key>e%20e</Key>" in text and b"<EncodingType>url" in text


def test_list_parts_in_pages(s3):
    where, done = upload(s3, "k", [b"1", b"2", b"3"])
    page = s3.list_parts(**where, MaxParts=2)
    assert [p["PartNumber"] for p in page["Parts"]] == [1, 2] and page["IsTruncated"]
    page = s3.list_parts(**where, PartNumberMarker=page["NextPartNumberMarker"])
    assert [p["PartNumber"] for p in page["Parts"]] == [3] and page["IsTruncated"] is False


def test_copies_by_date(s3):
    s3.put_object(Bucket="bucket", Key="from", Body=b"x")
    now = datetime.datetime.now(datetime.timezone.utc)
    past, future = now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1)
    where = {"Bucket": "bucket", "Key": "to", "CopySource": "bucket/from"}
    for refused in ({"CopySourceIfModifiedSince": future}, {"CopySourceIfUnmodifiedSince": past}):
        assert code_of(s3.copy_object, **where, **refused) == ("PreconditionFailed", 412)
    assert keys(s3) == ["from"]
    etag = s3.head_object(Bucket="bucket", Key="from")["ETag"]
    for allowed in ({"CopySourceIfModifiedSince": past}, {"CopySourceIfUnmodifiedSince": future},
                    {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": past}):
        s3.copy_object(**where, **allowed)
    open_upload, _ = upload(s3, "k", [])
    assert code_of(s3.upload_part_copy, PartNumber=1, CopySource="bucket/from",
                   CopySourceIfModifiedSince=future, **open_upload) == ("PreconditionFailed", 412)


def test_delete_object_if_match(s3):
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    assert code_of(s3.delete_object, Bucket="bucket", Key="k",
                   IfMatch='"other"') == ("PreconditionFailed", 412)
    assert keys(s3) == ["k"]
    s3.delete_object(Bucket="bucket", Key="k", IfMatch=etag)
    assert keys(s3) == []


def test_delete_objects_if_match(s3):
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"12345")["ETag"]
    when = s3.head_object(Bucket="bucket", Key="k")["LastModified"]

    def delete(**condition):
        answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [
            {"Key": "k", **condition}, {"Key": "absent"}]})
        assert "absent" in [d["Key"] for d in answer["Deleted"]]
        return [e["Code"] for e in answer.get("Errors", [])]
    hour = datetime.timedelta(hours=1)
    for wrong in ({"ETag": '"other"'}, {"Size": 6}, {"LastModifiedTime": when - hour},
                  {"ETag": etag, "Size": 6}):
        assert delete(**wrong) == ["PreconditionFailed"], wrong
        assert keys(s3) == ["k"]
    assert delete(ETag=etag, Size=5, LastModifiedTime=when) == [] and keys(s3) == []
    assert delete(ETag=etag) == ["NoSuchKey"]


def test_object_content_encoding_aws_chunked(s3):
    for sent, kept in (("aws-chunked", None), ("gzip, aws-chunked", "gzip"),
                       ("aws-chunked,gzip", "gzip"), ("gzip", "gzip")):
        s3.put_object(Bucket="bucket", Key="k", Body=b"x", ContentEncoding=sent)
        assert s3.head_object(Bucket="bucket", Key="k").get("ContentEncoding") == kept, sent


@pytest.mark.parametrize("size", [0, 5, MIB, 20 * MIB + 1])
def test_object_write_with_chunked_transfer_encoding(plain, s3, size):
    """A length that nobody tells: streamed, and nothing is there unless all of it was right."""
    body = random.Random(size).randbytes(size)
    if size > 0:
        reply, text = send(plain, "PUT", "/bucket/bad", body, lengthless=True, spoilt=True)
        assert reply.status == 400 and b"XAmzContentSHA256Mismatch" in text and keys(s3) == []
    reply, _ = send(plain, "PUT", "/bucket/k", body, lengthless=True)
    assert reply.status == 200 and reply.headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == body


def test_response_overrides(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", ContentType="a/b")
    for call in (s3.get_object, s3.head_object):
        got = call(Bucket="bucket", Key="k", ResponseContentType="c/d", ResponseCacheControl="no-cache",
                   ResponseContentDisposition="inline", ResponseContentLanguage="de")
        assert (got["ContentType"], got["CacheControl"], got["ContentDisposition"],
                got["ContentLanguage"]) == ("c/d", "no-cache", "inline", "de")


def test_not_modified_has_its_etag_and_head_errors_no_body(plain, s3):
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"x")["ETag"]
    for method in ("GET", "HEAD"):
        reply, text = send(plain, method, "/bucket/k", headers={"If-None-Match": etag})
        assert (reply.status, reply.headers["ETag"], text) == (304, etag, b"")
        assert reply.headers["Last-Modified"]
    reply, text = send(plain, "HEAD", "/bucket/absent")
    assert (reply.status, text) == (404, b"")

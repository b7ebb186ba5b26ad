# SPDX-License-Identifier: Apache-2.0
"""Checksums of objects in one piece, and GetObjectAttributes."""
import common
from common import body, digest, error, etag_of, ok

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def test_object_checksum_sha256(s3, bucket):
    data = common.pattern(1024)
    put = ok(s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm="SHA256",
                           ChecksumSHA256=digest("sha256", data)))
    assert put["ChecksumSHA256"] == digest("sha256", data) and put["ChecksumType"] == "FULL_OBJECT"
    assert "ChecksumSHA256" not in s3.head_object(Bucket=bucket, Key="k")
    for call in (s3.head_object, s3.get_object):
        reply = call(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert reply["ChecksumSHA256"] == digest("sha256", data)
        assert reply["ChecksumType"] == "FULL_OBJECT"
    for other in ("bad", digest("sha256", b""), digest("sha256", data)[:-4]):
        assert error(s3.put_object, Bucket=bucket, Key="bad", Body=data, ChecksumAlgorithm="SHA256",
                     ChecksumSHA256=other) == ("BadDigest", 400)
    assert error(s3.head_object, Bucket=bucket, Key="bad")[1] == 404


def test_object_checksum_crc64nvme(s3, bucket):
    data = common.pattern(1024)
    put = ok(s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm="CRC64NVME",
                           ChecksumCRC64NVME=common.crc64nvme(data)))
    assert put["ChecksumCRC64NVME"] == common.crc64nvme(data)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == common.crc64nvme(data) and head["ChecksumType"] == "FULL_OBJECT"
    assert error(s3.put_object, Bucket=bucket, Key="bad", Body=data, ChecksumAlgorithm="CRC64NVME",
                 ChecksumCRC64NVME=common.crc64nvme(b"other")) == ("BadDigest", 400)
    assert error(s3.put_object, Bucket=bucket, Key="bad", Body=data, ChecksumAlgorithm="CRC64NVME",
                 ChecksumCRC64NVME="bad") == ("BadDigest", 400)
    # Where nothing is said it is this one.
    common.send("PUT", f"/{bucket}/plain", data=data)
    head = s3.head_object(Bucket=bucket, Key="plain", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == common.crc64nvme(data)


def test_get_checksum_object_attributes(s3, bucket):
    data = common.pattern(2000)
    s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm="SHA256")
    reply = ok(s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL))
    assert reply["Checksum"] == {"ChecksumSHA256": digest("sha256", data), "ChecksumType": "FULL_OBJECT"}
    assert reply["ObjectSize"] == 2000 and reply["ETag"] == etag_of(data).strip('"')
    assert reply["StorageClass"] == "STANDARD" and "ObjectParts" not in reply


def test_get_object_attributes(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"bar")
    reply = ok(s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ETag", "ObjectSize"]))
    assert reply["ETag"] == etag_of(b"bar").strip('"') and reply["ObjectSize"] == 3
    assert reply["LastModified"] == s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert not {"Checksum", "StorageClass", "ObjectParts"} & set(reply)
    reply = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=ALL)
    assert reply["StorageClass"] == "STANDARD" and "ObjectParts" not in reply
    assert error(s3.get_object_attributes, Bucket=bucket, Key="none",
                 ObjectAttributes=["ETag"]) == ("NoSuchKey", 404)
    for names, code in (("", "InvalidRequest"), ("Nonsense", "InvalidArgument")):
        wrong = common.send("GET", f"/{bucket}/k?attributes", {"x-amz-object-attributes": names})
        assert (wrong.code, wrong.status) == (code, 400)
    assert body(s3, bucket, "k") == b"bar"

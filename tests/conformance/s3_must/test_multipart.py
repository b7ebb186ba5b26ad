# SPDX-License-Identifier: Apache-2.0
"""Multipart uploads."""
import base64
import hashlib
import random

import common
from common import MIB, body, digest, error, ok

PART = 5 * MIB


class Upload:
    def __init__(self, s3, bucket, key="mymultipart", **kwargs):
        self.s3, self.parts = s3, []
        self.id = ok(s3.create_multipart_upload(Bucket=bucket, Key=key, **kwargs))["UploadId"]
        self.where = {"Bucket": bucket, "Key": key, "UploadId": self.id}

    def part(self, number, data, **kwargs):
        reply = ok(self.s3.upload_part(PartNumber=number, Body=data, **self.where, **kwargs))
        self.parts = [p for p in self.parts if p["PartNumber"] != number]
        self.parts.append({"PartNumber": number, "ETag": reply["ETag"]})
        return reply

    def copy(self, number, source, **kwargs):
        reply = ok(self.s3.upload_part_copy(PartNumber=number, CopySource=source, **self.where, **kwargs))
        self.parts.append({"PartNumber": number, "ETag": reply["CopyPartResult"]["ETag"]})
        return reply

    def complete(self, **kwargs):
        return ok(self.s3.complete_multipart_upload(MultipartUpload={"Parts": self.parts},
                                                    **self.where, **kwargs))

    def refused(self, parts=None, **kwargs):
        return error(self.s3.complete_multipart_upload, **self.where, **kwargs,
                     MultipartUpload={"Parts": self.parts if parts is None else parts})


def _write(s3, bucket, size, part=PART, key="mymultipart", **kwargs):
    data = common.pattern(size, size % 251)
    upload = Upload(s3, bucket, key, **kwargs)
    kind = {k: v for k, v in kwargs.items() if k == "ChecksumAlgorithm"}
    for i in range(0, max(size, 1), part):
        upload.part(i // part + 1, data[i:i + part], **kind)
    return data, upload


def _etag(datas):
    joined = b"".join(hashlib.md5(d).digest() for d in datas)
    return f'"{hashlib.md5(joined).hexdigest()}-{len(datas)}"'


def _pieces(data, part=PART):
    return [data[i:i + part] for i in range(0, len(data), part)]


def test_multipart_upload(s3, bucket):
    data, upload = _write(s3, bucket, 2 * PART + 77, ContentType="text/bla", Metadata={"foo": "bar"})
    done = upload.complete()
    assert done["ETag"] == _etag(_pieces(data)) and done["Key"] == "mymultipart"
    assert done["Bucket"] == bucket and done["Location"].endswith(f"/{bucket}/mymultipart")
    again = upload.complete()  # as often as a client that has heard nothing asks
    assert again["ETag"] == done["ETag"]
    got = s3.get_object(Bucket=bucket, Key="mymultipart")
    assert got["Body"].read() == data and got["ETag"] == done["ETag"]
    assert got["ContentType"] == "text/bla" and got["Metadata"] == {"foo": "bar"}
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == len(data)
    for start, end in ((0, 10), (PART - 5, PART + 5), (2 * PART, 2 * PART + 76)):
        assert body(s3, bucket, "mymultipart", Range=f"bytes={start}-{end}") == data[start:end + 1]


def test_multipart_upload_empty(s3, bucket):
    upload = Upload(s3, bucket)
    assert upload.refused([]) == ("MalformedXML", 400)
    assert error(s3.head_object, Bucket=bucket, Key="mymultipart")[1] == 404


def test_multipart_upload_complete_without_create(s3, bucket):
    which = {"Bucket": bucket, "Key": "mymultipart", "UploadId": "not-an-upload"}
    parts = {"Parts": [{"PartNumber": 1, "ETag": '"37b51d194a7513e45b56f6524f2d51f2"'}]}
    assert error(s3.complete_multipart_upload, MultipartUpload=parts, **which) == ("NoSuchUpload", 404)
    assert error(s3.upload_part, PartNumber=1, Body=b"x", **which) == ("NoSuchUpload", 404)
    assert error(s3.list_parts, **which) == ("NoSuchUpload", 404)


def test_multipart_upload_small(s3, bucket):
    upload = Upload(s3, bucket)
    upload.part(1, b"a")
    upload.complete()
    assert s3.head_object(Bucket=bucket, Key="mymultipart")["ContentLength"] == 1


def test_multipart_upload_resend_part(s3, bucket):
    for resent in ([0], [1], [2], [0, 2], [0, 1, 2]):
        first, second, last = (common.pattern(n, i) for i, n in enumerate((PART, PART, 1000)))
        upload = Upload(s3, bucket)
        for number, data in enumerate((first, second, last), 1):
            upload.part(number, b"x" * 100 if number - 1 in resent else data)
        for i in resent:
            upload.part(i + 1, (first, second, last)[i])
        upload.parts.sort(key=lambda p: p["PartNumber"])
        upload.complete()
        assert body(s3, bucket, "mymultipart") == first + second + last


def test_multipart_upload_multiple_sizes(s3, bucket):
    for size in (PART, PART + 100 * 1024, PART + 600 * 1024, 2 * PART, 2 * PART + 100 * 1024):
        data, upload = _write(s3, bucket, size)
        upload.complete()
        assert body(s3, bucket, "mymultipart") == data


def test_multipart_upload_size_too_small(s3, bucket):
    _, upload = _write(s3, bucket, 1024 * 100, part=10 * 1024)
    assert upload.refused() == ("EntityTooSmall", 400)
    assert error(s3.head_object, Bucket=bucket, Key="mymultipart")[1] == 404


def test_multipart_upload_contents(s3, bucket):
    datas = [random.Random(i).randbytes(PART) for i in range(3)] + [b"the end"]
    upload = Upload(s3, bucket)
    for number, data in enumerate(datas, 1):
        upload.part(number, data)
    assert upload.complete()["ETag"] == _etag(datas)
    assert body(s3, bucket, "mymultipart") == b"".join(datas)


def test_multipart_upload_overwrite_existing_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="mymultipart", Body=b"12345" * 3)
    data, upload = _write(s3, bucket, 2 * PART)
    assert body(s3, bucket, "mymultipart") == b"12345" * 3
    upload.complete()
    assert body(s3, bucket, "mymultipart") == data


def test_multipart_upload_missing_part(s3, bucket):
    upload = Upload(s3, bucket)
    etag = upload.part(1, b"\x00")["ETag"]
    assert upload.refused([{"PartNumber": 9999, "ETag": etag}]) == ("InvalidPart", 400)
    upload.complete()


def test_multipart_upload_incorrect_etag(s3, bucket):
    upload = Upload(s3, bucket)
    upload.part(1, b"\x00")
    assert upload.refused([{"PartNumber": 1, "ETag": '"ffffffffffffffffffffffffffffffff"'}]) == (
        "InvalidPart", 400)
    upload.part(2, b"\x01")
    assert upload.refused(upload.parts[::-1]) == ("InvalidPartOrder", 400)
    assert error(s3.head_object, Bucket=bucket, Key="mymultipart")[1] == 404


# ---- copied parts ----

def _source(s3, bucket, size=PART, key="foo"):
    data = random.Random(size).randbytes(size)
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    return data


def test_multipart_copy_small(s3, bucket):
    data, to = _source(s3, bucket), common.new_bucket()
    upload = Upload(s3, to)
    upload.copy(1, f"{bucket}/foo", CopySourceRange="bytes=0-0")
    upload.complete()
    assert body(s3, to, "mymultipart") == data[:1]


def test_multipart_copy_invalid_range(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"12345")
    upload = Upload(s3, bucket)
    for text in ("bytes=0-21", "bytes=5-5"):
        code, status = error(s3.upload_part_copy, PartNumber=1, CopySource=f"{bucket}/foo",
                             CopySourceRange=text, **upload.where)
        assert (code, status) in (("InvalidRange", 416), ("InvalidRange", 400)), text
    assert "Parts" not in s3.list_parts(**upload.where)


def test_multipart_copy_improper_range(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"12345")
    upload = Upload(s3, bucket)
    for text in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5"):
        assert error(s3.upload_part_copy, PartNumber=1, CopySource=f"{bucket}/foo",
                     CopySourceRange=text, **upload.where) == ("InvalidArgument", 400), text


def test_multipart_copy_without_range(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"0123456789")
    upload = Upload(s3, bucket)
    upload.copy(1, {"Bucket": bucket, "Key": "foo"})
    upload.complete()
    assert body(s3, bucket, "mymultipart") == b"0123456789"


def test_multipart_copy_special_names(s3, bucket):
    for key in (" ", "_", "__", "?versionId"):
        data = _source(s3, bucket, 1000, key)
        upload = Upload(s3, bucket)
        upload.copy(1, {"Bucket": bucket, "Key": key}, CopySourceRange="bytes=0-9")
        upload.complete()
        assert body(s3, bucket, "mymultipart") == data[:10]


def test_multipart_copy_multiple_sizes(s3, bucket):
    data = _source(s3, bucket, 2 * PART + 600 * 1024)
    for size in (PART, PART + 100 * 1024, 2 * PART, len(data)):
        upload = Upload(s3, bucket)
        for number, start in enumerate(range(0, size, PART), 1):
            upload.copy(number, f"{bucket}/foo",
                        CopySourceRange=f"bytes={start}-{min(start + PART, size) - 1}")
        upload.complete()
        assert body(s3, bucket, "mymultipart") == data[:size]


def test_upload_part_copy_percent_encoded_key(s3, bucket):
    s3.put_object(Bucket=bucket, Key="anyfile.txt", Body=b"foo")
    s3.put_object(Bucket=bucket, Key="anyfile%2Ftxt", Body=b"bar")
    upload = Upload(s3, bucket, "anyfile%2Etxt")
    upload.copy(1, {"Bucket": bucket, "Key": "anyfile%2Ftxt"})
    upload.complete()
    assert body(s3, bucket, "anyfile%2Etxt") == b"bar"
    assert body(s3, bucket, "anyfile.txt") == b"foo"


# ---- the end of uploads, and lists of them ----

def test_abort_multipart_upload(s3, bucket):
    _, upload = _write(s3, bucket, PART)
    ok(s3.abort_multipart_upload(**upload.where), 204)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert error(s3.list_parts, **upload.where) == ("NoSuchUpload", 404)
    assert upload.refused() == ("NoSuchUpload", 404)


def test_abort_multipart_upload_not_found(s3, bucket):
    s3.put_object(Bucket=bucket, Key="mymultipart", Body=b"x")
    assert error(s3.abort_multipart_upload, Bucket=bucket, Key="mymultipart",
                 UploadId="56788") == ("NoSuchUpload", 404)


def test_list_multipart_upload(s3, bucket):
    uploads = [Upload(s3, bucket), Upload(s3, bucket), Upload(s3, bucket, "mymultipart2")]
    uploads[0].part(1, b"x")
    found = ok(s3.list_multipart_uploads(Bucket=bucket))
    assert found["Bucket"] == bucket and found["IsTruncated"] is False and found["MaxUploads"] == 1000
    assert {(u["Key"], u["UploadId"]) for u in found["Uploads"]} == {
        (u.where["Key"], u.id) for u in uploads}
    for u in found["Uploads"]:
        assert u["Owner"]["ID"] == u["Initiator"]["ID"] == common.USERS["main"].account
        assert u["StorageClass"] == "STANDARD" and u["Initiated"]
    parts = s3.list_parts(**uploads[0].where)
    assert parts["Owner"]["ID"] == parts["Initiator"]["ID"] == common.USERS["main"].account
    first = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2)
    rest = s3.list_multipart_uploads(Bucket=bucket, KeyMarker=first["NextKeyMarker"],
                                     UploadIdMarker=first["NextUploadIdMarker"])
    assert [u["UploadId"] for u in first["Uploads"] + rest["Uploads"]] == [
        u["UploadId"] for u in found["Uploads"]]


# ---- parts of what is complete ----

def test_multipart_get_part(s3, bucket):
    data, upload = _write(s3, bucket, 2 * PART + 1000)
    etag = upload.complete()["ETag"]
    for number, piece in enumerate(_pieces(data), 1):
        head = s3.head_object(Bucket=bucket, Key="mymultipart", PartNumber=number)
        assert head["PartsCount"] == 3 and head["ContentLength"] == len(piece)
        got = s3.get_object(Bucket=bucket, Key="mymultipart", PartNumber=number)
        assert got["Body"].read() == piece and got["PartsCount"] == 3 and got["ETag"] == etag
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert error(s3.get_object, Bucket=bucket, Key="mymultipart",
                 PartNumber=4) == ("InvalidPartNumber", 416)


def test_multipart_single_get_part(s3, bucket):
    data, upload = _write(s3, bucket, PART)
    upload.complete()
    got = s3.get_object(Bucket=bucket, Key="mymultipart", PartNumber=1)
    assert got["Body"].read() == data and got["PartsCount"] == 1
    assert error(s3.get_object, Bucket=bucket, Key="mymultipart",
                 PartNumber=2) == ("InvalidPartNumber", 416)


def test_non_multipart_get_part(s3, bucket):
    s3.put_object(Bucket=bucket, Key="singlepart", Body=b"body")
    got = s3.get_object(Bucket=bucket, Key="singlepart", PartNumber=1)
    assert got["Body"].read() == b"body" and "PartsCount" not in got
    assert error(s3.get_object, Bucket=bucket, Key="singlepart",
                 PartNumber=2) == ("InvalidPartNumber", 416)


def test_atomic_multipart_upload_write(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    upload = Upload(s3, bucket, "foo")
    assert body(s3, bucket, "foo") == b"bar"
    upload.part(1, b"baz")
    assert body(s3, bucket, "foo") == b"bar"
    s3.abort_multipart_upload(**upload.where)
    assert body(s3, bucket, "foo") == b"bar"


def test_multipart_resend_first_finishes_last(s3, bucket):
    """Two PUTs of one part: which ends last has written it."""
    size = 2 * MIB
    upload = Upload(s3, bucket)
    path = f"/{bucket}/mymultipart?partNumber=1&uploadId={upload.id}"
    slow = common.Raw("PUT", path, common.signed_headers("PUT", path) + [("Content-Length", str(size))])
    slow.send(b"A" * (size // 2))
    upload.part(1, b"B" * size)
    slow.send(b"A" * (size // 2))
    reply = slow.reply()
    assert reply.status == 200
    upload.parts = [{"PartNumber": 1, "ETag": reply.headers["etag"]}]
    upload.complete()
    assert body(s3, bucket, "mymultipart") == b"A" * size


def test_multipart_put_object_if_match(s3, bucket):
    failed = ("PreconditionFailed", 412)

    def begun():
        upload = Upload(s3, bucket, "obj")
        upload.part(1, b"data")
        return upload

    etag = begun().complete(IfNoneMatch="*")["ETag"]
    assert begun().refused(IfNoneMatch="*") == failed
    assert begun().refused(IfMatch="badetag") == failed
    assert begun().complete(IfMatch=etag)["ETag"] == etag
    s3.delete_object(Bucket=bucket, Key="obj")
    assert begun().refused(IfMatch=etag) == ("NoSuchKey", 404)


# ---- checksums ----

def _composite(name, datas):
    joined = b"".join(base64.b64decode(_sum(name, d)) for d in datas)
    return f"{_sum(name, joined)}-{len(datas)}"


def _sum(name, data):
    return {"CRC32": common.crc32, "CRC32C": common.crc32c, "CRC64NVME": common.crc64nvme,
            "SHA1": lambda d: digest("sha1", d), "SHA256": lambda d: digest("sha256", d)}[name](data)


def test_multipart_checksum_sha256(s3, bucket):
    data = common.pattern(PART + 1000)
    created = s3.create_multipart_upload(Bucket=bucket, Key="mymultipart", ChecksumAlgorithm="SHA256")
    assert created["ChecksumAlgorithm"] == "SHA256" and created["ChecksumType"] == "COMPOSITE"
    where = {"Bucket": bucket, "Key": "mymultipart", "UploadId": created["UploadId"]}
    parts = []
    for number, piece in enumerate(_pieces(data), 1):
        value = digest("sha256", piece)
        reply = s3.upload_part(PartNumber=number, Body=piece, ChecksumAlgorithm="SHA256",
                               ChecksumSHA256=value, **where)
        assert reply["ChecksumSHA256"] == value
        parts.append({"PartNumber": number, "ETag": reply["ETag"], "ChecksumSHA256": value})
    whole = _composite("SHA256", _pieces(data))
    wrong = [parts[0] | {"ChecksumSHA256": digest("sha256", b"")}, parts[1]]
    assert error(s3.complete_multipart_upload, MultipartUpload={"Parts": wrong},
                 **where) == ("InvalidPart", 400)
    assert error(s3.complete_multipart_upload, MultipartUpload={"Parts": parts}, **where,
                 ChecksumSHA256=_composite("SHA256", [b"x", b"y"])) == ("BadDigest", 400)
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumSHA256=whole, **where)
    assert done["ChecksumSHA256"] == whole and done["ChecksumType"] == "COMPOSITE"
    head = s3.head_object(Bucket=bucket, Key="mymultipart", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == whole and head["ChecksumType"] == "COMPOSITE"


def test_multipart_reupload_checksum_and_etag(s3, bucket):
    """A part that is sent again is the new one in everything."""
    upload = Upload(s3, bucket, ChecksumAlgorithm="SHA256")
    old, new = common.pattern(PART, 1), common.pattern(PART, 2)
    first = upload.part(1, old, ChecksumAlgorithm="SHA256")
    second = upload.part(1, new, ChecksumAlgorithm="SHA256")
    assert first["ETag"] != second["ETag"]
    listed = s3.list_parts(**upload.where)["Parts"]
    assert [(p["ETag"], p["ChecksumSHA256"]) for p in listed] == [
        (second["ETag"], digest("sha256", new))]
    stale = [{"PartNumber": 1, "ETag": first["ETag"], "ChecksumSHA256": first["ChecksumSHA256"]}]
    assert upload.refused(stale) == ("InvalidPart", 400)
    mixed = [{"PartNumber": 1, "ETag": second["ETag"], "ChecksumSHA256": first["ChecksumSHA256"]}]
    assert upload.refused(mixed) == ("InvalidPart", 400)
    upload.parts[0]["ChecksumSHA256"] = second["ChecksumSHA256"]
    done = upload.complete()
    assert done["ETag"] == _etag([new]) and done["ChecksumSHA256"] == _composite("SHA256", [new])


def _cksum_helper(s3, bucket, name):
    data = common.pattern(PART + 3000)
    kinds = {"CRC64NVME": ["FULL_OBJECT"], "SHA1": ["COMPOSITE"], "SHA256": ["COMPOSITE"]}
    for kind in kinds.get(name, ["COMPOSITE", "FULL_OBJECT"]):
        upload = Upload(s3, bucket, ChecksumAlgorithm=name, ChecksumType=kind)
        for number, piece in enumerate(_pieces(data), 1):
            reply = upload.part(number, piece, ChecksumAlgorithm=name)
            assert reply[f"Checksum{name}"] == _sum(name, piece)
            upload.parts[-1][f"Checksum{name}"] = reply[f"Checksum{name}"]
        want = _sum(name, data) if kind == "FULL_OBJECT" else _composite(name, _pieces(data))
        done = upload.complete(ChecksumType=kind, **{f"Checksum{name}": want})
        assert done[f"Checksum{name}"] == want and done["ChecksumType"] == kind
        head = s3.head_object(Bucket=bucket, Key="mymultipart", ChecksumMode="ENABLED")
        assert head[f"Checksum{name}"] == want and head["ChecksumType"] == kind
        for number, piece in enumerate(_pieces(data) if not common.OWNER else [], 1):
            for call in (s3.get_object, s3.head_object):
                reply = call(Bucket=bucket, Key="mymultipart", PartNumber=number, ChecksumMode="ENABLED")
                assert reply[f"Checksum{name}"] == _sum(name, piece)
                assert reply["ChecksumType"] == kind
        # And as it comes from a client that says nothing at the end.
        upload = Upload(s3, bucket, ChecksumAlgorithm=name, ChecksumType=kind)
        reply = upload.part(1, b"bytes", ChecksumAlgorithm=name)
        if kind == "COMPOSITE":  # it is made of those of the parts
            assert error(upload.complete) == ("InvalidRequest", 400)
            upload.parts[-1][f"Checksum{name}"] = reply[f"Checksum{name}"]
        assert upload.complete()["ChecksumType"] == kind
    if len(kinds.get(name, [])) == 1:
        other = "COMPOSITE" if kinds[name] == ["FULL_OBJECT"] else "FULL_OBJECT"
        assert error(s3.create_multipart_upload, Bucket=bucket, Key="k", ChecksumAlgorithm=name,
                     ChecksumType=other) == ("InvalidRequest", 400)


def test_multipart_use_cksum_helper_sha256(s3, bucket):
    _cksum_helper(s3, bucket, "SHA256")


def test_multipart_use_cksum_helper_sha1(s3, bucket):
    _cksum_helper(s3, bucket, "SHA1")


def test_multipart_use_cksum_helper_crc32(s3, bucket):
    _cksum_helper(s3, bucket, "CRC32")


def test_multipart_use_cksum_helper_crc32c(s3, bucket):
    _cksum_helper(s3, bucket, "CRC32C")


def test_multipart_use_cksum_helper_crc64nvme(s3, bucket):
    _cksum_helper(s3, bucket, "CRC64NVME")


# ---- attributes ----

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


def _attributes(s3, bucket, **kwargs):
    return ok(s3.get_object_attributes(Bucket=bucket, Key="mymultipart", ObjectAttributes=ALL, **kwargs))


def test_get_multipart_object_attributes(s3, bucket):
    data, upload = _write(s3, bucket, 2 * PART + 1000)
    etag = upload.complete()["ETag"]
    reply = _attributes(s3, bucket)
    assert reply["ETag"] == etag.strip('"') and reply["ObjectSize"] == len(data)
    assert reply["StorageClass"] == "STANDARD"
    assert reply["ObjectParts"]["TotalPartsCount"] == 3
    assert "Owner" not in reply


def test_get_multipart_checksum_object_attributes(s3, bucket):
    data = common.pattern(2 * PART + 1000)
    upload = Upload(s3, bucket, ChecksumAlgorithm="SHA256")
    for number, piece in enumerate(_pieces(data), 1):
        value = upload.part(number, piece, ChecksumAlgorithm="SHA256")["ChecksumSHA256"]
        upload.parts[-1]["ChecksumSHA256"] = value
    upload.complete()
    reply = _attributes(s3, bucket)
    assert reply["Checksum"] == {"ChecksumSHA256": _composite("SHA256", _pieces(data)),
                                 "ChecksumType": "COMPOSITE"}
    parts = reply["ObjectParts"]
    assert parts["TotalPartsCount"] == 3 and parts["IsTruncated"] is False and parts["MaxParts"] == 1000
    assert [(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in parts["Parts"]] == [
        (i, len(p), digest("sha256", p)) for i, p in enumerate(_pieces(data), 1)]


def test_get_paginated_multipart_object_attributes(s3, bucket):
    _, upload = _write(s3, bucket, 2 * PART + 1000, ChecksumAlgorithm="SHA256")
    for part, piece in zip(upload.parts, s3.list_parts(**upload.where)["Parts"]):
        part["ChecksumSHA256"] = piece["ChecksumSHA256"]
    upload.complete()
    first = _attributes(s3, bucket, MaxParts=1, PartNumberMarker=0)["ObjectParts"]
    assert [p["PartNumber"] for p in first["Parts"]] == [1] and first["IsTruncated"] is True
    assert first["MaxParts"] == 1 and first["PartNumberMarker"] == 0
    assert first["NextPartNumberMarker"] == 1 and first["TotalPartsCount"] == 3
    rest = _attributes(s3, bucket, MaxParts=10, PartNumberMarker=1)["ObjectParts"]
    assert [p["PartNumber"] for p in rest["Parts"]] == [2, 3] and rest["IsTruncated"] is False


def test_get_single_multipart_object_attributes(s3, bucket):
    _, upload = _write(s3, bucket, PART)
    upload.complete()
    reply = _attributes(s3, bucket)
    assert reply["ObjectParts"]["TotalPartsCount"] == 1 and reply["ObjectSize"] == PART

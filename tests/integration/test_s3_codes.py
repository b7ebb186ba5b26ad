# SPDX-License-Identifier: Apache-2.0
"""Codes, sentences and details of errors as AWS has them, where public suites and auditors look: completions, checksums
in headers, markers of uploads, forms, policies."""
import base64
import hashlib
import json
import re
import socket
import ssl
import urllib.parse
import zlib
from xml.etree import ElementTree

import pytest

from test_s3 import Endpoint, code_of, make_certificate
from test_s3_multipart import PART, bodies, complete, plain, s3, send, upload  # noqa: F401  (fixtures)
from test_s3_post import CONDITIONS, encoded, policy_of, signed
from test_s3_post import send as send_form

CRC32 = base64.b64encode(zlib.crc32(b"body").to_bytes(4, "big")).decode()
SHA1 = base64.b64encode(hashlib.sha1(b"body").digest()).decode()
SINGLE = "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."


def element(text, name):
    """Of an error; None where there is none."""
    found = re.search(f"<{name}>(.*?)</{name}>", text.decode() if isinstance(text, bytes) else text)
    return found and found.group(1)


def finish(plain, where, *parts, headers=None):
    """A completion of raw <Part>s: status, code and the whole answer."""
    inside = "".join(f"<Part>{p}</Part>" for p in parts)
    reply, text = send(plain, "POST", f"/{where['Bucket']}/{where['Key']}?uploadId={where['UploadId']}",
                       f"<CompleteMultipartUpload>{inside}</CompleteMultipartUpload>".encode(), headers)
    return reply.status, element(text, "Code"), text.decode()


# ---- names ----

def test_a_name_that_no_bucket_can_have_is_told(plain, s3):
    for method, path in (("GET", "/ab"), ("GET", "/ab/key"), ("PUT", "/A-Bucket/key"), ("DELETE", "/a..b/key"),
                         ("DELETE", "/ab"), ("GET", "/ab?policy"), ("POST", "/ab/key?uploads")):
        reply, text = send(plain, method, path)
        assert (reply.status, element(text, "Code")) == (400, "InvalidBucketName"), (method, path, text)
    assert code_of(s3.copy_object, Bucket="bucket", Key="k", CopySource="ab/key") == ("InvalidArgument", 400)


# ---- completions ----

def test_a_completion_is_refused_as_aws_does(plain, s3):
    where, done = upload(s3, "k", [bytes(PART), b"end"])
    tags = [p["ETag"].strip('"') for p in done]

    def part(number, tag=tags[0], more=""):
        return f"<PartNumber>{number}</PartNumber><ETag>{tag}</ETag>{more}"
    for parts, code in (
            ([], "MalformedXML"),
            ([f"<ETag>{tags[0]}</ETag>"], "MalformedXML"),
            (["<PartNumber>1</PartNumber>"], "MalformedXML"),
            (["<PartNumber>1</PartNumber><ETag></ETag>"], "MalformedXML"),
            ([part("one")], "MalformedXML"),
            ([part("")], "MalformedXML"),
            ([part("-")], "MalformedXML"),
            ([part("1.5")], "MalformedXML"),
            ([part(0)], "InvalidArgument"),
            ([part(-4)], "InvalidArgument"),
            ([part(10001)], "InvalidPart"),
            ([part(4294967297)], "InvalidPart"),
            ([part(3)], "InvalidPart"),
            ([part(1, "0" * 32)], "InvalidPart"),
            ([part(1, "no etag")], "InvalidPart"),
            ([part(2, tags[1]), part(1)], "InvalidPartOrder"),
            ([part(1, more="<ChecksumCRC32>?</ChecksumCRC32>")], "InvalidArgument"),
            ([part(1, more=f"<ChecksumCRC32>{CRC32}</ChecksumCRC32><ChecksumSHA1>{SHA1}</ChecksumSHA1>")],
             "InvalidArgument")):
        assert finish(plain, where, *parts)[:2] == (400, code), parts
    _, _, text = finish(plain, where, part(-4))
    assert [element(text, e) for e in ("Message", "ArgumentName", "ArgumentValue")] == [
        "PartNumber must be &gt;= 1", "PartNumber", "-4"]
    _, _, text = finish(plain, where, part(10001))
    assert (element(text, "UploadId"), element(text, "PartNumber")) == (where["UploadId"], "10001")
    assert code_of(s3.head_object, Bucket="bucket", Key="k")[1] == 404
    # The upload is as good as before; of two entries with one number, which a client that sent a part again may
    # make, the last counts.
    status, _, text = finish(plain, where, part(1, "0" * 32), part(1), part(2, tags[1]))
    assert status == 200, text
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == bytes(PART) + b"end"


# ---- checksums ----

@pytest.mark.parametrize("part", (False, True))
def test_one_checksum_and_the_one_that_is_announced(plain, s3, part):
    where, _ = upload(s3, "k", [])
    target = "/bucket/k" + (f"?partNumber=1&uploadId={where['UploadId']}" if part else "")
    crc, sha = "x-amz-checksum-crc32", "x-amz-checksum-sha1"
    for headers, sentence in (
            ({crc: CRC32, sha: SHA1}, SINGLE),
            ({crc: "", sha: ""}, SINGLE),
            ({crc: CRC32, sha: "wrong"}, SINGLE),
            ({crc: "wrong"}, f"Value for {crc} header is invalid."),
            ({crc: ""}, f"Value for {crc} header is invalid."),
            ({crc: SHA1}, f"Value for {crc} header is invalid."),
            ({crc: CRC32, "x-amz-sdk-checksum-algorithm": "SHA1"},
             "Value for x-amz-sdk-checksum-algorithm header is invalid."),
            ({crc: CRC32, "x-amz-checksum-algorithm": "SHA1"},
             "Value for x-amz-checksum-algorithm header is invalid."),
            ({"x-amz-sdk-checksum-algorithm": "CRC32"},
             "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
             "headers were found.")):
        reply, text = send(plain, "PUT", target, b"body", headers)
        code = "BadDigest" if sentence.startswith(f"Value for {crc} ") else "InvalidRequest"
        assert (reply.status, element(text, "Code"), element(text, "Message")) == (
            400, code, sentence), headers
    reply, text = send(plain, "PUT", target, b"bodY", {crc: CRC32})
    assert (reply.status, element(text, "Code")) == (400, "BadDigest")
    assert code_of(s3.head_object, Bucket="bucket", Key="k")[1] == 404
    assert "Parts" not in s3.list_parts(**where)
    for headers in ({crc: CRC32}, {crc: CRC32, "x-amz-sdk-checksum-algorithm": "crc32"},
                    {crc: CRC32, "x-amz-checksum-algorithm": "CRC32"}):
        reply, text = send(plain, "PUT", target, b"body", headers)
        assert (reply.status, text) == (200, b""), headers


def test_a_part_tells_its_own_checksum(plain, s3):
    """GET and HEAD alike, also where the object's is of the whole."""
    for kind, algorithm, count in (("COMPOSITE", "SHA256", 2), ("COMPOSITE", "CRC32", 0),
                                   ("FULL_OBJECT", "CRC32", 2), ("FULL_OBJECT", "CRC64NVME", 0)):
        name, parts = f"Checksum{algorithm}", bodies(count)
        where, done = upload(s3, "k", parts, {"ChecksumAlgorithm": algorithm, "ChecksumType": kind},
                             ChecksumAlgorithm=algorithm)
        whole = complete(s3, where, done)[name]
        for number, part in enumerate(done, 1):
            for call in (s3.get_object, s3.head_object):
                got = call(Bucket="bucket", Key="k", PartNumber=number, ChecksumMode="ENABLED")
                assert got["ContentLength"] == len(parts[number - 1])
                assert got.get(name) == part[name] and got.get("ChecksumType") == kind
                if "Body" in got:
                    assert got["Body"].read() == parts[number - 1]
        for call in (s3.get_object, s3.head_object):
            assert call(Bucket="bucket", Key="k", ChecksumMode="ENABLED")[name] == whole
        for method in ("GET", "HEAD"):  # boto3 asks for it by itself
            reply, _ = send(plain, method, "/bucket/k?partNumber=1")
            assert reply.status == 206 and reply.headers[f"x-amz-checksum-{algorithm.lower()}"] is None
    for count in (0, 2):  # Nobody asked for the parts': only what is of all bytes is told.
        parts = bodies(count)
        whole = complete(s3, *upload(s3, "k", parts))["ChecksumCRC64NVME"]
        for number in range(1, len(parts) + 1):
            got = s3.head_object(Bucket="bucket", Key="k", PartNumber=number, ChecksumMode="ENABLED")
            assert got.get("ChecksumCRC64NVME") == (whole if count == 0 else None)


# ---- markers of uploads ----

def test_markers_of_uploads(plain, s3):
    begun = [upload(s3, key, [])[0]["UploadId"] for key in ("a", "k", "k", "z")]

    def listed(**markers):
        page = s3.list_multipart_uploads(Bucket="bucket", **markers)
        return [u["UploadId"] for u in page.get("Uploads", [])]
    assert listed() == begun
    assert listed(UploadIdMarker="nonsense") == begun  # says nothing without a key
    assert listed(KeyMarker="", UploadIdMarker="nonsense") == begun
    assert listed(KeyMarker="k") == begun[3:]
    assert listed(KeyMarker="k", UploadIdMarker="") == begun[3:]
    assert listed(KeyMarker="k", UploadIdMarker=begun[1]) == begun[2:]
    assert listed(KeyMarker="k", UploadIdMarker=begun[0]) == begun[1:]  # another key's: it is only a place
    s3.abort_multipart_upload(Bucket="bucket", Key="k", UploadId=begun[1])
    assert listed(KeyMarker="k", UploadIdMarker=begun[1]) == begun[2:]  # it ended between two pages
    for marker in ("nonsense", begun[1][:-1], begun[1] + "0", begun[1].upper(), "../" + begun[1][3:], "~", "é"):
        reply, text = send(plain, "GET", "/bucket?uploads=&key-marker=k&upload-id-marker=" +
                           urllib.parse.quote(marker, safe="~"))
        assert (reply.status, element(text, "Code"), element(text, "Message")) == (
            400, "InvalidArgument", "Invalid uploadId marker"), marker


# ---- arguments ----

def test_an_argument_that_is_wrong_is_named(plain, s3):
    where, _ = upload(s3, "k", [bytes(PART)])
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    part = f"/bucket/k?uploadId={where['UploadId']}&partNumber="
    copy = {"x-amz-copy-source": "/bucket/k"}
    for method, path, headers, name, value in (
            ("GET", "/bucket?uploads=&key-marker=k&upload-id-marker=none", {}, "upload-id-marker", "none"),
            ("GET", "/bucket?versions=&version-id-marker=x", {}, "version-id-marker", "x"),
            ("GET", "/bucket?list-type=2&continuation-token=x%20y", {}, "continuation-token", "x y"),
            ("GET", "/bucket?max-keys=many", {}, "max-keys", "many"),
            ("GET", "/bucket?max-keys=-1", {}, "max-keys", "-1"),
            ("GET", "/bucket?encoding-type=utf", {}, "encoding-type", "utf"),
            ("GET", "/?max-buckets=0", {}, "max-buckets", "0"),
            ("GET", "/?continuation-token=%3C", {}, "continuation-token", "&lt;"),
            ("GET", "/bucket/k?versionId=none%21", {}, "versionId", "none!"),
            ("GET", "/bucket/k?versionId=", {}, "versionId", ""),
            ("GET", "/bucket/k?partNumber=0", {}, "partNumber", "0"),
            ("GET", "/bucket/k?attributes=", {"x-amz-object-attributes": "Size"}, "x-amz-object-attributes", "Size"),
            ("PUT", part + "10001", {}, "partNumber", "10001"),
            ("PUT", part + "one", {}, "partNumber", "one"),
            ("PUT", part + "1", copy | {"x-amz-copy-source-range": "1-2"}, "x-amz-copy-source-range", "1-2"),
            ("PUT", "/bucket/k?versionId=null", {}, "versionId", "null"),
            ("PUT", "/bucket/k", {"x-amz-acl": "mine"}, "x-amz-acl", "mine"),
            ("PUT", "/bucket/k", {"x-amz-grant-read": "everybody"}, "x-amz-grant-read", "everybody"),
            ("PUT", "/bucket/k", {"x-amz-tagging": "a=1&a=2"}, "x-amz-tagging", "a=1&amp;a=2"),
            ("PUT", "/bucket/c", copy | {"x-amz-metadata-directive": "MOVE"}, "x-amz-metadata-directive", "MOVE"),
            ("PUT", "/bucket/c", copy | {"x-amz-tagging-directive": "MOVE"}, "x-amz-tagging-directive", "MOVE"),
            ("PUT", "/bucket/c", {"x-amz-copy-source": "bucket"}, "x-amz-copy-source", "bucket")):
        reply, text = send(plain, method, path, b"", headers)
        assert [reply.status] + [element(text, e) for e in ("Code", "ArgumentName", "ArgumentValue")] == [
            400, "InvalidArgument", name, value], (path, headers, text)


def test_a_word_for_something_else_changes_no_bucket_and_no_object(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    s3.create_bucket(Bucket="empty")
    for word in ("attributes", "delete", "location", "uploads", "versions", "uploadId=x", "partNumber=1"):
        for method, bucket in (("PUT", "made"), ("DELETE", "empty"), ("POST", "empty")):
            if (method, word) != ("POST", "delete"):
                reply, text = send(plain, method, f"/{bucket}?{word}", b"")
                assert [reply.status] + [element(text, e) for e in ("Code", "Method", "ResourceType")] == [
                    405, "MethodNotAllowed", method, "BUCKET"], (method, word)
    for word in ("delete", "location"):
        for method in ("PUT", "DELETE"):
            reply, text = send(plain, method, f"/bucket/k?{word}", b"")
            assert (reply.status, element(text, "ResourceType")) == (405, "OBJECT")
    for headers in ({}, {"x-amz-copy-source": "/bucket/k"}):
        reply, text = send(plain, "PUT", "/bucket/k?partNumber=1", b"", headers)
        assert (reply.status, element(text, "ArgumentName")) == (400, "uploadId")
    reply, text = send(plain, "PUT", "/made?metadataTable", b"")
    assert reply.status == 501
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bucket", "empty"]
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"


def test_a_range_of_another_object_is_not_sent(plain, s3):
    body = bytes(range(256)) * 1024
    etag = s3.put_object(Bucket="bucket", Key="k", Body=body)["ETag"]
    date = s3.head_object(Bucket="bucket", Key="k")["ResponseMetadata"]["HTTPHeaders"]["last-modified"]
    for named, same in ((etag, True), ('"' + "0" * 32 + '"', False), ("W/" + etag, False), (date, True),
                        ("Sat, 01 Jan 2000 00:00:00 GMT", False), ("nonsense", False)):
        for span, part in (("bytes=5-9", body[5:10]), ("bytes=-7", body[-7:]), ("bytes=200000-", body[200000:])):
            reply, text = send(plain, "GET", "/bucket/k", b"", {"Range": span, "If-Range": named})
            assert (reply.status, text) == ((206, part) if same else (200, body)), (named, span)
    reply, _ = send(plain, "GET", "/bucket/k", b"", {"If-Range": '"none"'})
    assert reply.status == 200
    reply, text = send(plain, "GET", "/bucket/k", b"", {"Range": "bytes=900000-"})
    assert [element(text, e) for e in ("Code", "RangeRequested")] == ["InvalidRange", "bytes=900000-"]


def test_a_batch_names_keys(plain, s3):
    for inside in ("<Object></Object>", "<Object><Key></Key></Object>"):
        reply, text = send(plain, "POST", "/bucket?delete", f"<Delete>{inside}</Delete>".encode())
        assert (reply.status, element(text, "Code")) == (400, "MalformedXML")


def test_a_storage_class_is_one_of_s3s(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1", StorageClass="STANDARD_IA")
    assert s3.list_objects_v2(Bucket="bucket")["Contents"][0]["StorageClass"] == "STANDARD"  # the only one there is
    s3.copy_object(Bucket="bucket", Key="k", CopySource="bucket/k", StorageClass="STANDARD")
    assert code_of(s3.copy_object, Bucket="bucket", Key="k", CopySource="bucket/k") == ("InvalidRequest", 400)
    for call in (s3.put_object, s3.create_multipart_upload):
        assert code_of(call, Bucket="bucket", Key="k", StorageClass="FAST") == ("InvalidStorageClass", 400)


# ---- names that XML cannot hold ----

def test_every_document_is_xml_whatever_a_key_holds(plain, s3):
    """A listing of such a key is refused and says how to ask; what only repeats the key writes U+FFFD for it."""
    tame, wild = ["plain", "tab\tnew\nline\rdel\x7f", "\ufffd", "\U0001f600"], ["a\x01", "d/\x1b/e", "z\ufffe", "z\uffff"]
    for key in tame + wild:
        s3.put_object(Bucket="bucket", Key=key, Body=b"")

    def asked(query, method="GET", key="", body=b""):
        query = query.strip("&")
        reply, text = send(plain, method, f"/bucket{urllib.parse.quote('/' + key if key else '', safe='/')}?{query}", body)
        return reply.status, ElementTree.fromstring(text)  # strict

    def keys(document, name="Key"):
        return [e.text for e in document.iter() if e.tag.endswith("}" + name)]
    kinds = "list-type=2", "", "versions=", "uploads="
    for key in wild:
        status, made = asked("uploads=", "POST", key)
        upload_id, = keys(made, "UploadId")
        assert status == 200 and "\ufffd" in keys(made)[0]
        status, parts = asked(f"uploadId={upload_id}", "GET", key)
        assert (status, keys(parts, "UploadId")) == (200, [upload_id])
    for kind in kinds:
        status, error = asked(kind)
        assert (status, error.findtext("Code"), error.findtext("ArgumentName")) == (
            400, "InvalidArgument", "encoding-type"), kind
        status, page = asked(f"encoding-type=url&{kind}")
        assert status == 200, kind
        told = {urllib.parse.unquote_plus(k) for k in keys(page)}
        assert told == (set(wild) if kind == "uploads=" else set(tame + wild)), kind
        assert asked(f"delimiter=%1B&{kind}")[0] == 400
        assert asked(f"prefix=%EF%BF%BE&{kind}")[0] == 400
        assert asked(f"delimiter=%2F&prefix=d%2F&{kind}")[0] == 400
    for prefix in ("plain", "tab", "\ufffd", "\U0001f600"):
        for kind in kinds[:3]:
            status, page = asked(f"{kind}&prefix={urllib.parse.quote(prefix)}")
            assert (status, keys(page)) == (200, [k for k in tame if k.startswith(prefix)]), kind
    status, error = asked("", "GET", "absent\x02\uffff")
    assert (status, error.findtext("Code"), error.findtext("Key")) == (404, "NoSuchKey", "absent\ufffd\ufffd")


def test_http_2_is_not_offered(processes, workdir):
    """docs/skyvol-s3.md says why."""
    served = Endpoint(processes, workdir, make_certificate(workdir))
    context = ssl.create_default_context(cafile=str(served.tls[0]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", served.port), 20) as sock:
        with context.wrap_socket(sock, server_hostname="127.0.0.1") as tls:
            assert tls.selected_alpn_protocol() in ("http/1.1", None)
    served.close()


# ---- forms ----

def form_error(plain, conditions=(), body=b"bar", changes=None, version=4, **more):
    fields = {"key": "foo.txt"} | signed(policy_of([*CONDITIONS, *conditions]), version, **more) | (changes or {})
    reply, text = send_form(plain, encoded({k: v for k, v in fields.items() if v is not None}, body))
    assert reply.status >= 400
    return fields, text


def test_a_form_that_is_refused_tells_why(plain, s3):
    for size, version in ((10, 4), (10, 2), (2 * PART, 4)):
        _, text = form_error(plain, [["content-length-range", 0, 5]], bytes(size), version=version)
        assert [element(text, e) for e in ("Code", "ProposedSize", "MaxSizeAllowed")] == [
            "EntityTooLarge", str(size), "5"]
        _, text = form_error(plain, [["content-length-range", 3 * PART, 4 * PART]], bytes(size), version=version)
        assert [element(text, e) for e in ("Code", "ProposedSize", "MinSizeAllowed")] == [
            "EntityTooSmall", str(size), str(3 * PART)]
    for version in (4, 2):
        _, text = form_error(plain, access="nobody", version=version)
        assert [element(text, e) for e in ("Code", "AWSAccessKeyId", "StringToSign")] == [
            "InvalidAccessKeyId", "nobody", None]
        fields, text = form_error(plain, secret="another", version=version)
        given = fields["x-amz-signature" if version == 4 else "signature"]
        assert [element(text, e) for e in ("Code", "AWSAccessKeyId", "StringToSign", "SignatureProvided")] == [
            "SignatureDoesNotMatch", "test", fields["policy"], given]
        assert bytes.fromhex(element(text, "StringToSignBytes")).decode() == fields["policy"]
    fields, text = form_error(plain, changes={"x-amz-signature": "<&\x01\ufffe"})
    assert element(text, "Code") == "SignatureDoesNotMatch" and element(text, "SignatureProvided") is None
    for name, value in (("x-amz-algorithm", "none"), ("x-amz-date", "today"), ("x-amz-credential", "nonsense"),
                        ("x-amz-credential", "test/2026/us-east-1/s3/aws4_request"),
                        ("x-amz-credential", "test/20260101/moon/s3/aws4_request")):
        _, text = form_error(plain, changes={name: value})
        assert [element(text, e) for e in ("Code", "ArgumentName", "ArgumentValue")] == [
            "InvalidArgument", name, value]
    _, text = form_error(plain, changes={"policy": None})
    assert [element(text, e) for e in ("Code", "ArgumentName", "ArgumentValue")] == [
        "InvalidArgument", "policy", ""]
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_a_sessions_token_in_a_form_is_not_told(plain):
    """Of a signature by a session that is none: nothing of the policy comes back, in which the token stands."""
    fields, text = form_error(plain, [{"x-amz-security-token": "t0ken"}], secret="another",
                              changes={"x-amz-security-token": "t0ken"})
    assert fields["policy"] not in text and "t0ken" not in text


# ---- policies ----

def test_each_action_of_a_policy_applies_to_a_resource(s3):
    bucket, objects = "arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"

    def put(action, resource, **more):
        s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": action, "Resource": resource} | more]}))
    for effect in ("Allow", "Deny"):
        for resource, actions in (
                (bucket, ("GetObject", "PutObjectTagging", "getobject", "GetObjec?", "Abort*", "???Object")),
                (objects, ("ListBucket", "GetBucketTagging", "???BucketVersioning", "*Bucket*", "GetBucket*")),
                ("arn:aws:s3:::bucket/a", ("ListBucket",))):
            for action in actions:
                with pytest.raises(s3.exceptions.ClientError) as refused:
                    put(f"s3:{action}", resource, Effect=effect)
                error = refused.value.response["Error"]
                assert (error["Code"], error["Message"]) == (
                    "MalformedPolicy", "Action does not apply to any resource(s) in statement"), action
    assert code_of(put, ["s3:ListBucket", "s3:GetObject"], bucket) == ("MalformedPolicy", 400)
    assert code_of(put, ["s3:ListBucket", "s3:GetObject"], [objects]) == ("MalformedPolicy", 400)
    assert code_of(s3.get_bucket_policy, Bucket="bucket")[0] == "NoSuchBucketPolicy"
    # A pattern is right where one of what it names applies: ListBucketMultipartUploads is a bucket's.
    for action, resource in ((["s3:ListBucket", "s3:GetObject"], [bucket, objects]), ("s3:*", bucket), ("*", objects),
                             ("s3:Get*", bucket), ("s3:*Multipart*", bucket), ("s3:List*", objects),
                             ("s3:GetObject", "arn:aws:s3:::bucket*"), ("s3:ListBucket", "*")):
        put(action, resource)

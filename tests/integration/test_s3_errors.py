# SPDX-License-Identifier: Apache-2.0
"""What error documents tell beside their sentence, as AWS does, and what they never tell."""
import hashlib
import json
import time
import urllib.parse
import xml.etree.ElementTree

import boto3
import pytest
from botocore.config import Config

from test_s3 import SECRET, code_of, plain, s3  # noqa: F401  (fixtures)
from test_s3_identity import Sidecar
from test_s3_negative import OPEN_STREAM, TRAILER_STREAM, Request, now
from test_s3_presign import ask, by_hand


def document(reply):
    text = reply.split(b"\r\n\r\n", 1)[1].decode() if isinstance(reply, bytes) else reply[2].decode()
    assert SECRET not in text
    return {e.tag: e.text for e in xml.etree.ElementTree.fromstring(text)}


def test_a_signature_that_does_not_fit_is_explained(plain, s3):
    good = Request(plain, method="GET", body=b"")
    request = Request(plain, method="GET", body=b"", secret="wrong")
    told = document(request.send())
    assert told["Code"] == "SignatureDoesNotMatch" and told["AWSAccessKeyId"] == "test"
    assert told["SignatureProvided"] == request.signature
    lines = told["StringToSign"].split("\n")
    assert lines[:3] == ["AWS4-HMAC-SHA256", request.date, request.scope]
    assert lines[3] == hashlib.sha256(told["CanonicalRequest"].encode()).hexdigest()
    assert told["CanonicalRequest"].startswith("GET\n/bucket/k\n\nhost:127.0.0.1")
    # how it should have been signed is told to nobody
    assert good.signature not in str(told) and good.key().hex() not in str(told)
    shown = by_hand(plain, "GET", "/bucket/k", secret="wrong", query="versionId=a")
    told = document(ask(plain, "GET", shown))
    assert told["StringToSign"].startswith("GET\n\n\n") and told["StringToSign"].endswith("/bucket/k?versionId=a")
    assert "CanonicalRequest" not in told
    assert document(ask(plain, "GET", by_hand(plain, "GET", "/bucket/k", access="no<body>&")))["Code"] == \
        "InvalidAccessKeyId"
    assert ask(plain, "HEAD", shown)[2] == b""


def test_who_is_not_known_is_named(plain, s3):
    told = document(Request(plain, access="nobody").send())
    assert (told["Code"], told["AWSAccessKeyId"]) == ("InvalidAccessKeyId", "nobody")
    assert "StringToSign" not in told


@pytest.mark.parametrize("value", ["%FF", "%EF%BF%BE", "%EF%BF%BF", "%3Cx%3E%26%22"])
def test_what_is_no_text_leaves_the_document_readable(plain, value):
    start = f"/bucket/k?Expires={int(time.time()) + 60}"
    for query in (f"AWSAccessKeyId={value}&Signature={'A' * 27}%3D",
                  f"AWSAccessKeyId=test&Signature={('A' * 28)[len(urllib.parse.unquote_to_bytes(value)):]}{value}",
                  f"AWSAccessKeyId=test&response-content-type={value}&Signature={'A' * 27}%3D"):
        told = document(ask(plain, "GET", f"{plain.url}{start}&{query}"))
        assert told["Code"] in ("InvalidAccessKeyId", "SignatureDoesNotMatch")


def test_what_was_not_signed_is_named(plain, s3):
    request = Request(plain, headers={"x-amz-tagging": "a=b", "x-amz-copy-source": "bucket/x"},
                      skip=("x-amz-tagging", "x-amz-copy-source"))
    told = document(request.send())
    assert told["Code"] == "AccessDenied"
    assert told["HeadersNotSigned"] == "x-amz-tagging, x-amz-copy-source"


def test_clocks_are_compared(plain, s3):
    told = document(Request(plain, minutes=-20).send())
    assert told["Code"] == "RequestTimeTooSkewed" and told["MaxAllowedSkewMilliseconds"] == "900000"
    assert told["RequestTime"] < told["ServerTime"].replace("-", "").replace(":", "")
    told = document(Request(plain, method="GET", minutes=-20, expires=60, body=b"").send())
    assert told["Code"] == "AccessDenied" and told["X-Amz-Expires"] == "60"
    assert told["Expires"] < told["ServerTime"]
    assert now()[:4] == told["ServerTime"][:4]
    told = document(ask(plain, "GET", by_hand(plain, "GET", "/bucket/k", expires=1000000000)))
    assert told["Expires"] == "2001-09-09T01:46:40.000Z" and told["ServerTime"] > "2026"


def test_a_session_token_is_not_shown(processes, workdir):
    sidecar = Sidecar(processes, workdir)
    sidecar.tls = None
    fetched = sidecar.fetch()
    for version in ("s3v4", "s3"):
        wrong = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{sidecar.port}", region_name="us-east-1",
            aws_access_key_id=fetched["AccessKeyId"], aws_secret_access_key="wrong",
            aws_session_token=fetched["Token"], config=Config(signature_version=version))
        made = wrong.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
        reply = ask(sidecar, "GET", made)
        told = document(reply)
        assert told["Code"] == "SignatureDoesNotMatch" and told["AWSAccessKeyId"] == fetched["AccessKeyId"]
        text = reply[2].decode()
        assert fetched["Token"] not in text and fetched["SecretAccessKey"] not in text
        assert ("StringToSign" in told) == (version == "s3v4") and "CanonicalRequest" not in told


def test_metadata_of_two_kilobytes_may_be_all_names(plain, s3):
    """Their list is signed, too: it was refused at 2 KiB of it."""
    metadata = {f"{'n' * 190}-{i}": "" for i in range(10)}
    s3.put_object(Bucket="bucket", Key="k", Body=b"", Metadata=metadata)
    assert s3.head_object(Bucket="bucket", Key="k")["Metadata"] == metadata
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"",
                   Metadata={"n" * 2100: "v"}) == ("MetadataTooLarge", 400)


def test_a_composite_checksum_needs_those_of_the_parts(s3):
    where = {"Bucket": "bucket", "Key": "k"}
    upload = s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA1")["UploadId"]
    part = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="SHA1")
    named = {"PartNumber": 1, "ETag": part["ETag"]}

    def complete(**more):
        return s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": [named | more]})
    assert code_of(complete) == ("InvalidRequest", 400)
    assert code_of(complete, ChecksumSHA256="n2alat9FhKiZXkZO18V2LLcZFM3IT8R7DjSMvK//7WU=") == ("InvalidRequest", 400)
    assert code_of(complete, ChecksumSHA1="Kq5sNclPz7QV2+lfQIuc6R7oRu0=") == ("InvalidPart", 400)
    assert complete(ChecksumSHA1=part["ChecksumSHA1"])["ChecksumType"] == "COMPOSITE"
    whole = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    part = s3.upload_part(**where, UploadId=whole, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32")
    s3.complete_multipart_upload(**where, UploadId=whole, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": part["ETag"]}]})  # of the whole object none is needed


def test_a_location_is_another_region_or_none(plain):
    """From elsewhere than the first region boto3 has to name one."""
    client = plain.client()
    for name, want in (("eu-west-1", "IllegalLocationConstraintException"), ("EU", "IllegalLocationConstraintException"),
                       ("us-gov-east-1", "IllegalLocationConstraintException"), ("nowhere", "InvalidLocationConstraint"),
                       ("eu-west-", "InvalidLocationConstraint"), ("e-1", "InvalidLocationConstraint")):
        assert code_of(client.create_bucket, Bucket="elsewhere",
                       CreateBucketConfiguration={"LocationConstraint": name}) == (want, 400), name


def test_nobody_chooses_headers_without_a_signature(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"bytes")
    s3.put_bucket_policy(Bucket="bucket", Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}]}))
    where = f"{plain.url}/bucket/k"
    assert ask(plain, "GET", where)[2] == b"bytes"
    told = document(ask(plain, "GET", f"{where}?response-content-type=text%2Fhtml"))
    assert told["Code"] == "InvalidRequest"
    assert ask(plain, "HEAD", f"{where}?response-expires=x")[0] == 400


@pytest.mark.parametrize("body, size, code", [
    (b"5\nhello\r\n0\r\n\r\n", "5", "IncompleteBody"), (b"z\r\nhello\r\n0\r\n\r\n", "5", "IncompleteBody"),
    (b"5\r\nhello\r\n", "5", "IncompleteBody"), (b"5\r\nhello\r\n0\r\n\r\n", "5x", "MissingContentLength"),
    (b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "5", "BadDigest")])
def test_broken_streams_have_the_codes_of_aws(plain, s3, body, size, code):
    more = {"x-amz-trailer": "x-amz-checksum-crc32"} if b"crc32" in body else {}
    request = Request(plain, payload=OPEN_STREAM, body=body,
                      headers={"x-amz-decoded-content-length": size, "content-encoding": "aws-chunked"} | more)
    assert document(request.send())["Code"] == code
    assert code_of(s3.head_object, Bucket="bucket", Key="k") == ("404", 404)


def test_a_signed_trailer_has_to_be_declared(plain, s3):
    request = Request(plain, payload=TRAILER_STREAM, body=b"0\r\n\r\n",
                      headers={"x-amz-decoded-content-length": "0", "content-encoding": "aws-chunked"})
    assert document(request.send())["Code"] == "MalformedTrailerError"

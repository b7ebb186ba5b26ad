# SPDX-License-Identifier: Apache-2.0
"""What error documents tell beside their sentence, as AWS does, and what they never tell."""
import hashlib
import xml.etree.ElementTree

import boto3
from botocore.config import Config

from test_s3 import SECRET, code_of, plain, s3  # noqa: F401  (fixtures)
from test_s3_identity import Sidecar
from test_s3_negative import Request, now
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

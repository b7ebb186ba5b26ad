# SPDX-License-Identifier: Apache-2.0
"""URLs presigned by clients in their default settings: Signature Version 2, and nothing else of it."""
import base64
import hashlib
import hmac
import http.client
import json
import ssl
import subprocess
import time
import urllib.parse

import boto3
import pytest
from botocore.config import Config

from conftest import tool
from test_s3 import ACCESS, SECRET, CommandLine, Endpoint, endpoint, keys, make_certificate, plain, s3  # noqa: F401
from test_s3_identity import Sidecar

B = {"Bucket": "bucket"}
K = B | {"Key": "a b/ü+~&=.txt"}
WEEK = 604800


def signer(served, access=ACCESS, secret=SECRET, host="127.0.0.1", style=None, token=None):
    """boto3 with nothing said about signatures."""
    return boto3.client(
        "s3", endpoint_url=f"{'https' if served.tls else 'http'}://{host}:{served.port}",
        region_name="us-east-1", aws_access_key_id=access, aws_secret_access_key=secret,
        aws_session_token=token, config=Config(s3={"addressing_style": style}) if style else None)


def ask(served, method, url, body=None, **headers):
    """Status, headers and body; wherever the name in the URL leads."""
    parts = urllib.parse.urlsplit(url)
    if getattr(served, "tls", None):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", served.port, timeout=20, context=ssl.create_default_context(cafile=str(served.tls[0])))
    else:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body,
                       {"Host": parts.netloc} | {k.replace("_", "-"): v for k, v in headers.items()})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, reply.headers, text


def refused(reply):
    status, _, text = reply
    return status, text.split(b"<Code>")[1].split(b"</Code>")[0].decode()


MISMATCH, DENIED = (403, "SignatureDoesNotMatch"), (403, "AccessDenied")


def url(client, operation, expires=600, **params):
    made = client.generate_presigned_url(operation, Params=params, ExpiresIn=expires)
    assert "Signature=" in made and "X-Amz-" not in made.replace("x-amz-", ""), "version 4?"
    return made


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("host, style", [("127.0.0.1", None), ("s3.test", "path"), ("s3.test", "virtual")])
def test_what_boto3_presigns_by_default(processes, workdir, tls, host, style):
    served = Endpoint(processes, workdir, make_certificate(workdir) if tls else None,
                      serve=["--dir", workdir / "store", "--host-suffix", "s3.test"])
    direct = served.client()
    direct.create_bucket(**B)
    direct.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    one = signer(served, host=host, style=style)
    made = url(one, "put_object", **K, ContentType="x/y", Metadata={"Colour": "blue  sky"})
    status, head, _ = ask(served, "PUT", made, b"first")
    assert status == 200
    old = head["x-amz-version-id"]
    assert ask(served, "PUT", made, b"second", Content_Type="x/y")[0] == 200
    got = ask(served, "GET", url(one, "get_object", **K))
    assert got[0] == 200 and got[2] == b"second"
    assert got[1]["content-type"] == "x/y" and got[1]["x-amz-meta-colour"] == "blue  sky"
    assert ask(served, "GET", url(one, "get_object", **K, VersionId=old))[2] == b"first"
    name = 'attachment; filename="a&b=c;ü.txt"'
    got = ask(served, "GET", url(one, "get_object", **K, ResponseContentDisposition=name,
                                 ResponseContentType="text/plain"), Range="bytes=0-2")
    assert got[0] == 206 and got[2] == b"sec" and got[1]["content-type"] == "text/plain"
    assert got[1]["content-disposition"].encode("latin-1").decode() == name
    assert ask(served, "HEAD", url(one, "head_object", **K))[0] == 200
    assert ask(served, "HEAD", url(one, "head_bucket", **B))[0] == 200
    assert b"<Grant>" in ask(served, "GET", url(one, "get_bucket_acl", **B))[2]
    upload = direct.create_multipart_upload(**B, Key="parts")["UploadId"]
    part = url(one, "upload_part", **B, Key="parts", UploadId=upload, PartNumber=1)
    etag = ask(served, "PUT", part, b"in a part")[1]["ETag"]
    direct.complete_multipart_upload(**B, Key="parts", UploadId=upload, MultipartUpload={
        "Parts": [{"ETag": etag, "PartNumber": 1}]})
    assert ask(served, "PUT", url(one, "copy_object", **B, Key="copy",
                                  CopySource={**B, "Key": "parts"}))[0] == 200
    assert direct.get_object(**B, Key="copy")["Body"].read() == b"in a part"
    assert ask(served, "DELETE", url(one, "delete_object", **K))[0] == 204
    assert keys(direct) == ["copy", "parts"]
    served.close()


def test_what_command_lines_presign_by_default(endpoint, workdir):
    s3 = endpoint.client()
    s3.create_bucket(**B)
    s3.put_object(**K, Body=b"bytes")
    where = f"s3://bucket/{K['Key']}"
    aws, s3cmd = (CommandLine(name, endpoint, workdir) for name in ("aws", "s3cmd"))
    if endpoint.tls:
        with open(workdir / "s3cfg", "a") as config:
            config.write("signurl_use_https = True\n")
    for client, argv in ((aws, ["presign", where, "--expires-in", "600"]),
                         (s3cmd, ["signurl", where, "+600"]),
                         (s3cmd, ["--content-disposition=attachment; filename=\"x&y\"",
                                  "--content-type=text/plain", "signurl", where, "+600"])):
        done = subprocess.run([*client.base, *argv], check=True, env=client.environment, timeout=60,
                              capture_output=True, text=True)
        made = done.stdout.strip()
        assert "AWSAccessKeyId=" in made and made.startswith(endpoint.url)
        status, head, body = ask(endpoint, "GET", made)
        assert (status, body) == (200, b"bytes"), (argv, body)
        assert ("content-disposition" in argv[0]) == (head["content-disposition"] is not None)


ADDED = ["versionId=null", "acl", "tagging", "partNumber=1", "uploadId=x", "uploads", "delete", "policy",
         "response-content-type=text%2Fhtml", "x-amz-acl=private", "x-amz-copy-source=bucket%2Fother",
         "%76ersionId=null", "content-type=text%2Fhtml", "torrent"]
UNSIGNED = ["list-type=2", "prefix=a", "attributes", "encoding-type=url", "max-keys=1", "x-id=GetObject",
            "policyStatus", "encryption", "legal-hold", "versionid=x", "nonsense", "a=%0a", "versionId=%zz",
            "x-amz-meta-a=%0Ax-amz-acl:private", "x-amz-meta-a%3Ab=c"]
METHODS = {"GET": "get_object", "HEAD": "head_object", "PUT": "put_object", "DELETE": "delete_object"}


@pytest.mark.parametrize("method", METHODS)
def test_nobody_changes_a_url(plain, s3, method):
    s3.put_object(**K, Body=b"kept")
    s3.put_object(**B, Key="other", Body=b"secret")
    made = url(signer(plain), METHODS[method], **K)
    body = b"evil" if method == "PUT" else None

    def fails(want, how, target, **headers):
        status, _, text = ask(plain, how, target, body, **headers)
        code = text.split(b"<Code>")[1].split(b"<")[0].decode() if text else want[1]
        assert (status, code) == want, (how, target, headers)
    for more in ADDED:
        fails(MISMATCH, method, f"{made}&{more}")
    for more in UNSIGNED:
        fails(DENIED, method, f"{made}&{more}")
        fails(DENIED, method, made.replace("?", f"?{more}&"))
    for other in METHODS:
        if other != method:
            fails(MISMATCH, other, made)
    fails(DENIED, "POST", made)
    fails(MISMATCH, method, made.replace("/a%20b/%C3%BC%2B~%26%3D.txt", "/other"))
    fails(MISMATCH, method, made.replace("/bucket/", "/bucket2/"))
    fails(MISMATCH, method, made.replace("%20b", "%20c"))
    for name, value in (("x-amz-acl", "private"), ("x-amz-meta-a", "b"), ("x-amz-tagging", "a=b"),
                        ("x-amz-copy-source", "bucket/other"), ("Content-Type", "text/html"),
                        ("Content-MD5", "XrY7u+Ae7tCTyyK7j1rNww=="),
                        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")):
        fails(MISMATCH, method, made, **{name: value})
    expires = int(urllib.parse.parse_qs(urllib.parse.urlsplit(made).query)["Expires"][0])
    fails(MISMATCH, method, made.replace(f"Expires={expires}", f"Expires={expires + 1}"))
    fails(DENIED, method, made + f"&Expires={expires + 1}")
    fails(DENIED, method, made.replace(f"Expires={expires}", "Expires=soon"))
    fails(DENIED, method, made.replace(f"&Expires={expires}", ""))
    fails((403, "InvalidAccessKeyId"), method, made.replace(f"Id={ACCESS}", "Id=nobody"))
    fails(MISMATCH, method, made.replace(f"Id={ACCESS}", "Id=inner").replace("Signature=", "Signature=x"))
    fails((400, "InvalidArgument"), method, made + "&X-Amz-Algorithm=AWS4-HMAC-SHA256")
    fails((400, "InvalidArgument"), method, made, Authorization=f"AWS {ACCESS}:{'A' * 27}=")
    assert sorted(keys(s3)) == [K["Key"], "other"]
    assert s3.get_object(**K)["Body"].read() == b"kept"
    assert s3.list_multipart_uploads(**B).get("Uploads", []) == []


def test_a_url_ends_and_does_not_live_for_ever(plain, s3):
    s3.put_object(**K, Body=b"bytes")
    one = signer(plain)
    for seconds, want in ((-1, DENIED), (-86400, DENIED), (WEEK + 3600, (400, "AuthorizationQueryParametersError"))):
        made = by_hand(plain, "GET", "/bucket/k", expires=int(time.time()) + seconds)
        reply = ask(plain, "GET", made)
        assert refused(reply) == want
        assert (b"Request has expired" in reply[2]) == (seconds < 0)
    assert ask(plain, "GET", url(one, "get_object", WEEK, **K))[2] == b"bytes"


def by_hand(served, method, path, expires=None, access=ACCESS, secret=SECRET, query="", amz=""):
    expires = expires or int(time.time()) + 600
    text = f"{method}\n\n\n{expires}\n{amz}{path}{'?' if query else ''}{query}"
    mac = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    return (f"http://127.0.0.1:{served.port}{path}?{query}{'&' if query else ''}AWSAccessKeyId={access}"
            f"&Expires={expires}&Signature={urllib.parse.quote(mac, safe='')}")


def test_a_header_cut_in_two_is_refused(plain, s3):
    s3.put_object(**B, Key="a", Body=b"1")
    for name, values, want in (("x-amz-copy-source", ("/bucket/a", "b"), 403), ("x-amz-meta-a", ("1", "2"), 200)):
        made = urllib.parse.urlsplit(by_hand(plain, "PUT", "/bucket/k", amz=f"{name}:{','.join(values)}\n"))
        connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=20)
        connection.putrequest("PUT", f"{made.path}?{made.query}")
        for value in values:
            connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        reply = connection.getresponse()
        assert reply.status == want and (want == 200 or b"there twice" in reply.read())
        connection.close()
    assert keys(s3) == ["a", "k"]
    assert s3.head_object(**B, Key="k")["Metadata"] == {"a": "1,2"}


def test_a_parameter_that_no_signer_knows_is_refused_however_it_is_signed(plain, s3):
    s3.put_object(**B, Key="k", Body=b"bytes")
    assert ask(plain, "GET", by_hand(plain, "GET", "/bucket/"))[0] == 200
    assert ask(plain, "GET", by_hand(plain, "GET", "/bucket"))[0] == 200
    for query in ("prefix=a", "list-type=2", "attributes", "publicAccessBlock"):
        assert refused(ask(plain, "GET", by_hand(plain, "GET", "/bucket/", query=query))) == DENIED


def test_one_value_is_never_read_as_two(plain, s3):
    """Values are signed decoded: what would read like two parameters is refused in either form."""
    s3.put_bucket_versioning(**B, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(**B, Key="k", Body=b"old")["VersionId"]
    s3.put_object(**B, Key="k", Body=b"new")
    made = by_hand(plain, "GET", "/bucket/k", query=f"response-content-type=a&versionId={old}")
    assert ask(plain, "GET", made)[2] == b"old"
    assert refused(ask(plain, "GET", made.replace("a&versionId=", "a%26versionId%3D"))) == DENIED


def test_limits_keys_and_the_log_are_those_of_all_requests(processes, workdir):
    served = Endpoint(processes, workdir, more_keys=[
        {"access_key": "bound", "secret_key": SECRET, "buckets": ["bound"]},
        {"access_key": "slow", "secret_key": SECRET, "requests_per_second": 1, "request_burst": 2}])
    s3 = served.client()
    for bucket in ("bucket", "bound"):
        s3.create_bucket(Bucket=bucket)
    s3.put_object(**B, Key="k", Body=b"bytes")
    read = signer(served, "reader")
    assert ask(served, "GET", url(read, "get_object", **B, Key="k"))[2] == b"bytes"
    assert refused(ask(served, "PUT", url(read, "put_object", **B, Key="k"), b"x")) == DENIED
    assert refused(ask(served, "DELETE", url(read, "delete_object", **B, Key="k"))) == DENIED
    bound = signer(served, "bound")
    assert refused(ask(served, "GET", url(bound, "get_object", **B, Key="k"))) == DENIED
    assert refused(ask(served, "PUT", url(bound, "copy_object", Bucket="bound", Key="k",
                                          CopySource="bucket/k"))) == DENIED
    assert ask(served, "PUT", url(bound, "put_object", Bucket="bound", Key="k"), b"x")[0] == 200
    assert refused(ask(served, "PUT", url(bound, "put_object", Bucket="bound", Key=".skyvol/k"), b"x")) == DENIED
    slow = url(signer(served, "slow"), "get_object", **B, Key="k")
    statuses = [ask(served, "GET", slow)[0] for _ in range(6)]
    assert statuses[:2] == [200, 200] and 503 in statuses
    assert refused(ask(served, "GET", url(signer(served, secret="wrong"), "get_object", **B, Key="k"))) == MISMATCH
    s3.put_bucket_policy(**B, Policy=json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*",
        "Condition": {"StringEquals": {"s3:signatureversion": "AWS", "s3:authType": "REST-QUERY-STRING"}}}]}))
    assert refused(ask(served, "GET", url(read, "get_object", **B, Key="k"))) == DENIED
    assert s3.get_object(**B, Key="k")["Body"].read() == b"bytes"
    served.close()
    lines = [json.loads(line) for line in served.process.log.read_text().splitlines() if line.startswith("{")]
    assert {"reader", "bound", "slow"} <= {line["key_id"] for line in lines}
    text = served.process.log.read_text()
    assert "Signature=" not in text and "Expires=" not in text


def test_temporary_credentials_presign_by_default(processes, workdir):
    sidecar = Sidecar(processes, workdir)
    sidecar.tls = None
    fetched = sidecar.fetch()
    sidecar.client(fetched).create_bucket(**B)
    one = signer(sidecar, fetched["AccessKeyId"], fetched["SecretAccessKey"], token=fetched["Token"])
    made = url(one, "put_object", **K)
    assert "x-amz-security-token=" in made
    assert ask(sidecar, "PUT", made, b"bytes")[0] == 200
    made = url(one, "get_object", **K)
    assert ask(sidecar, "GET", made)[2] == b"bytes"
    token = urllib.parse.quote(fetched["Token"], safe="")
    assert token in made
    assert refused(ask(sidecar, "GET", made.replace(f"&x-amz-security-token={token}", "")))[0] in (400, 403)
    assert refused(ask(sidecar, "GET", made, x_amz_security_token="other")) == DENIED
    forged = sidecar.forge(-10)
    old = signer(sidecar, forged["AccessKeyId"], forged["SecretAccessKey"], token=forged["Token"])
    assert refused(ask(sidecar, "GET", url(old, "get_object", **K))) == (400, "ExpiredToken")


def test_it_can_be_switched_off_and_headers_of_version_2_are_always_refused(processes, workdir):
    served = Endpoint(processes, workdir, serve=["--dir", workdir / "store", "--no-presign-v2"])
    s3 = served.client()
    s3.create_bucket(**B)
    s3.put_object(**K, Body=b"bytes")
    reply = ask(served, "GET", url(signer(served), "get_object", **K))
    assert refused(reply) == (400, "InvalidRequest") and b"AWS4-HMAC-SHA256" in reply[2]
    v4 = s3.generate_presigned_url("get_object", Params=K)
    assert "X-Amz-Signature=" in v4 and ask(served, "GET", v4)[2] == b"bytes"
    served.close()


def test_the_header_of_version_2_stays_refused(plain, s3):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    mac = base64.b64encode(hmac.new(SECRET.encode(), f"GET\n\n\n{date}\n/bucket/".encode(), hashlib.sha1).digest())
    reply = ask(plain, "GET", f"{plain.url}/bucket/", Date=date, Authorization=f"AWS {ACCESS}:{mac.decode()}")
    assert refused(reply) == (400, "InvalidRequest")

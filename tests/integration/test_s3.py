# SPDX-License-Identifier: Apache-2.0
"""skyvol-s3 as S3's clients see it: boto3, the AWS CLI, s3cmd and rclone."""
import concurrent.futures
import datetime
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from conftest import free_port, listening, program, tool, wait_until

ACCESS, SECRET = "test", "test-secret"
# nginx is the distribution's: a sanitizer that our module was built with has to be there first.
PRELOAD = os.environ.get("SKYVOL_TEST_PRELOAD", "")
# A worker of nginx never frees its connections and their events: these three arrays, and no more.
NGINX_KEEPS = re.compile(
    r"=+\n==\d+==ERROR: LeakSanitizer: detected memory leaks\n\n"
    r"Indirect leak of \d+ byte\(s\) in 3 object\(s\) allocated from:\n"
    r" +#0 [^\n]* malloc [^\n]*\n +#1 [^\n]* in ngx_alloc [^\n]*\n\n"
    r"SUMMARY: AddressSanitizer: \d+ byte\(s\) leaked in 3 allocation\(s\)\.\n".replace(
        " malloc ", " [a-z_]*malloc "))
MIB = 1024 * 1024


class Endpoint:
    def __init__(self, processes, directory, tls=None, serve=None, name="skyvol-s3",
                 more_keys=()):
        self.directory, self.port, self.tls = directory, free_port(), tls
        self.credentials = directory / "credentials.json"
        self.write_keys([{"access_key": ACCESS, "secret_key": SECRET},
                         {"access_key": "reader", "secret_key": SECRET, "read_only": True},
                         {"access_key": "inner", "secret_key": SECRET, "internal": True},
                         *more_keys])
        extra = ["--tls-cert-file", tls[0], "--tls-key-file", tls[1]] if tls else []
        self.process = processes.start(
            [program("skyvol-s3"), "--listen", f"127.0.0.1:{self.port}",
             *(serve or ["--dir", directory / "store"]), "--credentials-file", self.credentials,
             "--run-dir", directory / "run", *extra], name,
            env=os.environ | {"LD_PRELOAD": PRELOAD} | self.sanitizer_options())
        wait_until(lambda: listening(self.port), what="S3 endpoint", process=self.process)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def sanitizer_options(self):
        """Reports of the several processes would mix in one log: each has a file of its own."""
        return {name: f"{os.environ.get(name, '')} log_path={self.directory}/sanitizer".strip()
                for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")}

    def close(self):
        """Ends it as an operator would; a sanitizer in it must have had nothing to tell."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(40) == 0
        text = self.process.log.read_text()
        for word in ("Sanitizer", "runtime error", "exited on signal", "left in connection"):
            assert word not in text, text[-8000:]
        for report in self.directory.glob("sanitizer.*"):
            text = NGINX_KEEPS.sub("", report.read_text()).strip()
            assert text == "", text[-8000:]

    def write_keys(self, keys):
        fresh = self.directory / "credentials.new"
        fresh.write_text(json.dumps({"keys": keys}))
        fresh.chmod(0o600)
        fresh.rename(self.credentials)

    def client(self, access=ACCESS, secret=SECRET, **config):
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=access, aws_secret_access_key=secret,
            region_name="us-east-1", verify=str(self.tls[0]) if self.tls else None,
            config=Config(signature_version="s3v4", retries={"max_attempts": 1}, connect_timeout=10, read_timeout=30,
                          s3={"addressing_style": "path"}, **config))


def make_certificate(directory):
    cert, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


@pytest.fixture(params=["http", "https"])
def endpoint(request, processes, workdir):
    served = Endpoint(processes, workdir,
                      make_certificate(workdir) if request.param == "https" else None)
    yield served
    served.close()


@pytest.fixture
def plain(processes, workdir):
    served = Endpoint(processes, workdir)
    yield served
    served.close()


@pytest.fixture
def s3(plain):
    client = plain.client()
    client.create_bucket(Bucket="bucket")
    return client


def code_of(call, *args, **kwargs):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*args, **kwargs)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def keys(client, **kwargs):
    return [o["Key"] for o in client.list_objects_v2(Bucket="bucket", **kwargs).get("Contents", [])]


@pytest.mark.parametrize("size", [0, 1, 1000, MIB, MIB + 1, 9 * MIB + 17])
def test_an_object_comes_back_as_it_was_put(endpoint, size):
    s3 = endpoint.client()
    s3.create_bucket(Bucket="bucket")
    body = random.Random(size).randbytes(size)
    put = s3.put_object(Bucket="bucket", Key="a//b/../ü", Body=body, ContentType="x/y",
                        Metadata={"colour": "blue"})
    got = s3.get_object(Bucket="bucket", Key="a//b/../ü")
    assert got["Body"].read() == body
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert got["Metadata"] == {"colour": "blue"} and got["ContentType"] == "x/y"
    head = s3.head_object(Bucket="bucket", Key="a//b/../ü")
    assert head["ContentLength"] == size and len(head["ResponseMetadata"]["RequestId"]) == 32
    s3.delete_object(Bucket="bucket", Key="a//b/../ü")
    assert code_of(s3.get_object, Bucket="bucket", Key="a//b/../ü") == ("NoSuchKey", 404)


def test_ranges(s3):
    body = random.Random(1).randbytes(3 * MIB)
    s3.put_object(Bucket="bucket", Key="k", Body=body)
    for text, want in (("bytes=0-0", body[:1]), ("bytes=100-", body[100:]),
                       ("bytes=-7", body[-7:]), ("bytes=5-99999999", body[5:])):
        got = s3.get_object(Bucket="bucket", Key="k", Range=text)
        assert got["Body"].read() == want and got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert code_of(s3.get_object, Bucket="bucket", Key="k",
                   Range=f"bytes={3 * MIB}-") == ("InvalidRange", 416)
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    assert s3.get_object(Bucket="bucket", Key="empty")["Body"].read() == b""
    for text in ("bytes=0-0", "bytes=0-", "bytes=-1"):
        assert code_of(s3.get_object, Bucket="bucket", Key="empty",
                       Range=text) == ("InvalidRange", 416)


def test_conditions(s3):
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"2",
                   IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert code_of(s3.get_object, Bucket="bucket", Key="k",
                   IfMatch='"other"') == ("PreconditionFailed", 412)
    assert code_of(s3.get_object, Bucket="bucket", Key="k", IfNoneMatch=etag)[1] == 304
    tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    assert code_of(s3.head_object, Bucket="bucket", Key="k", IfModifiedSince=tomorrow)[1] == 304
    assert s3.get_object(Bucket="bucket", Key="k", IfMatch=etag)["Body"].read() == b"1"
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"2",
                   IfMatch='"other"') == ("PreconditionFailed", 412)


def test_a_file_that_is_shorter_than_its_object_breaks_that_reply_and_no_other(endpoint):
    s3 = endpoint.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=bytes(200_000))
    files = [p for p in (endpoint.directory / "store" / "data").rglob("*") if p.is_file()]
    os.truncate(files[0], 30_000)
    with pytest.raises((botocore.exceptions.HTTPClientError, botocore.exceptions.ClientError,
                        botocore.exceptions.IncompleteReadError,
                        botocore.exceptions.ResponseStreamingError)):
        s3.get_object(Bucket="bucket", Key="k")["Body"].read()
    assert keys(s3) == ["k"]
    wait_until(lambda: "an object is damaged" in endpoint.process.log.read_text(), what="a word of it")
    assert "exited on signal" not in endpoint.process.log.read_text()


def test_listings_page_and_group(s3):
    names = [f"d{i}/f{j}" for i in range(3) for j in range(4)] + ["top"]
    for name in names:
        s3.put_object(Bucket="bucket", Key=name, Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket",
                                                         PaginationConfig={"PageSize": 5})
    assert [o["Key"] for p in pages for o in p["Contents"]] == names
    for operation in ("list_objects", "list_objects_v2"):
        found = []
        for page in s3.get_paginator(operation).paginate(Bucket="bucket", Delimiter="/",
                                                         PaginationConfig={"PageSize": 1}):
            found += [p["Prefix"] for p in page.get("CommonPrefixes", [])]
            found += [o["Key"] for o in page.get("Contents", [])]
        assert found == ["d0/", "d1/", "d2/", "top"], operation
    assert keys(s3, Prefix="d1/") == names[4:8]
    assert code_of(s3.list_objects_v2, Bucket="absent") == ("NoSuchBucket", 404)


def test_buckets(s3):
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bucket"]
    assert s3.get_bucket_location(Bucket="bucket")["LocationConstraint"] is None
    s3.head_bucket(Bucket="bucket")
    assert code_of(s3.head_bucket, Bucket="absent")[1] == 404
    s3.put_object(Bucket="bucket", Key="k", Body=b"")
    assert code_of(s3.delete_bucket, Bucket="bucket") == ("BucketNotEmpty", 409)
    deleted = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}, {"Key": "no"}]})
    assert sorted(d["Key"] for d in deleted["Deleted"]) == ["k", "no"]
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    s3.upload_part(Bucket="bucket", Key="k", UploadId=upload, PartNumber=1, Body=b"part")
    s3.delete_bucket(Bucket="bucket")  # an upload that nobody ended is not in the way
    assert s3.list_buckets()["Buckets"] == []
    s3.create_bucket(Bucket="bucket")
    assert s3.list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []


def test_copy(s3):
    s3.put_object(Bucket="bucket", Key="from", Body=b"bytes", Metadata={"a": "b"})
    s3.copy_object(Bucket="bucket", Key="to", CopySource={"Bucket": "bucket", "Key": "from"})
    got = s3.get_object(Bucket="bucket", Key="to")
    assert got["Body"].read() == b"bytes" and got["Metadata"] == {"a": "b"}
    s3.copy_object(Bucket="bucket", Key="to", CopySource="bucket/to", MetadataDirective="REPLACE",
                   Metadata={"c": "d"})
    assert s3.head_object(Bucket="bucket", Key="to")["Metadata"] == {"c": "d"}
    assert code_of(s3.copy_object, Bucket="bucket", Key="to",
                   CopySource="bucket/absent") == ("NoSuchKey", 404)


def test_multipart_upload(s3):
    first, last = random.Random(2).randbytes(5 * MIB), b"end"
    s3.put_object(Bucket="bucket", Key="source", Body=first)
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
    where = {"Bucket": "bucket", "Key": "k", "UploadId": upload}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(PartNumber=1, Body=first, **where)["ETag"]},
             {"PartNumber": 2, "ETag": s3.upload_part_copy(
                 PartNumber=2, CopySource="bucket/source", CopySourceRange=f"bytes=0-{5 * MIB - 1}",
                 **where)["CopyPartResult"]["ETag"]},
             {"PartNumber": 3, "ETag": s3.upload_part(PartNumber=3, Body=last, **where)["ETag"]}]
    assert [p["PartNumber"] for p in s3.list_parts(**where)["Parts"]] == [1, 2, 3]
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket="bucket")["Uploads"]] == ["k"]
    assert code_of(s3.head_object, Bucket="bucket", Key="k")[1] == 404
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **where)
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == first + first + last
    other = s3.create_multipart_upload(Bucket="bucket", Key="z")["UploadId"]
    s3.abort_multipart_upload(Bucket="bucket", Key="z", UploadId=other)
    assert code_of(s3.list_parts, Bucket="bucket", Key="z", UploadId=other) == ("NoSuchUpload", 404)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"])
def test_checksums_are_kept_and_checked(s3, algorithm):
    name = f"Checksum{algorithm}"
    try:
        put = s3.put_object(Bucket="bucket", Key="k", Body=b"some bytes", ChecksumAlgorithm=algorithm)
    except botocore.exceptions.MissingDependencyException:
        pytest.skip(f"this boto3 cannot do {algorithm}")
    head = s3.head_object(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert put[name] == head[name]
    code = code_of(s3.put_object, Bucket="bucket", Key="bad", Body=b"others", **{name: put[name]})
    assert code[1] == 400 and keys(s3) == ["k"]


def test_presigned_urls(s3):
    url = s3.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": "k"}, ExpiresIn=60)
    request = urllib.request.Request(url, data=b"by url", method="PUT")
    with urllib.request.urlopen(request, timeout=20) as reply:
        assert reply.status == 200
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"}, ExpiresIn=60)
    with urllib.request.urlopen(url, timeout=20) as reply:
        assert reply.read() == b"by url"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), timeout=20)
    assert caught.value.code == 403


def test_who_may_do_what(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    assert code_of(plain.client(secret="wrong").get_object, Bucket="bucket",
                   Key="k") == ("SignatureDoesNotMatch", 403)
    assert code_of(plain.client(access="nobody").put_object, Bucket="bucket", Key="k2",
                   Body=b"2") == ("InvalidAccessKeyId", 403)
    reader = plain.client(access="reader")
    assert reader.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    assert code_of(reader.put_object, Bucket="bucket", Key="k2", Body=b"2") == ("AccessDenied", 403)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{plain.url}/bucket/k", timeout=20)
    assert caught.value.code == 403
    assert keys(s3) == ["k"]


def test_skyvols_own_keys_are_hidden(plain, s3):
    inner = plain.client(access="inner")
    inner.put_object(Bucket="bucket", Key=".skyvol/volume.json", Body=b"{}")
    s3.put_object(Bucket="bucket", Key="seen", Body=b"")
    assert keys(inner) == [".skyvol/volume.json", "seen"]
    assert keys(s3) == ["seen"]
    assert "CommonPrefixes" not in s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    for call in (s3.delete_object, s3.get_object):
        assert code_of(call, Bucket="bucket", Key=".skyvol/volume.json") == ("AccessDenied", 403)
    assert code_of(s3.put_object, Bucket="bucket", Key=".skyvol/x",
                   Body=b"") == ("AccessDenied", 403)


def test_the_mark_of_a_volume_at_a_prefix_is_not_overwritten(plain, s3):
    """Volumes may share a bucket: each has its own .skyvol/, below its prefix."""
    inner = plain.client(access="inner")
    mark = {"Bucket": "bucket", "Key": "a/b/.skyvol/volume.json"}
    inner.put_object(**mark, Body=b"{}")
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    for call in (s3.put_object, s3.delete_object, s3.create_multipart_upload,
                 lambda **to: s3.copy_object(CopySource="bucket/k", **to)):
        assert code_of(call, **mark) == ("AccessDenied", 403)
    assert code_of(s3.delete_objects, Bucket="bucket",
                   Delete={"Objects": [{"Key": mark["Key"]}]}) == ("AccessDenied", 403)
    assert inner.get_object(**mark)["Body"].read() == b"{}"
    s3.put_object(Bucket="bucket", Key="a/b.skyvol/x", Body=b"")  # only a whole part is ours


def test_a_version_that_is_not_there_is_not_told_deleted(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [
        {"Key": "k", "VersionId": "abc"}, {"Key": "none"}]})
    assert [(e["Key"], e["VersionId"], e["Code"]) for e in answer["Errors"]] == [
        ("k", "abc", "NoSuchVersion")]
    assert [d["Key"] for d in answer["Deleted"]] == ["none"] and keys(s3) == ["k"]
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [
        {"Key": "k", "VersionId": "null"}]})
    assert "Errors" not in answer and keys(s3) == []


def test_no_keys_asked_for_are_no_keys(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    for call in (s3.list_objects_v2, s3.list_objects):
        answer = call(Bucket="bucket", MaxKeys=0)
        assert "Contents" not in answer and answer["IsTruncated"] is False
        assert answer.get("KeyCount", 0) == answer["MaxKeys"] == 0


def test_an_upload_is_completed_once_whoever_tries(plain, s3):
    def complete(upload, etag):
        try:
            plain.client().complete_multipart_upload(
                Bucket="bucket", Key="k", UploadId=upload,
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        except botocore.exceptions.ClientError as why:
            return why.response["Error"]["Code"]
        return "done"

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for _ in range(5):
            upload = s3.create_multipart_upload(Bucket="bucket", Key="k")["UploadId"]
            etag = s3.upload_part(Bucket="bucket", Key="k", UploadId=upload, PartNumber=1,
                                  Body=b"x" * 1000)["ETag"]
            told = sorted(pool.map(complete, [upload] * 6, [etag] * 6))
            # one does it, and all that ask the same get the same answer
            assert set(told) == {"done"}, told
            assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"x" * 1000


def test_skyvol_mount_with_an_ordinary_key_is_told_which_one_it_needs(plain, s3):
    target = plain.directory / "mnt"
    target.mkdir()
    done = subprocess.run(
        [program("skyvol-mount"), "s3://bucket", target, "-f", "-o", f"endpoint={plain.url}"],
        env=dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET), check=False,
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and '"internal": true in its key file' in done.stderr, done
    assert "the option ro does without" in done.stderr


def test_a_changed_credentials_file_is_read_again(plain, s3):
    plain.write_keys([{"access_key": ACCESS, "secret_key": "rotated"}])

    def works(client):
        try:
            client.list_buckets()
        except botocore.exceptions.ClientError:
            return False
        return True
    # Every worker has to have looked, and each of these connections may come to another one.
    wait_until(lambda: all(works(plain.client(secret="rotated")) for _ in range(8)), what="the new secret")
    wait_until(lambda: not any(works(plain.client()) for _ in range(8)), what="the end of the old one")
    assert not works(s3)


@pytest.mark.parametrize("size", [1000, 4 * MIB])
def test_a_body_that_is_not_what_was_signed_leaves_no_object(plain, s3, size):
    url = plain.client().meta.endpoint_url
    body = random.Random(3).randbytes(size)
    request = AWSRequest("PUT", f"{url}/bucket/k", data=body)
    S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=20)
    connection.request("PUT", "/bucket/k", body[:-1] + bytes([body[-1] ^ 1]),
                       dict(request.headers))
    reply = connection.getresponse()
    assert reply.status == 400 and b"XAmzContentSHA256Mismatch" in reply.read()
    assert keys(s3) == []


def test_a_client_that_goes_away_leaves_no_object(plain, s3):
    request = AWSRequest("PUT", f"{plain.url}/bucket/k")
    S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "us-east-1").add_auth(request)
    for sent in (1000, 2 * MIB):
        with socket.create_connection(("127.0.0.1", plain.port), 10) as raw:
            lines = [f"PUT /bucket/k HTTP/1.1\r\nHost: 127.0.0.1:{plain.port}",
                     f"Content-Length: {8 * MIB}"]
            lines += [f"{k}: {v}" for k, v in request.headers.items() if k.lower() != "host"]
            raw.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + bytes(sent))
    s3.put_object(Bucket="bucket", Key="big", Body=bytes(20 * MIB))
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "big"})
    for _ in range(5):
        urllib.request.urlopen(url, timeout=20).close()
    assert keys(s3) == ["big"]
    assert plain.process.poll() is None
    assert "exited on signal" not in plain.process.log.read_text()


def test_what_is_not_there_says_so(s3):
    assert code_of(s3.get_object_torrent, Bucket="bucket", Key="k") == ("NotImplemented", 501)


def test_a_bucket_without_object_lock_is_told_as_one(plain, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    until = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    retention = {"Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": until}}
    locked = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    missing = ("InvalidRequest", 400)  # Bucket is missing Object Lock Configuration
    for client, held, changed in ((s3, missing, ("InvalidBucketState", 409)),
                                  (plain.client("reader"), None, ("AccessDenied", 403))):
        place = {"Bucket": "bucket", "Key": "k"}
        assert code_of(client.get_object_retention, **place) == missing
        assert code_of(client.get_object_legal_hold, **place) == missing
        assert code_of(client.put_object_retention, **place, **retention) == (held or changed)
        assert code_of(client.put_object_legal_hold, **place, LegalHold={"Status": "ON"}) == (held or changed)
        assert code_of(client.put_object_lock_configuration, Bucket="bucket", ObjectLockConfiguration=locked) == changed
    assert code_of(s3.get_object_lock_configuration, Bucket="bucket") == ("ObjectLockConfigurationNotFoundError", 404)
    assert code_of(s3.get_object_retention, Bucket="absent", Key="k") == ("NoSuchBucket", 404)
    for header in ({"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}, {"ObjectLockLegalHoldStatus": "ON"}):
        assert code_of(s3.put_object, Bucket="bucket", Key="held", Body=b"1", **header) == missing
        assert code_of(s3.create_multipart_upload, Bucket="bucket", Key="held", **header) == missing
        assert code_of(s3.copy_object, Bucket="bucket", Key="held", CopySource="bucket/k", **header) == missing
    assert keys(s3) == ["k"]
    assert code_of(s3.create_bucket, Bucket="locked", ObjectLockEnabledForBucket=True) == ("NotImplemented", 501)


def test_what_a_bucket_never_has_is_deleted_all_the_same(plain, s3):
    for name in ("bucket_lifecycle", "bucket_encryption", "bucket_replication", "bucket_website"):
        delete = getattr(s3, f"delete_{name}")
        assert delete(Bucket="bucket")["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert code_of(delete, Bucket="absent") == ("NoSuchBucket", 404)
        assert code_of(getattr(plain.client("reader"), f"delete_{name}"), Bucket="bucket") == ("AccessDenied", 403)


def test_logs_hold_no_query_and_sigterm_ends_it(plain, s3):
    url = s3.generate_presigned_url("list_objects_v2", {"Bucket": "bucket"})
    urllib.request.urlopen(url, timeout=20).close()
    plain.process.send_signal(signal.SIGTERM)
    assert plain.process.wait(20) == 0
    text = plain.process.log.read_text()
    assert '"path":"/bucket"' in text and "X-Amz" not in text and SECRET not in text


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CommandLine:
    """One of the clients that people use: what it is called with, to do what."""

    def __init__(self, name, endpoint, directory):
        self.name, self.directory = name, directory
        path = tool(name)
        ca = str(endpoint.tls[0]) if endpoint.tls else None
        self.environment = os.environ | {
            "HOME": str(directory), "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1"}
        self.environment.pop("AWS_CA_BUNDLE", None)  # rclone cannot start with it
        self.scheme = "s3://"
        if name == "aws":
            self.base = [path, "--endpoint-url", endpoint.url, *(["--ca-bundle", ca] if ca else []),
                         "s3"]
            self.verbs = {"make": ["mb"], "put": ["cp", "--no-progress"],
                          "get": ["cp", "--no-progress"], "list": ["ls"], "remove": ["rm"]}
        elif name == "s3cmd":
            (directory / "s3cfg").write_text(
                f"[default]\naccess_key = {ACCESS}\nsecret_key = {SECRET}\n"
                f"host_base = 127.0.0.1:{endpoint.port}\nhost_bucket = 127.0.0.1:{endpoint.port}\n"
                f"use_https = {bool(ca)}\n" + (f"ca_certs_file = {ca}\n" if ca else ""))
            self.base = [path, "-c", str(directory / "s3cfg"), "--no-progress"]
            self.verbs = {"make": ["mb"], "put": ["put"], "get": ["get", "--force"],
                          "list": ["ls"], "remove": ["del"]}
        else:
            self.environment |= {"RCLONE_CONFIG_X_TYPE": "s3", "RCLONE_CONFIG_X_PROVIDER": "Other",
                                 "RCLONE_CONFIG_X_ENV_AUTH": "true",
                                 "RCLONE_CONFIG_X_ENDPOINT": endpoint.url}
            self.base = [path, "--s3-upload-cutoff", "16M", "--s3-chunk-size", "16M",
                         *(["--ca-cert", ca] if ca else [])]
            self.verbs = {"make": ["mkdir"], "put": ["copyto"], "get": ["copyto"], "list": ["ls"],
                          "remove": ["deletefile"]}
            self.scheme = "x:"

    def run(self, verb, *argv):
        done = subprocess.run([*self.base, *self.verbs[verb], *map(str, argv)], check=False,
                              env=self.environment, timeout=120, capture_output=True, text=True)
        assert done.returncode == 0, (self.name, verb, done.stdout, done.stderr)
        return done.stdout

    def make(self):
        self.run("make", f"{self.scheme}clients")

    def put(self, path, key):
        self.run("put", path, f"{self.scheme}clients/{key}")

    def get(self, key, path):
        self.run("get", f"{self.scheme}clients/{key}", path)

    def list(self):
        return self.run("list", f"{self.scheme}clients/")

    def remove(self, key):
        self.run("remove", f"{self.scheme}clients/{key}")


class Boto3:
    name = "boto3"

    def __init__(self, endpoint):
        self.s3 = endpoint.client()

    def put(self, path, key):
        self.s3.upload_file(str(path), "clients", key)

    def get(self, key, path):
        self.s3.download_file("clients", key, str(path))

    def list(self):
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket="clients").get("Contents", [])]

    def remove(self, key):
        self.s3.delete_object(Bucket="clients", Key=key)


@pytest.mark.parametrize("name", ["aws", "s3cmd", "rclone"])
def test_command_line_clients(endpoint, workdir, name):
    client = CommandLine(name, endpoint, workdir)
    client.make()
    (workdir / "small").write_bytes(random.Random(1).randbytes(1000))
    client.put(workdir / "small", "small")
    client.get("small", workdir / "back")
    assert sha256(workdir / "back") == sha256(workdir / "small")
    assert "small" in client.list()
    client.remove("small")
    assert "small" not in client.list()


def test_what_one_client_writes_another_reads(endpoint, workdir):
    """100 MiB in parts by each of them, read back by the next."""
    clients = [CommandLine(name, endpoint, workdir) for name in ("aws", "s3cmd", "rclone")]
    clients.insert(1, Boto3(endpoint))
    clients[0].make()
    path, back, s3 = workdir / "large", workdir / "back", endpoint.client()
    path.write_bytes(random.Random(1).randbytes(100 * MIB))
    want = sha256(path)
    for writer, reader in zip(clients, clients[1:] + clients[:1]):
        key = f"by-{writer.name}"
        writer.put(path, key)
        head = s3.head_object(Bucket="clients", Key=key)
        parts = int(head["ETag"].strip('"').split("-")[1])
        assert head["ContentLength"] == 100 * MIB and parts > 1, writer.name
        assert key in reader.list()
        reader.get(key, back)
        assert sha256(back) == want, (writer.name, reader.name)
        back.unlink()
        writer.remove(key)
        assert key not in reader.list()
    assert s3.list_multipart_uploads(Bucket="clients").get("Uploads", []) == []


def test_a_bucket_may_stand_in_the_host_name(processes, workdir):
    served = Endpoint(processes, workdir, serve=["--dir", workdir / "store", "--host-suffix",
                                                 "s3.test", "--host-suffix", "other.test"])
    served.client().create_bucket(Bucket="bucket")

    def call(method, host, target, body=b""):
        request = AWSRequest(method, f"http://{host}:{served.port}{target}", data=body)
        S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "us-east-1").add_auth(request)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
        connection.request(method, target, body, dict(request.headers) | {
            "Host": f"{host}:{served.port}"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    assert call("PUT", "bucket.s3.test", "/a/b", b"bytes")[0] == 200
    for host, target in (("bucket.s3.test", "/a/b"), ("bucket.other.test", "/a/b"),
                         ("s3.test", "/bucket/a/b"), ("127.0.0.1", "/bucket/a/b"),
                         ("bucket.s3.other", "/bucket/a/b")):
        assert call("GET", host, target) == (200, b"bytes"), host
    assert b"<Key>a/b</Key>" in call("GET", "bucket.s3.test", "/")[1]
    assert call("GET", "absent.s3.test", "/a/b")[0] == 404
    served.close()


def test_sighup_takes_a_new_certificate_but_no_broken_one(processes, workdir):
    (workdir / "new").mkdir()
    tls = make_certificate(workdir)
    served = Endpoint(processes, workdir, tls)
    served.client().create_bucket(Bucket="bucket")
    address = ("127.0.0.1", served.port)
    for fresh, path in zip(make_certificate(workdir / "new"), tls):
        fresh.rename(path)
    served.process.send_signal(signal.SIGHUP)
    new = tls[0].read_text().split()
    wait_until(lambda: all(ssl.get_server_certificate(address).split() == new for _ in range(8)),
               what="the new certificate from every worker")
    served.client().head_bucket(Bucket="bucket")
    tls[0].write_text("no certificate")
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "emerg" in served.process.log.read_text(), what="a word about it")
    ssl.get_server_certificate(address)  # the old one stays
    served.close()


def test_metrics_and_health_have_a_port_of_their_own(processes, workdir):
    port = free_port()
    served = Endpoint(processes, workdir, serve=["--dir", workdir / "store", "--status",
                                                 f"127.0.0.1:{port}"])
    client = served.client()
    client.create_bucket(Bucket="bucket")
    body = bytes(3 * MIB)
    for key in ("a", "b"):
        client.put_object(Bucket="bucket", Key=key, Body=body)
    client.get_object(Bucket="bucket", Key="a", Range="bytes=-5")["Body"].read()
    assert code_of(client.get_object, Bucket="bucket", Key="c") == ("NoSuchKey", 404)
    assert code_of(served.client(secret="wrong").list_buckets)[1] == 403

    def read(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as reply:
            return reply.read().decode()

    def counted():
        return dict(line.rsplit(" ", 1) for line in read("/metrics").splitlines()
                    if line.startswith("s3_"))
    wait_until(lambda: 's3_requests_total{op="none",status="4xx"}' in counted(),
               what="the last request to be counted")
    now = counted()
    assert now['s3_requests_total{op="put",status="2xx"}'] == "2"
    assert now['s3_requests_total{op="get",status="4xx"}'] == "1"
    assert now['s3_requests_total{op="head",status="2xx"}'] == "1"  # a range from the end
    assert now['s3_requests_total{op="none",status="4xx"}'] == "1"
    assert 2 * len(body) < float(now['s3_received_bytes_total{op="put"}']) < 3 * len(body)
    assert read("/healthz").startswith("ok")
    for path in ("/metrics", "/healthz"):  # on the data port they are but strangers' requests
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{served.url}{path}", timeout=20)
        assert caught.value.code == 403
    served.close()


def test_a_transfer_under_way_outlives_sigterm(plain, s3):
    body = bytes(16 * MIB)
    s3.put_object(Bucket="bucket", Key="big", Body=body)
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "big"})
    with urllib.request.urlopen(url, timeout=20) as reply:
        first = reply.read(1000)
        plain.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listening(plain.port), what="end of listening")
        assert first + reply.read() == body
    assert plain.process.wait(20) == 0

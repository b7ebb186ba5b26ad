# SPDX-License-Identifier: Apache-2.0
"""skyvol-s3 in front of another store, MinIO or another skyvol-s3, and with volumes as buckets."""
import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import urllib.request

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import tool, wait_until
from test_s3 import ACCESS, MIB, SECRET, Endpoint, code_of, keys

STORE_SECRET = "the-secret-of-the-store"


def store_keys(directory, access, secret):
    path = directory / "store-keys.json"
    path.write_text(json.dumps({"access_key": access, "secret_key": secret}))
    path.chmod(0o600)
    return path


@pytest.fixture(params=["minio", "skyvol-s3"])
def behind(request, processes, workdir):
    """A store, a client of its own, and how skyvol-s3 is told to stand in front of it."""
    if request.param == "minio":
        store = request.getfixturevalue("minio")
        yield store.client(), ["--store-endpoint", store.url, "--store-credentials-file",
                               store_keys(workdir, store.access_key, store.secret_key)]
        return
    (workdir / "behind").mkdir()
    store = Endpoint(processes, workdir / "behind", name="behind", more_keys=[
        {"access_key": "behind", "secret_key": STORE_SECRET, "internal": True}])
    yield store.client("behind", STORE_SECRET), [
        "--store-endpoint", store.url, "--store-credentials-file",
        store_keys(workdir, "behind", STORE_SECRET)]
    store.close()


def works(call):
    try:
        call()
    except Exception:
        return False
    return True


@pytest.fixture
def front(behind, processes, workdir):
    served = Endpoint(processes, workdir, serve=["--store", "s3://", *behind[1]])
    yield served
    served.close()


@pytest.fixture
def s3(front):
    client = front.client()
    client.create_bucket(Bucket="bucket")
    return client


@pytest.mark.parametrize("size", [0, 1, MIB + 1, 9 * MIB + 17])
def test_an_object_passes_through_as_it_is(behind, s3, size):
    body = random.Random(size).randbytes(size)
    put = s3.put_object(Bucket="bucket", Key="a b/ü", Body=body, ContentType="x/y",
                        Metadata={"colour": "blue"})
    for client in (s3, behind[0]):
        got = client.get_object(Bucket="bucket", Key="a b/ü")
        assert got["Body"].read() == body and got["ContentType"] == "x/y"
        assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        assert got["Metadata"] == {"colour": "blue"}
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bucket"]
    s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a b/ü"}]})
    assert keys(behind[0]) == []


def test_a_multipart_upload_is_the_stores_own(behind, s3):
    first, last = random.Random(2).randbytes(5 * MIB), b"end"
    s3.put_object(Bucket="bucket", Key="source", Body=first)
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k", Metadata={"a": "b"})["UploadId"]
    where = {"Bucket": "bucket", "Key": "k", "UploadId": upload}
    parts = [{"PartNumber": 1, "ETag": s3.upload_part(PartNumber=1, Body=first, **where)["ETag"]},
             {"PartNumber": 2, "ETag": s3.upload_part_copy(
                 PartNumber=2, CopySource="bucket/source", **where)["CopyPartResult"]["ETag"]},
             {"PartNumber": 3, "ETag": s3.upload_part(PartNumber=3, Body=last, **where)["ETag"]}]
    assert [p["ETag"] for p in behind[0].list_parts(**where)["Parts"]] == [p["ETag"] for p in parts]
    assert [p["PartNumber"] for p in s3.list_parts(**where)["Parts"]] == [1, 2, 3]
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **where)
    sums = b"".join(hashlib.md5(p).digest() for p in (first, first, last))
    assert done["ETag"] == f'"{hashlib.md5(sums).hexdigest()}-3"'
    for client in (s3, behind[0]):
        got = client.get_object(Bucket="bucket", Key="k")
        assert got["Body"].read() == first + first + last and got["ETag"] == done["ETag"]
        assert got["Metadata"] == {"a": "b"}
    assert code_of(s3.upload_part, PartNumber=4, Body=b"", **where) == ("NoSuchUpload", 404)
    other = s3.create_multipart_upload(Bucket="bucket", Key="z")["UploadId"]
    s3.abort_multipart_upload(Bucket="bucket", Key="z", UploadId=other)
    assert behind[0].list_multipart_uploads(Bucket="bucket").get("Uploads", []) == []


def test_ranges_conditions_copies_and_listings(behind, s3):
    body = random.Random(1).randbytes(3 * MIB)
    etag = s3.put_object(Bucket="bucket", Key="d/k", Body=body, IfNoneMatch="*")["ETag"]
    for text, want in (("bytes=0-0", body[:1]), ("bytes=100-", body[100:]),
                       ("bytes=-7", body[-7:])):
        assert s3.get_object(Bucket="bucket", Key="d/k", Range=text)["Body"].read() == want
    assert code_of(s3.get_object, Bucket="bucket", Key="d/k",
                   Range=f"bytes={3 * MIB}-") == ("InvalidRange", 416)
    assert code_of(s3.put_object, Bucket="bucket", Key="d/k", Body=b"2",
                   IfNoneMatch="*") == ("PreconditionFailed", 412)
    assert code_of(s3.get_object, Bucket="bucket", Key="d/k", IfNoneMatch=etag)[1] == 304
    s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/d/k")
    page = s3.list_objects_v2(Bucket="bucket", Delimiter="/")
    assert [p["Prefix"] for p in page["CommonPrefixes"]] == ["d/"]
    assert [o["ETag"] for o in page["Contents"]] == [etag]
    assert code_of(s3.get_object, Bucket="bucket", Key="absent") == ("NoSuchKey", 404)
    assert code_of(s3.list_objects_v2, Bucket="absent") == ("NoSuchBucket", 404)
    assert code_of(s3.delete_bucket, Bucket="bucket") == ("BucketNotEmpty", 409)


def test_a_storage_class_is_the_stores(minio, processes, workdir):
    served = Endpoint(processes, workdir, serve=[
        "--store", "s3://", "--store-endpoint", minio.url, "--store-credentials-file",
        store_keys(workdir, minio.access_key, minio.secret_key)])
    s3, rare = served.client(), {"StorageClass": "REDUCED_REDUNDANCY"}
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="plain", Body=b"1")
    s3.put_object(Bucket="bucket", Key="put", Body=b"1", **rare)
    s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/plain", **rare)
    upload = {"Bucket": "bucket", "Key": "upload"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **rare)["UploadId"]
    tag = s3.upload_part(PartNumber=1, Body=b"1", **upload)["ETag"]
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]},
                                 **upload)
    for key in ("put", "copy", "upload"):
        assert s3.head_object(Bucket="bucket", Key=key)["StorageClass"] == "REDUCED_REDUNDANCY"
    assert "StorageClass" not in s3.head_object(Bucket="bucket", Key="plain")
    assert {o["Key"]: o["StorageClass"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]} == {
        "plain": "STANDARD"} | dict.fromkeys(["put", "copy", "upload"], "REDUCED_REDUNDANCY")
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"", StorageClass="NONE") == (
        "InvalidStorageClass", 400)
    served.close()


@pytest.mark.parametrize("size", [1000, 4 * MIB])
def test_a_body_that_is_not_what_was_signed_never_reaches_the_store(behind, front, s3, size):
    body = random.Random(3).randbytes(size)
    request = AWSRequest("PUT", f"{front.url}/bucket/k", data=body)
    S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
    connection.request("PUT", "/bucket/k", body[:-1] + bytes([body[-1] ^ 1]), dict(request.headers))
    reply = connection.getresponse()
    assert reply.status == 400 and b"XAmzContentSHA256Mismatch" in reply.read()
    connection.close()
    assert keys(behind[0]) == []


def test_the_aws_cli_reads_and_writes_through_it(behind, front, s3, workdir):
    aws = [tool("aws"), "--endpoint-url", front.url, "s3"]
    environment = os.environ | {"HOME": str(workdir), "AWS_ACCESS_KEY_ID": ACCESS,
                                "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}

    def run(*argv):
        done = subprocess.run([*aws, *map(str, argv)], env=environment, timeout=120, check=False,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
    (workdir / "large").write_bytes(random.Random(4).randbytes(20 * MIB))
    run("cp", "--no-progress", workdir / "large", "s3://bucket/large")
    assert "large" in run("ls", "s3://bucket/")
    whole = behind[0].get_object(Bucket="bucket", Key="large")
    assert whole["ETag"].endswith('-3"') or whole["ETag"].endswith('-4"')
    want = hashlib.sha256((workdir / "large").read_bytes()).digest()
    assert hashlib.sha256(whole["Body"].read()).digest() == want
    run("cp", "--no-progress", "s3://bucket/large", workdir / "back")
    assert hashlib.sha256((workdir / "back").read_bytes()).digest() == want
    run("rm", "s3://bucket/large")
    assert keys(behind[0]) == []


def test_the_stores_secret_is_nowhere_but_in_its_file(front, workdir, s3):
    secret = json.loads((workdir / "store-keys.json").read_text())["secret_key"].encode()
    found = [p for p in workdir.rglob("*") if p.is_file() and p.suffix in (".log", ".conf")
             and secret in p.read_bytes()]
    assert found == []
    for status in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        if works(status.read_bytes):
            assert secret not in status.read_bytes()


def test_a_store_that_refuses_our_keys_is_not_the_clients_fault(behind, processes, workdir):
    wrong = workdir / "wrong"
    wrong.mkdir()
    argv = [a if not str(a).endswith(".json") else store_keys(wrong, "behind", "wrong")
            for a in behind[1]]
    served = Endpoint(processes, wrong, serve=["--store", "s3://", *argv], name="wrong")
    assert code_of(served.client().list_buckets) == ("ServiceUnavailable", 503)
    assert code_of(served.client(secret="no").list_buckets) == ("SignatureDoesNotMatch", 403)
    served.close()


@pytest.mark.parametrize("behind", ["skyvol-s3"], indirect=True)
def test_a_store_that_breaks_in_mid_transfer_breaks_that_transfer_only(behind, front, s3, processes):
    body = random.Random(6).randbytes(48 * MIB)
    s3.put_object(Bucket="bucket", Key="k", Body=body)
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"})
    put = s3.generate_presigned_url("put_object", {"Bucket": "bucket", "Key": "new"})
    back = next(p for p in processes.running if p.log.name == "behind.log")
    workers = [int(pid) for pid in subprocess.run(
        ["pgrep", "-g", str(os.getpgid(back.pid)), "-f", "nginx: worker"], capture_output=True,
        text=True, check=False).stdout.split() if descends(int(pid), back.pid)]
    assert workers
    with urllib.request.urlopen(url, timeout=30) as reply:
        first = reply.read(1000)
        with socket.create_connection(("127.0.0.1", front.port), 10) as raw:
            raw.settimeout(30)
            target = put.split(str(front.port), 1)[1]
            raw.sendall(f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{front.port}\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:4 * MIB])
            wait_until(lambda: any(f.is_file() and f.stat().st_size >= MIB for f in
                                   back.log.parent.glob("behind/store/tmp/*/*")),
                       what="the transfer behind")
            for pid in workers:
                os.kill(pid, signal.SIGKILL)  # its nginx starts others
            raw.sendall(body[4 * MIB:5 * MIB])
            assert raw.recv(65536)[:10] == b"HTTP/1.1 5"
        rest = reply.read()  # a GET goes on where it was: lib/objstore asks again
        assert first + rest == body
    assert keys(s3) == ["k"]
    assert "exited on signal" in back.log.read_text()
    back.log.write_text("")  # the test itself did that


def descends(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


def test_sighup_takes_new_keys_of_the_store(behind, processes, workdir):
    right = next(a for a in behind[1] if str(a).endswith(".json")).read_text()
    late = workdir / "late"
    late.mkdir()
    path = store_keys(late, "behind", "wrong")
    argv = [path if str(a).endswith(".json") else a for a in behind[1]]
    served = Endpoint(processes, late, serve=["--store", "s3://", *argv], name="late")
    client = served.client()
    assert code_of(client.list_buckets) == ("ServiceUnavailable", 503)
    path.write_text(right)
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: all(works(client.list_buckets) for _ in range(8)), what="the new keys")
    served.close()


def test_a_store_that_is_away_answers_503(processes, workdir):
    served = Endpoint(processes, workdir, serve=["--store", "s3://", "--store-endpoint",
                                                 "http://127.0.0.1:9"])
    assert code_of(served.client().list_objects_v2, Bucket="bucket")[1] == 503
    served.close()


def test_a_credentials_file_that_others_may_read_is_refused(processes, workdir):
    path = store_keys(workdir, "a", "b")
    path.chmod(0o644)
    with pytest.raises(AssertionError):
        Endpoint(processes, workdir, serve=["--store", "s3://", "--store-credentials-file", path])
    text = (workdir / "skyvol-s3.log").read_text()
    assert "others may read it" in text and str(path) in text


def test_a_volume_is_a_bucket(behind, processes, workdir):
    own, argv = behind
    own.create_bucket(Bucket="real")
    own.put_object(Bucket="real", Key="else/where", Body=b"")
    served = Endpoint(processes, workdir, serve=["--volume", "bucket=s3://real/vol/one", *argv])
    client, inner = served.client(), served.client(access="inner")
    assert [b["Name"] for b in client.list_buckets()["Buckets"]] == ["bucket"]
    client.head_bucket(Bucket="bucket")
    put = client.put_object(Bucket="bucket", Key="d/k", Body=b"bytes")
    inner.put_object(Bucket="bucket", Key=".skyvol/mark", Body=b"")
    assert keys(Renamed(own, "real")) == [
        "else/where", "vol/one/.skyvol/mark", "vol/one/d/k"]
    assert keys(client) == ["d/k"] and keys(inner) == [".skyvol/mark", "d/k"]
    got = client.get_object(Bucket="bucket", Key="d/k")
    assert got["Body"].read() == b"bytes" and got["ETag"] == put["ETag"]
    client.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/d/k")
    upload = client.create_multipart_upload(Bucket="bucket", Key="m")["UploadId"]
    where = {"Bucket": "bucket", "Key": "m", "UploadId": upload}
    part = client.upload_part(PartNumber=1, Body=bytes(5 * MIB), **where)
    client.complete_multipart_upload(
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **where)
    assert own.head_object(Bucket="real", Key="vol/one/m")["ContentLength"] == 5 * MIB
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket="bucket", PaginationConfig={"PageSize": 1})
    assert [o["Key"] for p in pages for o in p.get("Contents", [])] == ["copy", "d/k", "m"]
    for key in (".skyvol/mark", ".skyvol/other"):
        assert code_of(client.get_object, Bucket="bucket", Key=key) == ("AccessDenied", 403)
    assert code_of(client.create_bucket, Bucket="bucket")[0] == "BucketAlreadyOwnedByYou"
    assert code_of(client.create_bucket, Bucket="other")[0] == "AccessDenied"
    assert code_of(client.delete_bucket, Bucket="bucket")[0] == "AccessDenied"
    for name in ("real", "other"):
        assert code_of(client.list_objects_v2, Bucket=name) == ("NoSuchBucket", 404)
        assert code_of(client.copy_object, Bucket="bucket", Key="c",
                       CopySource=f"{name}/else/where")[1] == 501
    client.delete_objects(Bucket="bucket", Delete={"Objects": [
        {"Key": k} for k in ("copy", "d/k", "m")]})
    assert keys(client) == []
    served.close()


class Renamed:
    """keys() looks into "bucket"."""

    def __init__(self, client, name):
        self.client, self.name = client, name

    def list_objects_v2(self, **kwargs):
        return self.client.list_objects_v2(**kwargs | {"Bucket": self.name})


def test_volumes_stand_beside_the_buckets_of_a_store(processes, workdir):
    first = Endpoint(processes, workdir)
    first.client().create_bucket(Bucket="one")
    first.close()
    served = Endpoint(processes, workdir, serve=[
        "--dir", workdir / "store", "--volume", f"vol=dir://{workdir}/store/one/sub"])
    client = served.client()
    assert [b["Name"] for b in client.list_buckets()["Buckets"]] == ["one", "vol"]
    client.put_object(Bucket="vol", Key="k", Body=b"1")
    assert keys(Renamed(client, "one")) == ["sub/k"]
    served.close()


def test_a_file_without_keys_is_not_taken_for_anonymous(workdir, processes):
    path = workdir / "empty.json"
    path.write_text("{}")
    path.chmod(0o600)
    with pytest.raises(AssertionError):
        Endpoint(processes, workdir, serve=["--store", "s3://", "--store-credentials-file", path])
    assert "no access_key and secret_key" in (workdir / "skyvol-s3.log").read_text()

# SPDX-License-Identifier: Apache-2.0
"""Objects: their bytes, their metadata, and that nobody ever sees half of one."""
import datetime
import email.utils
import http.client
import io

import pytest
from botocore.exceptions import ClientError

import common
from common import MIB, body, error, etag_of, ok


def test_object_read_not_exist(s3, bucket):
    assert error(s3.get_object, Bucket=bucket, Key="bar") == ("NoSuchKey", 404)
    assert error(s3.head_object, Bucket=bucket, Key="bar") == ("404", 404)


def test_object_requestid_matches_header_on_error(s3, bucket):
    reply = common.send("GET", f"/{bucket}/bar")
    told = reply.headers["x-amz-request-id"]
    assert told and f"<RequestId>{told}</RequestId>".encode() in reply.text
    assert (reply.code, reply.status) == ("NoSuchKey", 404)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="bar")
    meta = caught.value.response["ResponseMetadata"]
    assert meta["RequestId"] == meta["HTTPHeaders"]["x-amz-request-id"] != told


def test_object_read_unreadable(s3, bucket):
    """A name that is no UTF-8."""
    for name in ("%AE%8A-", "%80", "a%C3"):
        reply = common.send("GET", f"/{bucket}/{name}")
        assert reply.status == 400 and reply.code == "InvalidURI", name
        put = common.send("PUT", f"/{bucket}/{name}", data=b"x")
        assert put.status == 400, name
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_object_head_zero_bytes(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"")
    head = ok(s3.head_object(Bucket=bucket, Key="foo"))
    assert head["ContentLength"] == 0 and head["ETag"] == etag_of(b"")
    assert head["AcceptRanges"] == "bytes" and head["ResponseMetadata"]["HTTPHeaders"]["content-length"] == "0"
    assert body(s3, bucket, "foo") == b""


def test_object_write_check_etag(s3, bucket):
    put = ok(s3.put_object(Bucket=bucket, Key="foo", Body=b"bar"))
    assert put["ETag"] == '"37b51d194a7513e45b56f6524f2d51f2"'
    assert s3.head_object(Bucket=bucket, Key="foo")["ETag"] == put["ETag"]
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] == put["ETag"]


def test_object_write_cache_control(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", CacheControl="public, max-age=14400")
    assert s3.head_object(Bucket=bucket, Key="foo")["CacheControl"] == "public, max-age=14400"
    assert s3.get_object(Bucket=bucket, Key="foo")["CacheControl"] == "public, max-age=14400"


def test_object_write_expires(s3, bucket):
    when = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(hours=2)
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Expires=when)
    for reply in (s3.head_object(Bucket=bucket, Key="foo"), s3.get_object(Bucket=bucket, Key="foo")):
        assert reply["Expires"] == when
        assert email.utils.parsedate_to_datetime(reply["ExpiresString"]) == when
    s3.put_object(Bucket=bucket, Key="bar", Body=b"")
    assert "Expires" not in s3.head_object(Bucket=bucket, Key="bar")


def test_object_write_read_update_read_delete(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    assert body(s3, bucket, "foo") == b"bar"
    s3.put_object(Bucket=bucket, Key="foo", Body=b"soup")
    assert body(s3, bucket, "foo") == b"soup"
    ok(s3.delete_object(Bucket=bucket, Key="foo"), 204)
    assert error(s3.get_object, Bucket=bucket, Key="foo") == ("NoSuchKey", 404)
    ok(s3.delete_object(Bucket=bucket, Key="foo"), 204)


def test_object_write_file(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=io.BytesIO(b"bar"))
    assert body(s3, bucket, "foo") == b"bar"


def test_object_write_with_chunked_transfer_encoding(s3, bucket):
    data = common.pattern(100000)
    path = f"/{bucket}/foo"
    head = common.signed_headers("PUT", path) + [("Transfer-Encoding", "chunked")]
    request = common.Raw("PUT", path, head)
    for i in range(0, len(data), 8192):
        piece = data[i:i + 8192]
        request.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
    request.send(b"0\r\n\r\n")
    reply = request.reply()
    assert reply.status == 200 and reply.headers["etag"] == etag_of(data)
    assert body(s3, bucket, "foo") == data
    hooked = common.with_headers("PutObject", {"Transfer-Encoding": "chunked"}, ["Content-Length"])
    hooked.put_object(Bucket=bucket, Key="bar", Body=b"bar")
    assert body(s3, bucket, "bar") == b"bar"


def test_object_set_get_metadata_none_to_good(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": "mymeta"})
    assert s3.get_object(Bucket=bucket, Key="foo")["Metadata"] == {"meta1": "mymeta"}


def test_object_set_get_metadata_none_to_empty(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": ""})
    assert s3.get_object(Bucket=bucket, Key="foo")["Metadata"] == {"meta1": ""}


def test_object_set_get_metadata_overwrite_to_empty(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": "oldmeta"})
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": ""})
    assert s3.get_object(Bucket=bucket, Key="foo")["Metadata"] == {"meta1": ""}


def test_object_set_get_unicode_metadata(s3, bucket):
    """boto3 refuses it as Metadata; as a header it goes out as UTF-8 and comes in as Latin-1. What is not
    ASCII are bytes to us (RFC 9110, 5.5), which come back as they were sent."""
    for text in ("Hello World\xe9", "\u65e5\u672c"):
        assert common.send("PUT", f"/{bucket}/foo", {"x-amz-meta-meta1": text}).status == 200
        for got in (s3.get_object(Bucket=bucket, Key="foo"), s3.head_object(Bucket=bucket, Key="foo")):
            assert got["Metadata"]["meta1"].encode("latin-1").decode() == text
    hooked = common.with_headers("PutObject", {"x-amz-meta-meta1": "Hello World\xe9"})
    ok(hooked.put_object(Bucket=bucket, Key="foo", Body=b"bar"))
    s3.copy_object(Bucket=bucket, Key="bar", CopySource=f"{bucket}/foo")
    got = s3.head_object(Bucket=bucket, Key="bar")["Metadata"]["meta1"]
    assert got.encode("latin-1").decode() == "Hello World\xe9"


def test_object_metadata_replaced_on_put(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", Metadata={"meta1": "bar"},
                  ContentType="text/x", CacheControl="no-store")
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    got = s3.get_object(Bucket=bucket, Key="foo")
    assert got["Metadata"] == {} and "CacheControl" not in got
    assert got["ContentType"] == "binary/octet-stream"


def test_put_object_ifnonmatch_good(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    hooked = common.with_headers("PutObject", {"If-None-Match": "ABCORZ"})
    ok(hooked.put_object(Bucket=bucket, Key="foo", Body=b"zar"))
    assert body(s3, bucket, "foo") == b"zar"


def test_put_object_ifnonmatch_failed(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")["ETag"]
    for text in (etag, etag.strip('"'), "*"):
        hooked = common.with_headers("PutObject", {"If-None-Match": text})
        assert error(hooked.put_object, Bucket=bucket, Key="foo",
                     Body=b"zar") == ("PreconditionFailed", 412)
    assert body(s3, bucket, "foo") == b"bar"


@pytest.mark.parametrize("given, kept", [
    ("gzip", "gzip"), ("deflate, gzip", "deflate, gzip"), ("gzip, aws-chunked", "gzip"),
    ("aws-chunked, gzip", "gzip"), ("aws-chunked", None), ("aws-chunked, aws-chunked", None),
    ("aws-chunked,gzip,br", "gzip,br"), ("br , aws-chunked,  gzip", "br,  gzip"),
    ("AWS-Chunked", None), ("x-aws-chunked", "x-aws-chunked")])
def test_object_content_encoding_aws_chunked(s3, bucket, given, kept):
    s3.put_object(Bucket=bucket, Key="encoding", Body=b"bytes", ContentEncoding=given)
    found = s3.head_object(Bucket=bucket, Key="encoding").get("ContentEncoding")
    assert found == kept
    assert s3.get_object(Bucket=bucket, Key="encoding")["Body"].read() == b"bytes"


def test_object_put_authenticated(s3, alt, bucket):
    ok(s3.put_object(Bucket=bucket, Key="foo", Body=b"foo"))
    assert error(alt.put_object, Bucket=bucket, Key="foo", Body=b"bar") == ("AccessDenied", 403)
    assert error(alt.get_object, Bucket=bucket, Key="foo") == ("AccessDenied", 403)
    assert body(s3, bucket, "foo") == b"foo"


# ---- Expect: 100-continue ----

def _expecting(bucket, size, user="main"):
    path = f"/{bucket}/foo"
    head = common.signed_headers("PUT", path) if user else [
        ("Host", f"{common.HOST}:{common.PORT}")]
    return common.Raw("PUT", path, [*head, ("Content-Length", str(size)), ("Expect", "100-continue")])


def test_100_continue(s3, bucket):
    refused = _expecting(bucket, 3, user=None)
    reply = refused.reply()
    assert (reply.status, reply.code) == (403, "AccessDenied")  # and no "100" went before it
    taken = _expecting(bucket, 3)
    assert taken.line().startswith(b"HTTP/1.1 100 ")
    taken.send(b"bar")
    assert taken.reply().status == 200
    assert body(s3, bucket, "foo") == b"bar"


def test_100_continue_error_retry(s3, bucket):
    """The first try meets a bucket that is not there; the second, on the connection that is left, works."""
    name = common.new_name()
    assert error(s3.put_object, Bucket=name, Key="foo", Body=b"bar") == ("NoSuchBucket", 404)
    path = f"/{name}/foo"
    connection = http.client.HTTPConnection(common.HOST, common.PORT, timeout=20)
    head = dict(common.signed_headers("PUT", path)) | {"Content-Length": "3", "Expect": "100-continue"}
    connection.request("PUT", path, headers=head)
    reply = connection.getresponse()
    assert reply.status == 404 and b"NoSuchBucket" in reply.read()
    s3.create_bucket(Bucket=name)
    # Whether it was kept or not, what comes next is no body of what went before.
    head = dict(common.signed_headers("PUT", path)) | {"Content-Length": "3"}
    connection.request("PUT", path, body=b"foo", headers=head)
    assert connection.getresponse().status == 200 and body(s3, name, "foo") == b"foo"
    connection.close()
    ok(s3.put_object(Bucket=name, Key="foo", Body=b"bar"))
    assert body(s3, name, "foo") == b"bar"


# ---- atomicity ----

class Meddler(io.RawIOBase):
    """Where a download goes; half way it does something."""

    def __init__(self, half, action):
        self.data, self.half, self.action = bytearray(), half, action

    def write(self, piece):
        self.data += piece
        if self.action and len(self.data) >= self.half:
            action, self.action = self.action, None
            action()
        return len(piece)

    def writable(self):
        return True


def _atomic_read(s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="testobj", Body=b"A" * size)
    got = s3.get_object(Bucket=bucket, Key="testobj")["Body"]
    data = got.read(size // 2)
    common.client("main").put_object(Bucket=bucket, Key="testobj", Body=b"B" * size)
    data += got.read()
    assert data == b"A" * size
    assert body(s3, bucket, "testobj") == b"B" * size
    whole = Meddler(size // 2, lambda: s3.put_object(Bucket=bucket, Key="testobj", Body=b"C" * size))
    s3.download_fileobj(bucket, "testobj", whole)
    assert whole.data in (b"B" * size, b"C" * size)


def test_atomic_read_1mb(s3, bucket):
    _atomic_read(s3, bucket, MIB)


def test_atomic_read_4mb(s3, bucket):
    _atomic_read(s3, bucket, 4 * MIB)


def test_atomic_read_8mb(s3, bucket):
    _atomic_read(s3, bucket, 8 * MIB - 1)


def _atomic_write(s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="testobj", Body=b"A" * size)
    request = common.slow_put(bucket, "testobj", size)
    request.send(b"B" * (size // 2))
    assert body(s3, bucket, "testobj") == b"A" * size
    request.send(b"B" * (size - size // 2))
    assert request.reply().status == 200
    assert body(s3, bucket, "testobj") == b"B" * size


def test_atomic_write_1mb(s3, bucket):
    _atomic_write(s3, bucket, MIB)


def test_atomic_write_4mb(s3, bucket):
    _atomic_write(s3, bucket, 4 * MIB)


def test_atomic_write_8mb(s3, bucket):
    _atomic_write(s3, bucket, 8 * MIB)


def _atomic_dual_write(s3, bucket, size):
    s3.put_object(Bucket=bucket, Key="testobj", Body=b"")
    slow = common.slow_put(bucket, "testobj", size)
    slow.send(b"A" * (size // 2))
    s3.put_object(Bucket=bucket, Key="testobj", Body=b"B" * size)
    assert body(s3, bucket, "testobj") == b"B" * size
    slow.send(b"A" * (size - size // 2))
    assert slow.reply().status == 200
    assert body(s3, bucket, "testobj") == b"A" * size  # who ends last has written last


def test_atomic_dual_write_1mb(s3, bucket):
    _atomic_dual_write(s3, bucket, MIB)


def test_atomic_dual_write_4mb(s3, bucket):
    _atomic_dual_write(s3, bucket, 4 * MIB)


def test_atomic_dual_write_8mb(s3, bucket):
    _atomic_dual_write(s3, bucket, 8 * MIB)

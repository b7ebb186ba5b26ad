# SPDX-License-Identifier: Apache-2.0
"""CopyObject."""
import datetime

import common
from common import MIB, body, error, etag_of, ok


def _copy(s3, bucket, source, key, from_bucket=None, **kwargs):
    return ok(s3.copy_object(Bucket=bucket, Key=key,
                             CopySource={"Bucket": from_bucket or bucket, "Key": source}, **kwargs))


def test_object_copy_zero_size(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"")
    _copy(s3, bucket, "foo123bar", "bar321foo")
    assert s3.get_object(Bucket=bucket, Key="bar321foo")["ContentLength"] == 0


def test_object_copy_16m(s3, bucket):
    data = common.pattern(16 * MIB)
    s3.put_object(Bucket=bucket, Key="obj1", Body=data)
    assert _copy(s3, bucket, "obj1", "obj2")["CopyObjectResult"]["ETag"] == etag_of(data)
    assert body(s3, bucket, "obj2") == data


def test_object_copy_same_bucket(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"foo")
    result = _copy(s3, bucket, "foo123bar", "bar321foo")["CopyObjectResult"]
    assert result["ETag"] == etag_of(b"foo")
    age = datetime.datetime.now(datetime.timezone.utc) - result["LastModified"]
    assert abs(age.total_seconds()) < 60
    assert body(s3, bucket, "bar321foo") == b"foo" and body(s3, bucket, "foo123bar") == b"foo"


def test_object_copy_verify_contenttype(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"foo", ContentType="text/bla")
    _copy(s3, bucket, "foo123bar", "bar321foo")
    got = s3.get_object(Bucket=bucket, Key="bar321foo")
    assert got["Body"].read() == b"foo" and got["ContentType"] == "text/bla"


def test_object_copy_to_itself(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"foo")
    assert error(s3.copy_object, Bucket=bucket, Key="foo123bar",
                 CopySource=f"{bucket}/foo123bar") == ("InvalidRequest", 400)


def test_object_copy_to_itself_with_metadata(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"foo")
    _copy(s3, bucket, "foo123bar", "foo123bar", Metadata={"foo": "bar"}, MetadataDirective="REPLACE")
    got = s3.get_object(Bucket=bucket, Key="foo123bar")
    assert got["Metadata"] == {"foo": "bar"} and got["Body"].read() == b"foo"


def test_object_copy_diff_bucket(s3, bucket):
    other = common.new_bucket()
    s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"foo")
    _copy(s3, other, "foo123bar", "bar321foo", from_bucket=bucket)
    assert body(s3, other, "bar321foo") == b"foo"


def test_object_copy_retaining_metadata(s3, bucket):
    for size in (3, MIB):
        meta = {"key1": "value1", "key2": "value2"}
        s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"x" * size, Metadata=meta,
                      ContentType="audio/ogg")
        _copy(s3, bucket, "foo123bar", "bar321foo")
        got = s3.get_object(Bucket=bucket, Key="bar321foo")
        assert got["ContentType"] == "audio/ogg" and got["Metadata"] == meta
        assert got["ContentLength"] == size


def test_object_copy_replacing_metadata(s3, bucket):
    for size in (3, MIB):
        s3.put_object(Bucket=bucket, Key="foo123bar", Body=b"x" * size, ContentType="audio/ogg",
                      Metadata={"key1": "value1", "key2": "value2"})
        meta = {"key3": "value3", "key2": "value2"}
        _copy(s3, bucket, "foo123bar", "bar321foo", Metadata=meta, MetadataDirective="REPLACE",
              ContentType="audio/mpeg")
        got = s3.get_object(Bucket=bucket, Key="bar321foo")
        assert got["ContentType"] == "audio/mpeg" and got["Metadata"] == meta
        assert got["ContentLength"] == size


def test_object_copy_bucket_not_found(s3, bucket):
    assert error(s3.copy_object, Bucket=bucket, Key="bar321foo",
                 CopySource=f"{common.new_name()}/foo123bar") == ("NoSuchBucket", 404)


def test_object_copy_key_not_found(s3, bucket):
    assert error(s3.copy_object, Bucket=bucket, Key="bar321foo",
                 CopySource=f"{bucket}/foo123bar") == ("NoSuchKey", 404)


def test_copy_object_ifmatch_good(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")["ETag"]
    for text in (etag, etag.strip('"')):
        _copy(s3, bucket, "foo", "bar", CopySourceIfMatch=text)
    assert body(s3, bucket, "bar") == b"bar"


def test_copy_object_ifmatch_failed(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    assert error(s3.copy_object, Bucket=bucket, Key="bar", CopySource=f"{bucket}/foo",
                 CopySourceIfMatch="ABCORZ") == ("PreconditionFailed", 412)
    assert error(s3.head_object, Bucket=bucket, Key="bar")[1] == 404


def test_copy_object_ifnonematch_good(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")
    _copy(s3, bucket, "foo", "bar", CopySourceIfNoneMatch="ABCORZ")
    assert body(s3, bucket, "bar") == b"bar"


def test_copy_object_ifnonematch_failed(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="foo", Body=b"bar")["ETag"]
    assert error(s3.copy_object, Bucket=bucket, Key="bar", CopySource=f"{bucket}/foo",
                 CopySourceIfNoneMatch=etag) == ("PreconditionFailed", 412)

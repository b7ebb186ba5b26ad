# SPDX-License-Identifier: Apache-2.0
"""Conditional reads, writes and deletes."""
import datetime

import common
import pytest
from common import MIB, body, error, ok

EARLY = datetime.datetime(1994, 9, 26, 19, 43, 31, tzinfo=datetime.timezone.utc)
FAILED = ("PreconditionFailed", 412)


def _foo(s3, bucket, data=b"bar"):
    return s3.put_object(Bucket=bucket, Key="foo", Body=data)["ETag"]


def test_get_object_ifmatch_good(s3, bucket):
    etag = _foo(s3, bucket)
    for text in (etag, etag.strip('"'), "*", f'"other", {etag}'):
        assert body(s3, bucket, "foo", IfMatch=text) == b"bar"
    ok(s3.head_object(Bucket=bucket, Key="foo", IfMatch=etag))


def test_get_object_ifmatch_failed(s3, bucket):
    _foo(s3, bucket)
    assert error(s3.get_object, Bucket=bucket, Key="foo", IfMatch='"ABCORZ"') == FAILED
    assert error(s3.head_object, Bucket=bucket, Key="foo", IfMatch='"ABCORZ"')[1] == 412


def test_get_object_ifnonematch_good(s3, bucket):
    """Good for a cache: nothing has changed."""
    etag = _foo(s3, bucket)
    assert error(s3.get_object, Bucket=bucket, Key="foo", IfNoneMatch=etag)[1] == 304
    assert error(s3.head_object, Bucket=bucket, Key="foo", IfNoneMatch=etag)[1] == 304
    reply = common.send("GET", f"/{bucket}/foo", {"If-None-Match": etag})
    assert reply.status == 304 and reply.text == b"" and reply.headers["etag"] == etag
    assert "last-modified" in reply.headers


def test_get_object_ifnonematch_failed(s3, bucket):
    _foo(s3, bucket)
    assert body(s3, bucket, "foo", IfNoneMatch="ABCORZ") == b"bar"


def test_get_object_ifmodifiedsince_good(s3, bucket):
    _foo(s3, bucket)
    assert body(s3, bucket, "foo", IfModifiedSince=EARLY) == b"bar"


def test_get_object_ifmodifiedsince_failed(s3, bucket):
    etag = _foo(s3, bucket)
    when = s3.head_object(Bucket=bucket, Key="foo")["LastModified"]
    assert error(s3.get_object, Bucket=bucket, Key="foo",
                 IfModifiedSince=when + datetime.timedelta(seconds=1))[1] == 304
    assert error(s3.get_object, Bucket=bucket, Key="foo", IfModifiedSince=when)[1] == 304
    # The ETag says more than the time.
    assert body(s3, bucket, "foo", IfNoneMatch='"other"', IfModifiedSince=when) == b"bar"
    assert etag


def test_get_object_ifunmodifiedsince_good(s3, bucket):
    _foo(s3, bucket)
    assert error(s3.get_object, Bucket=bucket, Key="foo", IfUnmodifiedSince=EARLY) == FAILED


def test_get_object_ifunmodifiedsince_failed(s3, bucket):
    etag = _foo(s3, bucket)
    later = datetime.datetime(2100, 9, 26, 19, 43, 31, tzinfo=datetime.timezone.utc)
    assert body(s3, bucket, "foo", IfUnmodifiedSince=later) == b"bar"
    assert body(s3, bucket, "foo", IfUnmodifiedSince=EARLY, IfMatch=etag) == b"bar"


def _put(headers):
    return common.with_headers("PutObject", headers)


def test_put_object_ifmatch_good(s3, bucket):
    etag = _foo(s3, bucket)
    ok(_put({"If-Match": etag.strip('"')}).put_object(Bucket=bucket, Key="foo", Body=b"zar"))
    assert body(s3, bucket, "foo") == b"zar"


def test_put_object_ifmatch_failed(s3, bucket):
    _foo(s3, bucket)
    assert error(_put({"If-Match": '"ABCORZ"'}).put_object, Bucket=bucket, Key="foo", Body=b"zar") == FAILED
    assert body(s3, bucket, "foo") == b"bar"


def test_put_object_ifmatch_overwrite_existed_good(s3, bucket):
    _foo(s3, bucket)
    ok(_put({"If-Match": "*"}).put_object(Bucket=bucket, Key="foo", Body=b"zar"))
    assert body(s3, bucket, "foo") == b"zar"


def test_put_object_ifmatch_nonexisted_failed(s3, bucket):
    for text in ("*", '"37b51d194a7513e45b56f6524f2d51f2"'):
        hooked = _put({"If-Match": text})
        assert error(hooked.put_object, Bucket=bucket, Key="foo", Body=b"bar") == ("NoSuchKey", 404)
    assert error(s3.get_object, Bucket=bucket, Key="foo") == ("NoSuchKey", 404)


def test_put_object_ifnonmatch_nonexisted_good(s3, bucket):
    ok(_put({"If-None-Match": "*"}).put_object(Bucket=bucket, Key="foo", Body=b"bar"))
    assert body(s3, bucket, "foo") == b"bar"


def test_put_object_ifnonmatch_overwrite_existed_failed(s3, bucket):
    _foo(s3, bucket)
    assert error(_put({"If-None-Match": "*"}).put_object, Bucket=bucket, Key="foo", Body=b"zar") == FAILED
    assert body(s3, bucket, "foo") == b"bar"


def test_atomic_conditional_write_1mb(s3, bucket):
    etag = _foo(s3, bucket, b"A" * MIB)
    request = common.slow_put(bucket, "foo", MIB, {"If-Match": etag})
    request.send(b"B" * (MIB // 2))
    assert body(s3, bucket, "foo") == b"A" * MIB
    request.send(b"B" * (MIB // 2))
    assert request.reply().status == 200
    assert body(s3, bucket, "foo") == b"B" * MIB


def test_atomic_dual_conditional_write_1mb(s3, bucket):
    etag = _foo(s3, bucket, b"A" * MIB)
    slow = common.slow_put(bucket, "foo", MIB, {"If-Match": etag})
    slow.send(b"B" * (MIB // 2))
    ok(s3.put_object(Bucket=bucket, Key="foo", Body=b"C" * MIB, IfMatch=etag))
    slow.send(b"B" * (MIB // 2))
    reply = slow.reply()
    assert (reply.code, reply.status) in (FAILED, ("ConditionalRequestConflict", 409))
    assert body(s3, bucket, "foo") == b"C" * MIB


def test_put_object_if_match(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="obj", Body=b"", IfNoneMatch="*")["ETag"]
    assert error(s3.put_object, Bucket=bucket, Key="obj", Body=b"x", IfNoneMatch="*") == FAILED
    assert error(s3.put_object, Bucket=bucket, Key="obj", Body=b"x", IfMatch="badetag") == FAILED
    ok(s3.put_object(Bucket=bucket, Key="obj", Body=b"x", IfMatch=etag))
    assert error(s3.put_object, Bucket=bucket, Key="obj", Body=b"y", IfMatch=etag) == FAILED
    assert error(s3.put_object, Bucket=bucket, Key="none", Body=b"y", IfMatch=etag) == ("NoSuchKey", 404)
    assert body(s3, bucket, "obj") == b"x"


def _versioned(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_put_object_current_if_match(s3, bucket):
    """Conditions are about the current version; a delete marker is none."""
    _versioned(s3, bucket)
    first = s3.put_object(Bucket=bucket, Key="obj", Body=b"1", IfNoneMatch="*")
    second = s3.put_object(Bucket=bucket, Key="obj", Body=b"2", IfMatch=first["ETag"])
    assert error(s3.put_object, Bucket=bucket, Key="obj", Body=b"3", IfMatch=first["ETag"]) == FAILED
    ok(s3.put_object(Bucket=bucket, Key="obj", Body=b"3", IfMatch=second["ETag"]))
    s3.delete_object(Bucket=bucket, Key="obj")
    assert error(s3.put_object, Bucket=bucket, Key="obj", Body=b"4",
                 IfMatch=second["ETag"]) == ("NoSuchKey", 404)
    ok(s3.put_object(Bucket=bucket, Key="obj", Body=b"4", IfNoneMatch="*"))


def test_delete_object_if_match(s3, bucket):
    assert error(s3.delete_object, Bucket=bucket, Key="obj", IfMatch="*") == ("NoSuchKey", 404)
    etag = s3.put_object(Bucket=bucket, Key="obj", Body=b"1")["ETag"]
    assert error(s3.delete_object, Bucket=bucket, Key="obj", IfMatch="badetag") == FAILED
    assert body(s3, bucket, "obj") == b"1"
    ok(s3.delete_object(Bucket=bucket, Key="obj", IfMatch=etag), 204)
    assert error(s3.get_object, Bucket=bucket, Key="obj") == ("NoSuchKey", 404)
    s3.put_object(Bucket=bucket, Key="obj", Body=b"1")
    ok(s3.delete_object(Bucket=bucket, Key="obj", IfMatch="*"), 204)


def test_delete_object_by_size_and_last_modified_time(s3, bucket):
    """Which AWS has for directory buckets only, and other suites want of any."""
    if common.OWNER:
        pytest.skip("not in front of another store")
    which = {"Bucket": bucket, "Key": "obj"}
    for versioned in (False, True):
        if versioned:
            _versioned(s3, bucket)
        ok(s3.put_object(Body=b"123", **which))
        time = s3.head_object(**which)["LastModified"]
        for wrong in ({"IfMatchSize": 4}, {"IfMatchLastModifiedTime": time - datetime.timedelta(days=1)},
                      {"IfMatchSize": 3, "IfMatch": "badetag"},
                      {"IfMatchSize": 4, "IfMatchLastModifiedTime": time}):
            assert error(s3.delete_object, **wrong, **which) == FAILED, wrong
        assert body(s3, bucket, "obj") == b"123"
        ok(s3.delete_object(IfMatchSize=3, IfMatchLastModifiedTime=time, **which), 204)
        assert error(s3.get_object, **which) == ("NoSuchKey", 404)
        for absent in ({"IfMatchSize": 3}, {"IfMatchLastModifiedTime": time}):
            ok(s3.delete_object(**absent, **which), 204)
        assert error(s3.delete_object, IfMatchSize=3, IfMatch="*", **which) == ("NoSuchKey", 404)
    for header in ({"x-amz-if-match-size": "3x"}, {"x-amz-if-match-size": "-3"}, {"x-amz-if-match-last-modified-time": "soon"}):
        hooked = common.fresh()
        hooked.meta.events.register("before-call.s3.DeleteObject",
                                    lambda params, **_: params["headers"].update(header))
        assert error(hooked.delete_object, **which) == ("InvalidArgument", 400), header
    ok(s3.put_object(Body=b"123", **which))
    hooked = common.fresh()
    hooked.meta.events.register("before-call.s3.PutObject",
                                lambda params, **_: params["headers"].update({"x-amz-if-match-size": "3"}))
    assert error(hooked.put_object, Body=b"1", **which) == ("NotImplemented", 501)


def test_delete_object_version_if_match(s3, bucket):
    _versioned(s3, bucket)
    first = s3.put_object(Bucket=bucket, Key="obj", Body=b"1")
    ok(s3.put_object(Bucket=bucket, Key="obj", Body=b"2"))
    which = {"Bucket": bucket, "Key": "obj", "VersionId": first["VersionId"]}
    assert error(s3.delete_object, IfMatch="badetag", **which) == FAILED
    ok(s3.delete_object(IfMatch=first["ETag"], **which), 204)
    assert body(s3, bucket, "obj") == b"2"

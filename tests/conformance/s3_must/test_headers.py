# SPDX-License-Identifier: Apache-2.0
"""Headers that are wrong, empty or missing, in PutObject and CreateBucket."""
import datetime
import email.utils

import pytest
from botocore.auth import S3SigV4Auth

import common
from common import body, error, ok, with_headers

DENIED = ("AccessDenied", 403)


def _create(bucket, add=(), remove=(), event="before-call"):
    """Made and read back."""
    hooked = with_headers("PutObject", add, remove, event)
    ok(hooked.put_object(Bucket=bucket, Key="foo", Body=b"bar"))
    assert body(common.client(), bucket, "foo") == b"bar"


def _refused(bucket, want, add=(), remove=(), event="before-call"):
    hooked = with_headers("PutObject", add, remove, event)
    assert error(hooked.put_object, Bucket=bucket, Key="foo", Body=b"bar") == want
    assert error(common.client().head_object, Bucket=bucket, Key="foo")[1] == 404


def test_object_create_bad_md5_invalid_short(bucket):
    _refused(bucket, ("InvalidDigest", 400), {"Content-MD5": "YWJyYWNhZGFicmE="})


def test_object_create_bad_md5_bad(bucket):
    _refused(bucket, ("BadDigest", 400), {"Content-MD5": "rL0Y20xC+Fzt72VPzMSk2A=="})


def test_object_create_bad_md5_empty(bucket):
    _refused(bucket, ("InvalidDigest", 400), {"Content-MD5": ""})


def test_object_create_bad_md5_none(bucket):
    _create(bucket, remove=["Content-MD5"])


def test_object_create_bad_expect_mismatch(bucket):
    """Anything else than 100-continue asks for what nobody knows: it is not heeded."""
    _create(bucket, {"Expect": "200"})


def test_object_create_bad_expect_empty(bucket):
    _create(bucket, {"Expect": ""})


def test_object_create_bad_expect_none(bucket):
    _create(bucket, remove=["Expect"])


def _raw_put(path, lengths, data=b"bar"):
    head = common.signed_headers("PUT", path) + [("Content-Length", text) for text in lengths]
    request = common.Raw("PUT", path, [*head, ("Connection", "close")])
    request.send(data)
    return request.reply()


def test_object_create_bad_contentlength_empty(s3, bucket):
    assert _raw_put(f"/{bucket}/foo", [""]).status == 400
    assert error(s3.head_object, Bucket=bucket, Key="foo")[1] == 404


def test_object_create_bad_contentlength_negative(s3, bucket):
    assert _raw_put(f"/{bucket}/foo", ["-1"]).status == 400
    assert error(s3.head_object, Bucket=bucket, Key="foo")[1] == 404


def test_object_create_bad_contentlength_none(s3, bucket):
    reply = _raw_put(f"/{bucket}/foo", [], b"")
    assert (reply.code, reply.status) == ("MissingContentLength", 411)
    assert error(s3.head_object, Bucket=bucket, Key="foo")[1] == 404


def test_object_create_bad_contenttype_invalid(s3, bucket):
    _create(bucket, {"Content-Type": "text/plain"})
    assert s3.head_object(Bucket=bucket, Key="foo")["ContentType"] == "text/plain"
    _create(bucket, {"Content-Type": "no type at all"})


def test_object_create_bad_contenttype_empty(s3, bucket):
    _create(bucket, {"Content-Type": ""})
    assert s3.head_object(Bucket=bucket, Key="foo")["ContentType"] == "binary/octet-stream"


def test_object_create_bad_contenttype_none(s3, bucket):
    _create(bucket, remove=["Content-Type"])
    assert s3.head_object(Bucket=bucket, Key="foo")["ContentType"] == "binary/octet-stream"


def test_object_create_bad_authorization_empty(bucket):
    _refused(bucket, DENIED, {"Authorization": ""}, event="before-send")


def test_object_create_bad_authorization_none(bucket):
    _refused(bucket, DENIED, remove=["Authorization"], event="before-send")


def test_object_create_date_and_amz_date(bucket):
    now = email.utils.formatdate(usegmt=True)
    _create(bucket, {"Date": now, "X-Amz-Date": now})


def test_object_create_amz_date_and_no_date(bucket):
    _create(bucket, {"Date": "", "X-Amz-Date": email.utils.formatdate(usegmt=True)})
    # Both, and only one of them signed: that one counts.
    _create(bucket, {"Date": "Tue, 07 Jul 2009 21:53:04 GMT"}, event="before-send")


def test_a_date_that_is_old_or_none_is_refused(monkeypatch, bucket):
    """The header Date alone may say when a request was signed; its age counts as that of x-amz-date."""
    old = email.utils.format_datetime(
        datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=20), usegmt=True)

    def dated(text):
        def change(self, request):
            stamp = email.utils.parsedate_to_datetime(text)
            request.context["timestamp"] = stamp.strftime("%Y%m%dT%H%M%SZ")
            for name in ("Date", "X-Amz-Date"):
                del request.headers[name]
            request.headers["Date"] = text
        return change

    monkeypatch.setattr(S3SigV4Auth, "_set_necessary_date_headers", dated(old), raising=False)
    reply = common.send("PUT", f"/{bucket}/foo", data=b"x")
    assert (reply.code, reply.status) == ("RequestTimeTooSkewed", 403)


def _bucket(want, add=(), remove=(), event="before-call"):
    name = common.new_name()
    hooked = with_headers("CreateBucket", add, remove, event)
    if want is None:
        ok(hooked.create_bucket(Bucket=name))
        ok(common.client().head_bucket(Bucket=name))
    else:
        assert error(hooked.create_bucket, Bucket=name) == want
        assert error(common.client().head_bucket, Bucket=name)[1] == 404


def test_bucket_create_contentlength_none():
    _bucket(None, remove=["Content-Length"])
    _bucket(None, remove=["Content-Length"], event="before-send")


def test_bucket_create_bad_expect_mismatch():
    _bucket(None, {"Expect": "200"})


def test_bucket_create_bad_expect_empty():
    _bucket(None, {"Expect": ""})


def _raw_bucket(lengths, status):
    path = f"/{common.new_name()}"
    assert _raw_put(path, lengths, b"").status == status
    assert error(common.client().head_bucket, Bucket=path[1:])[1] == (200 if status == 200 else 404)


def test_bucket_create_bad_contentlength_empty():
    _raw_bucket([""], 400)


def test_bucket_create_bad_contentlength_negative():
    _raw_bucket(["-1"], 400)


def test_bucket_create_bad_contentlength_none(s3):
    path = f"/{common.new_name()}"
    assert _raw_put(path, [], b"").status == 200
    ok(s3.head_bucket(Bucket=path[1:]))


def test_bucket_create_bad_authorization_empty():
    _bucket(DENIED, {"Authorization": ""}, event="before-send")


def test_bucket_create_bad_authorization_none():
    _bucket(DENIED, remove=["Authorization"], event="before-send")


@pytest.mark.parametrize("text", ["AWS4-HMAC-SHA256", "Basic dGVzdDp0ZXN0", "AWS4-HMAC-SHA256 nonsense"])
def test_an_authorization_that_is_none_is_refused(text, bucket):
    hooked = with_headers("PutObject", {"Authorization": text}, event="before-send")
    assert error(hooked.put_object, Bucket=bucket, Key="foo",
                 Body=b"bar")[1] == 400

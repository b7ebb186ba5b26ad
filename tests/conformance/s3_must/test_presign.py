# SPDX-License-Identifier: Apache-2.0
"""Presigned URLs; the bucket is nobody else's."""
import urllib.parse

import common
from common import body, error


def _url(s3, call, bucket, seconds, **more):
    return urllib.parse.urlsplit(s3.generate_presigned_url(
        call, {"Bucket": bucket, "Key": "foo", **more}, ExpiresIn=seconds))


def _fetch(method, url, data=b""):
    request = common.Raw(method, f"{url.path}?{url.query}", [
        ("Host", url.netloc), ("Content-Length", str(len(data)))])
    request.send(data)
    return request.reply()


def test_object_raw_get_x_amz_expires_not_expired(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"foo")
    reply = _fetch("GET", _url(s3, "get_object", bucket, 100000))
    assert reply.status == 200 and reply.text == b"foo"
    assert _fetch("HEAD", _url(s3, "get_object", bucket, 100000)).status == 403
    put = _fetch("PUT", _url(s3, "put_object", bucket, 100), b"bar")
    assert put.status == 200 and body(s3, bucket, "foo") == b"bar"
    typed = _fetch("GET", _url(s3, "get_object", bucket, 100, ResponseContentType="foo/bar",
                               ResponseContentDisposition="bla", ResponseExpires=123))
    assert typed.headers["content-type"] == "foo/bar" and typed.headers["content-disposition"] == "bla"
    assert typed.headers["expires"] == "Thu, 01 Jan 1970 00:02:03 GMT"


def test_object_raw_put_authenticated_expired(s3, bucket):
    """What says of itself that it was over before it began is a wrong argument; what is over is refused."""
    for seconds in (-1000, 0, 604801):
        reply = _fetch("PUT", _url(s3, "put_object", bucket, seconds), b"foo")
        assert (reply.code, reply.status) == ("AuthorizationQueryParametersError", 400), seconds
    assert error(s3.head_object, Bucket=bucket, Key="foo")[1] == 404

# SPDX-License-Identifier: Apache-2.0
"""Tags of buckets and objects."""
import base64
import datetime
import hashlib
import hmac
import json

import common
from common import body, error, ok


def _tags(count, key=8, value=8):
    return {"TagSet": [{"Key": f"{i:x}".rjust(key, "k"), "Value": f"{i:x}".rjust(value, "v")}
                       for i in range(count)]}


def _sorted(tags):
    return sorted(tags, key=lambda t: t["Key"])


def _get(s3, bucket, key="foo"):
    return _sorted(ok(s3.get_object_tagging(Bucket=bucket, Key=key))["TagSet"])


def _put(s3, bucket, tags):
    return s3.put_object_tagging(Bucket=bucket, Key="foo", Tagging=tags)


def _foo(s3, bucket, **kwargs):
    return s3.put_object(Bucket=bucket, Key="foo", Body=b"bar", **kwargs)


def test_set_bucket_tagging(s3, bucket):
    assert error(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)
    tags = {"TagSet": [{"Key": "Hello", "Value": "World"}]}
    ok(s3.put_bucket_tagging(Bucket=bucket, Tagging=tags), 204)
    assert ok(s3.get_bucket_tagging(Bucket=bucket))["TagSet"] == tags["TagSet"]
    ok(s3.delete_bucket_tagging(Bucket=bucket), 204)
    assert error(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)


def test_set_multipart_tagging(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="foo", Tagging="Hello=World&foo=bar")["UploadId"]
    which = {"Bucket": bucket, "Key": "foo", "UploadId": upload}
    etag = s3.upload_part(PartNumber=1, Body=b"x", **which)["ETag"]
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]}, **which)
    assert _get(s3, bucket) == [{"Key": "Hello", "Value": "World"}, {"Key": "foo", "Value": "bar"}]
    ok(s3.delete_object_tagging(Bucket=bucket, Key="foo"), 204)
    assert _get(s3, bucket) == []


def test_get_obj_tagging(s3, bucket):
    _foo(s3, bucket)
    assert _get(s3, bucket) == []
    tags = _tags(2)
    ok(_put(s3, bucket, tags))
    assert _get(s3, bucket) == _sorted(tags["TagSet"])
    assert error(s3.get_object_tagging, Bucket=bucket, Key="none") == ("NoSuchKey", 404)


def test_get_obj_head_tagging(s3, bucket):
    _foo(s3, bucket)
    assert "x-amz-tagging-count" not in s3.head_object(
        Bucket=bucket, Key="foo")["ResponseMetadata"]["HTTPHeaders"]
    _put(s3, bucket, _tags(2))
    headers = s3.head_object(Bucket=bucket, Key="foo")["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-tagging-count"] == "2"
    assert s3.get_object(Bucket=bucket, Key="foo")["TagCount"] == 2


def test_put_max_tags(s3, bucket):
    _foo(s3, bucket)
    ok(_put(s3, bucket, _tags(10)))
    assert _get(s3, bucket) == _sorted(_tags(10)["TagSet"])


def _refused(s3, bucket, tags):
    _foo(s3, bucket)
    assert error(_put, s3, bucket, tags) == ("InvalidTag", 400)
    assert _get(s3, bucket) == []


def test_put_excess_tags(s3, bucket):
    _refused(s3, bucket, _tags(11))


def test_put_excess_key_tags(s3, bucket):
    _refused(s3, bucket, _tags(10, key=129))


def test_put_excess_val_tags(s3, bucket):
    _refused(s3, bucket, _tags(10, value=257))


def test_put_max_kvsize_tags(s3, bucket):
    _foo(s3, bucket)
    ok(_put(s3, bucket, _tags(10, key=128, value=256)))
    assert _get(s3, bucket) == _sorted(_tags(10, key=128, value=256)["TagSet"])


def test_put_modify_tags(s3, bucket):
    _foo(s3, bucket)
    _put(s3, bucket, {"TagSet": [{"Key": "key", "Value": "val"}, {"Key": "key2", "Value": "val2"}]})
    _put(s3, bucket, {"TagSet": [{"Key": "key3", "Value": "val3"}]})
    assert _get(s3, bucket) == [{"Key": "key3", "Value": "val3"}]
    assert body(s3, bucket, "foo") == b"bar"


def test_put_delete_tags(s3, bucket):
    _foo(s3, bucket)
    _put(s3, bucket, _tags(5))
    ok(s3.delete_object_tagging(Bucket=bucket, Key="foo"), 204)
    assert _get(s3, bucket) == []


def test_put_obj_with_tags(s3, bucket):
    _foo(s3, bucket, Tagging="bar=&foo=bar%20b%2Bz")
    assert _get(s3, bucket) == [{"Key": "bar", "Value": ""}, {"Key": "foo", "Value": "bar b+z"}]
    hooked = common.with_headers("PutObject", {"x-amz-tagging": "foo=bar&bar"})
    ok(hooked.put_object(Bucket=bucket, Key="foo", Body=b"bar"))
    assert _get(s3, bucket) == [{"Key": "bar", "Value": ""}, {"Key": "foo", "Value": "bar"}]


def test_post_object_tags_authenticated_request(s3, bucket):
    """By a form whose policy is signed as browsers' forms once were, and as they are now."""
    tags = _tags(2)
    xml = "<Tagging><TagSet>" + "".join(
        f"<Tag><Key>{t['Key']}</Key><Value>{t['Value']}</Value></Tag>" for t in tags["TagSet"]
    ) + "</TagSet></Tagging>"
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=10)
    policy = base64.b64encode(json.dumps({
        "expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "conditions": [{"bucket": bucket}, ["starts-with", "$key", "foo"], {"acl": "private"},
                       ["starts-with", "$Content-Type", "text/plain"],
                       ["content-length-range", 0, 1024], ["starts-with", "$tagging", ""]]}).encode())
    user = common.USERS["main"]
    signature = base64.b64encode(hmac.new(user.secret.encode(), policy, hashlib.sha1).digest())
    fields = [("key", "foo.txt"), ("AWSAccessKeyId", user.access), ("acl", "private"),
              ("signature", signature.decode()), ("policy", policy.decode()), ("tagging", xml),
              ("Content-Type", "text/plain"), ("file", "bar")]
    form = "".join(f'--edge\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'
                   for n, v in fields) + "--edge--\r\n"
    request = common.Raw("POST", f"/{bucket}", [
        ("Host", f"{common.HOST}:{common.PORT}"), ("Content-Length", str(len(form))),
        ("Content-Type", "multipart/form-data; boundary=edge")])
    request.send(form.encode())
    reply = request.reply()
    assert reply.status == 204, reply.text
    assert body(s3, bucket, "foo.txt") == b"bar"
    assert _get(s3, bucket, "foo.txt") == _sorted(tags["TagSet"])

# SPDX-License-Identifier: Apache-2.0
"""Buckets: making, naming, finding and removing them."""
import datetime

import pytest

import common
from common import error, new_bucket, new_name, ok


def test_bucket_notexist(s3):
    assert error(s3.list_objects, Bucket=new_name()) == ("NoSuchBucket", 404)


def test_bucketv2_notexist(s3):
    assert error(s3.list_objects_v2, Bucket=new_name()) == ("NoSuchBucket", 404)


def test_bucket_delete_notexist(s3):
    assert error(s3.delete_bucket, Bucket=new_name()) == ("NoSuchBucket", 404)


def test_bucket_delete_nonempty(s3, bucket):
    s3.put_object(Bucket=bucket, Key="foo", Body=b"x")
    assert error(s3.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409)
    assert common.body(s3, bucket, "foo") == b"x"


def test_object_write_to_nonexist_bucket(s3):
    name = new_name()
    assert error(s3.put_object, Bucket=name, Key="foo", Body=b"bar") == ("NoSuchBucket", 404)
    assert error(s3.head_bucket, Bucket=name)[1] == 404


def test_bucket_create_delete(s3):
    name = new_name()
    made = ok(s3.create_bucket(Bucket=name))
    assert made["Location"] == f"/{name}"
    ok(s3.delete_bucket(Bucket=name), 204)
    assert error(s3.delete_bucket, Bucket=name) == ("NoSuchBucket", 404)


def test_bucket_head(s3, bucket):
    head = ok(s3.head_bucket(Bucket=bucket))
    assert head["BucketRegion"] == "us-east-1"


def test_bucket_head_notexist(s3):
    assert error(s3.head_bucket, Bucket=new_name()) == ("404", 404)
    reply = common.send("HEAD", f"/{new_name()}")
    assert reply.status == 404 and reply.text == b""


def _refused(name):
    """As it goes over the wire: boto3 itself would not send it."""
    reply = common.send("PUT", f"/{name}")
    assert (reply.code, reply.status) == ("InvalidBucketName", 400)
    assert reply.headers["content-type"] == "application/xml"


def test_bucket_create_naming_bad_short_one():
    _refused("a")


def test_bucket_create_naming_bad_short_two():
    _refused("aa")


def test_bucket_create_naming_dns_underscore():
    _refused("foo_bar")


def test_bucket_create_naming_dns_dash_at_end():
    _refused("foo-")


def test_bucket_create_naming_dns_dot_dot():
    _refused("foo..bar")


def test_bucket_create_naming_dns_dot_dash():
    _refused("foo.-bar")


def test_bucket_create_naming_dns_dash_dot():
    _refused("foo-.bar")


def _accepted(s3, name):
    ok(s3.create_bucket(Bucket=name))
    ok(s3.put_object(Bucket=name, Key="k", Body=b""))
    ok(s3.delete_object(Bucket=name, Key="k"), 204)
    ok(s3.delete_bucket(Bucket=name), 204)


def test_bucket_create_naming_dns_long(s3):
    _accepted(s3, (new_name() + "a" * 63)[:61])


def test_bucket_create_naming_good_long_63(s3):
    _accepted(s3, (new_name() + "a" * 63)[:63])
    _refused((new_name() + "a" * 63)[:64])


def test_bucket_create_naming_good_starts_alpha(s3):
    _accepted(s3, "a" + new_name())


def test_bucket_create_naming_good_starts_digit(s3):
    _accepted(s3, "0" + new_name())


def test_bucket_create_naming_good_contains_period(s3):
    _accepted(s3, new_name() + ".111")


def test_bucket_create_naming_good_contains_hyphen(s3):
    _accepted(s3, new_name() + "-111")


def test_bucket_create_exists(s3, alt, bucket):
    ok(s3.create_bucket(Bucket=bucket))  # us-east-1 alone says yes to its owner again
    assert error(alt.create_bucket, Bucket=bucket) == ("BucketAlreadyExists", 409)


def test_bucket_get_location(s3, bucket):
    assert ok(s3.get_bucket_location(Bucket=bucket))["LocationConstraint"] is None
    reply = common.send("GET", f"/{bucket}?location")
    assert b"<LocationConstraint" in reply.text and b"us-east-1" not in reply.text
    assert error(s3.get_bucket_location, Bucket=new_name()) == ("NoSuchBucket", 404)


def test_bucket_recreate_not_overriding(s3, bucket):
    common.fill(s3, bucket, ["mykey1", "mykey2"])
    ok(s3.create_bucket(Bucket=bucket))
    assert [o["Key"] for o in s3.list_objects(Bucket=bucket)["Contents"]] == ["mykey1", "mykey2"]


def test_buckets_create_then_list(s3, alt):
    names = sorted(new_bucket() for _ in range(5))
    reply = ok(s3.list_buckets())
    found = [b["Name"] for b in reply["Buckets"]]
    assert found == sorted(found) and set(names) <= set(found)
    assert reply["Owner"]["ID"] == common.USERS["main"].account
    assert reply["Owner"]["DisplayName"] == common.USERS["main"].name
    assert not set(names) & {b["Name"] for b in alt.list_buckets()["Buckets"]}


def test_buckets_list_ctime(s3):
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=2)
    names = {new_bucket() for _ in range(3)}
    times = [b["CreationDate"] for b in s3.list_buckets()["Buckets"] if b["Name"] in names]
    after = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    assert len(times) == 3 and all(before <= t <= after for t in times)


def test_list_buckets_invalid_auth():
    assert error(common.fresh("nobody").list_buckets) == ("InvalidAccessKeyId", 403)


def test_list_buckets_bad_auth():
    assert error(common.fresh("main", secret="bad").list_buckets) == ("SignatureDoesNotMatch", 403)


@pytest.fixture
def pager():
    """A user who has nothing else."""
    s3 = common.client("pager")
    for b in s3.list_buckets()["Buckets"]:
        s3.delete_bucket(Bucket=b["Name"])
    return s3


def test_list_buckets_paginated(pager):
    reply = ok(pager.list_buckets(MaxBuckets=1))
    assert reply["Buckets"] == [] and "ContinuationToken" not in reply
    first, second, third = sorted(new_name() for _ in range(3))
    pager.create_bucket(Bucket=first)
    reply = pager.list_buckets(MaxBuckets=1)
    assert [b["Name"] for b in reply["Buckets"]] == [first] and "ContinuationToken" not in reply
    pager.create_bucket(Bucket=second)
    pager.create_bucket(Bucket=third)
    found, token = [], {}
    for _ in range(3):
        reply = pager.list_buckets(MaxBuckets=1, **token)
        found += [b["Name"] for b in reply["Buckets"]]
        token = {"ContinuationToken": reply.get("ContinuationToken")}
    assert found == [first, second, third] and token == {"ContinuationToken": None}
    reply = pager.list_buckets(Prefix=second)
    assert [b["Name"] for b in reply["Buckets"]] == [second] and reply["Prefix"] == second
    for number in ("0", "10001", "x", "-1"):
        answer = common.send("GET", f"/?max-buckets={number}", user="pager")
        assert (answer.code, answer.status) == ("InvalidArgument", 400), number

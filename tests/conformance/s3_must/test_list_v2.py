# SPDX-License-Identifier: Apache-2.0
"""ListObjectsV2. What both versions answer alike is in list_cases.py."""
import common
import list_cases as cases
from listing import keys_of, listing


def test_bucket_listv2_fetchowner_notempty(s3, bucket):
    common.fill(s3, bucket, ["foo/bar", "foo/baz", "quux"])
    reply = listing(s3, 2, bucket, FetchOwner=True)[2]
    assert all("Owner" in o for o in reply["Contents"])


def test_bucket_listv2_fetchowner_defaultempty(s3, bucket):
    common.fill(s3, bucket, ["foo/bar", "foo/baz", "quux"])
    assert not [o for o in listing(s3, 2, bucket)[2]["Contents"] if "Owner" in o]


def test_bucket_listv2_fetchowner_empty(s3, bucket):
    common.fill(s3, bucket, ["foo/bar", "foo/baz", "quux"])
    assert not [o for o in listing(s3, 2, bucket, FetchOwner=False)[2]["Contents"] if "Owner" in o]


def test_bucket_listv2_continuationtoken(s3, bucket):
    common.fill(s3, bucket, cases.QUARTET)
    token = listing(s3, 2, bucket, MaxKeys=1)[2]["NextContinuationToken"]
    keys, _, reply = listing(s3, 2, bucket, ContinuationToken=token)
    assert keys == cases.QUARTET[1:] and reply["IsTruncated"] is False
    assert reply["ContinuationToken"] == token
    assert common.error(s3.list_objects_v2, Bucket=bucket,
                        ContinuationToken="not one of ours") == ("InvalidArgument", 400)


def test_bucket_listv2_continuationtoken_empty(s3, bucket):
    common.fill(s3, bucket, cases.QUARTET)
    keys, _, reply = listing(s3, 2, bucket, ContinuationToken="")
    assert keys == cases.QUARTET and reply["ContinuationToken"] == "" and reply["IsTruncated"] is False


def test_bucket_listv2_both_continuationtoken_startafter(s3, bucket):
    common.fill(s3, bucket, cases.QUARTET)
    token = listing(s3, 2, bucket, StartAfter="bar", MaxKeys=1)[2]["NextContinuationToken"]
    keys, _, reply = listing(s3, 2, bucket, StartAfter="bar", ContinuationToken=token)
    assert keys == ["foo", "quxx"] and reply["IsTruncated"] is False


def test_bucket_listv2_startafter_unreadable(s3, bucket):
    cases.after_unreadable(s3, 2, bucket, "StartAfter")


def test_bucket_listv2_startafter_not_in_list(s3, bucket):
    cases.after_not_in_list(s3, 2, bucket, "StartAfter")


def test_bucket_listv2_startafter_after_list(s3, bucket):
    cases.after_all(s3, 2, bucket, "StartAfter")


def test_bucket_listv2_many(s3, bucket):
    cases.many(s3, 2, bucket)


def test_bucket_listv2_encoding_basic(s3, bucket):
    cases.encoding_basic(s3, 2, bucket)


def test_bucket_listv2_delimiter_basic(s3, bucket):
    cases.delimiter_basic(s3, 2, bucket)


def test_bucket_listv2_delimiter_prefix(s3, bucket):
    cases.delimiter_prefix(s3, 2, bucket)


def test_bucket_listv2_delimiter_prefix_ends_with_delimiter(s3, bucket):
    cases.delimiter_prefix_ends_with_delimiter(s3, 2, bucket)


def test_bucket_listv2_delimiter_alt(s3, bucket):
    cases.delimiter_alt(s3, 2, bucket)


def test_bucket_listv2_delimiter_prefix_underscore(s3, bucket):
    cases.delimiter_prefix_underscore(s3, 2, bucket)


def test_bucket_listv2_delimiter_percentage(s3, bucket):
    cases.delimiter_percentage(s3, 2, bucket)


def test_bucket_listv2_delimiter_whitespace(s3, bucket):
    cases.delimiter_whitespace(s3, 2, bucket)


def test_bucket_listv2_delimiter_dot(s3, bucket):
    cases.delimiter_dot(s3, 2, bucket)


def test_bucket_listv2_delimiter_unreadable(s3, bucket):
    cases.delimiter_unreadable(s3, 2, bucket)


def test_bucket_listv2_delimiter_empty(s3, bucket):
    cases.delimiter_empty(s3, 2, bucket)


def test_bucket_listv2_delimiter_none(s3, bucket):
    cases.delimiter_none(s3, 2, bucket)


def test_bucket_listv2_delimiter_not_exist(s3, bucket):
    cases.delimiter_not_exist(s3, 2, bucket)


def test_bucket_listv2_prefix_basic(s3, bucket):
    cases.prefix_basic(s3, 2, bucket)


def test_bucket_listv2_prefix_alt(s3, bucket):
    cases.prefix_alt(s3, 2, bucket)


def test_bucket_listv2_prefix_empty(s3, bucket):
    cases.prefix_empty(s3, 2, bucket)


def test_bucket_listv2_prefix_none(s3, bucket):
    cases.prefix_none(s3, 2, bucket)


def test_bucket_listv2_prefix_not_exist(s3, bucket):
    cases.prefix_not_exist(s3, 2, bucket)


def test_bucket_listv2_prefix_unreadable(s3, bucket):
    cases.prefix_unreadable(s3, 2, bucket)


def test_bucket_listv2_prefix_delimiter_basic(s3, bucket):
    cases.prefix_delimiter_basic(s3, 2, bucket)


def test_bucket_listv2_prefix_delimiter_alt(s3, bucket):
    cases.prefix_delimiter_alt(s3, 2, bucket)


def test_bucket_listv2_prefix_delimiter_prefix_not_exist(s3, bucket):
    cases.prefix_delimiter_prefix_not_exist(s3, 2, bucket)


def test_bucket_listv2_prefix_delimiter_delimiter_not_exist(s3, bucket):
    cases.prefix_delimiter_delimiter_not_exist(s3, 2, bucket)


def test_bucket_listv2_prefix_delimiter_prefix_delimiter_not_exist(s3, bucket):
    cases.prefix_delimiter_prefix_delimiter_not_exist(s3, 2, bucket)


def test_bucket_listv2_maxkeys_one(s3, bucket):
    cases.maxkeys_one(s3, 2, bucket)


def test_bucket_listv2_maxkeys_zero(s3, bucket):
    cases.maxkeys_zero(s3, 2, bucket)


def test_bucket_listv2_maxkeys_none(s3, bucket):
    cases.maxkeys_none(s3, 2, bucket)

# SPDX-License-Identifier: Apache-2.0
"""ListObjects (version 1). What both versions answer alike is in list_cases.py."""
import common
import list_cases as cases
from listing import keys_of, listing


def test_basic_key_count(s3, bucket):
    common.fill(s3, bucket, [str(i) for i in range(5)])
    keys, _, reply = listing(s3, 2, bucket)
    assert len(keys) == reply["KeyCount"] == 5


def test_bucket_list_empty(s3, bucket):
    keys, prefixes, reply = listing(s3, 1, bucket)
    assert (keys, prefixes, reply["IsTruncated"]) == ([], [], False) and "Contents" not in reply


def test_bucket_list_distinct(s3, bucket):
    other = common.new_bucket()
    s3.put_object(Bucket=bucket, Key="asdf", Body=b"asdf")
    assert keys_of(s3, 1, bucket) == ["asdf"] and keys_of(s3, 1, other) == []


def test_bucket_list_special_prefix(s3, bucket):
    names = ["_bla/1", "_bla/2", "_bla/3", "_bla/4", "abcd"]
    common.fill(s3, bucket, names)
    assert keys_of(s3, 1, bucket) == names and keys_of(s3, 1, bucket, Prefix="_bla/") == names[:4]


def test_bucket_list_marker_none(s3, bucket):
    common.fill(s3, bucket, cases.QUARTET)
    assert listing(s3, 1, bucket)[2]["Marker"] == ""


def test_bucket_list_marker_empty(s3, bucket):
    common.fill(s3, bucket, cases.QUARTET)
    keys, _, reply = listing(s3, 1, bucket, Marker="")
    assert keys == cases.QUARTET and reply["Marker"] == "" and reply["IsTruncated"] is False


def test_bucket_list_marker_unreadable(s3, bucket):
    cases.after_unreadable(s3, 1, bucket, "Marker")


def test_bucket_list_marker_not_in_list(s3, bucket):
    cases.after_not_in_list(s3, 1, bucket, "Marker")


def test_bucket_list_marker_after_list(s3, bucket):
    cases.after_all(s3, 1, bucket, "Marker")


def test_bucket_list_many(s3, bucket):
    cases.many(s3, 1, bucket)


def test_bucket_list_encoding_basic(s3, bucket):
    cases.encoding_basic(s3, 1, bucket)


def test_bucket_list_delimiter_basic(s3, bucket):
    cases.delimiter_basic(s3, 1, bucket)


def test_bucket_list_delimiter_prefix(s3, bucket):
    cases.delimiter_prefix(s3, 1, bucket)


def test_bucket_list_delimiter_prefix_ends_with_delimiter(s3, bucket):
    cases.delimiter_prefix_ends_with_delimiter(s3, 1, bucket)


def test_bucket_list_delimiter_alt(s3, bucket):
    cases.delimiter_alt(s3, 1, bucket)


def test_bucket_list_delimiter_prefix_underscore(s3, bucket):
    cases.delimiter_prefix_underscore(s3, 1, bucket)


def test_bucket_list_delimiter_percentage(s3, bucket):
    cases.delimiter_percentage(s3, 1, bucket)


def test_bucket_list_delimiter_whitespace(s3, bucket):
    cases.delimiter_whitespace(s3, 1, bucket)


def test_bucket_list_delimiter_dot(s3, bucket):
    cases.delimiter_dot(s3, 1, bucket)


def test_bucket_list_delimiter_unreadable(s3, bucket):
    cases.delimiter_unreadable(s3, 1, bucket)


def test_bucket_list_delimiter_empty(s3, bucket):
    cases.delimiter_empty(s3, 1, bucket)


def test_bucket_list_delimiter_none(s3, bucket):
    cases.delimiter_none(s3, 1, bucket)


def test_bucket_list_delimiter_not_exist(s3, bucket):
    cases.delimiter_not_exist(s3, 1, bucket)


def test_bucket_list_delimiter_not_skip_special(s3, bucket):
    cases.delimiter_not_skip_special(s3, 1, bucket)


def test_bucket_list_prefix_basic(s3, bucket):
    cases.prefix_basic(s3, 1, bucket)


def test_bucket_list_prefix_alt(s3, bucket):
    cases.prefix_alt(s3, 1, bucket)


def test_bucket_list_prefix_empty(s3, bucket):
    cases.prefix_empty(s3, 1, bucket)


def test_bucket_list_prefix_none(s3, bucket):
    cases.prefix_none(s3, 1, bucket)


def test_bucket_list_prefix_not_exist(s3, bucket):
    cases.prefix_not_exist(s3, 1, bucket)


def test_bucket_list_prefix_unreadable(s3, bucket):
    cases.prefix_unreadable(s3, 1, bucket)


def test_bucket_list_prefix_delimiter_basic(s3, bucket):
    cases.prefix_delimiter_basic(s3, 1, bucket)


def test_bucket_list_prefix_delimiter_alt(s3, bucket):
    cases.prefix_delimiter_alt(s3, 1, bucket)


def test_bucket_list_prefix_delimiter_prefix_not_exist(s3, bucket):
    cases.prefix_delimiter_prefix_not_exist(s3, 1, bucket)


def test_bucket_list_prefix_delimiter_delimiter_not_exist(s3, bucket):
    cases.prefix_delimiter_delimiter_not_exist(s3, 1, bucket)


def test_bucket_list_prefix_delimiter_prefix_delimiter_not_exist(s3, bucket):
    cases.prefix_delimiter_prefix_delimiter_not_exist(s3, 1, bucket)


def test_bucket_list_maxkeys_one(s3, bucket):
    cases.maxkeys_one(s3, 1, bucket)


def test_bucket_list_maxkeys_zero(s3, bucket):
    cases.maxkeys_zero(s3, 1, bucket)


def test_bucket_list_maxkeys_none(s3, bucket):
    cases.maxkeys_none(s3, 1, bucket)


def test_bucket_list_maxkeys_invalid(s3, bucket):
    cases.maxkeys_invalid(s3, 1, bucket)

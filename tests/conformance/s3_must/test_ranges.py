# SPDX-License-Identifier: Apache-2.0
"""Ranged reads."""
import random

import common
from common import MIB, error


def _range(s3, bucket, data, text, first, last):
    got = s3.get_object(Bucket=bucket, Key="testobj", Range=text)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["Body"].read() == data[first:last + 1]
    assert got["ContentRange"] == f"bytes {first}-{last}/{len(data)}"
    assert got["ContentLength"] == last + 1 - first and got["AcceptRanges"] == "bytes"
    assert got["ETag"] == common.etag_of(data)
    head = s3.head_object(Bucket=bucket, Key="testobj", Range=text)
    assert head["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert head["ContentLength"] == last + 1 - first and head["ContentRange"] == got["ContentRange"]


def test_ranged_request_response_code(s3, bucket):
    data = b"testcontent"
    s3.put_object(Bucket=bucket, Key="testobj", Body=data)
    _range(s3, bucket, data, "bytes=4-7", 4, 7)
    _range(s3, bucket, data, "bytes=0-0", 0, 0)
    _range(s3, bucket, data, "bytes=0-1000", 0, 10)


def test_ranged_big_request_response_code(s3, bucket):
    data = random.Random(1).randbytes(8 * MIB)
    s3.put_object(Bucket=bucket, Key="testobj", Body=data)
    _range(s3, bucket, data, "bytes=3145728-5242880", 3145728, 5242880)


def test_ranged_request_skip_leading_bytes_response_code(s3, bucket):
    data = b"testcontent"
    s3.put_object(Bucket=bucket, Key="testobj", Body=data)
    _range(s3, bucket, data, "bytes=4-", 4, 10)


def test_ranged_request_return_trailing_bytes_response_code(s3, bucket):
    data = b"testcontent"
    s3.put_object(Bucket=bucket, Key="testobj", Body=data)
    _range(s3, bucket, data, "bytes=-7", 4, 10)
    _range(s3, bucket, data, "bytes=-700", 0, 10)


def test_ranged_request_invalid_range(s3, bucket):
    s3.put_object(Bucket=bucket, Key="testobj", Body=b"testcontent")
    for text in ("bytes=40-50", "bytes=11-", "bytes=-0"):
        assert error(s3.get_object, Bucket=bucket, Key="testobj", Range=text) == ("InvalidRange", 416)
    assert error(s3.head_object, Bucket=bucket, Key="testobj", Range="bytes=40-50")[1] == 416
    # What is no range of bytes counts for nothing.
    for text in ("bytes=7-4", "lines=1-2", "bytes=x"):
        assert s3.get_object(Bucket=bucket, Key="testobj", Range=text)["Body"].read() == b"testcontent"


def test_ranged_request_empty_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="testobj", Body=b"")
    assert error(s3.get_object, Bucket=bucket, Key="testobj", Range="bytes=40-50") == ("InvalidRange", 416)

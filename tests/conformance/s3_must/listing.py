# SPDX-License-Identifier: Apache-2.0
"""Listings of both versions, each answer held against what every listing must keep to."""
import datetime
import urllib.parse

import common


def listing(s3, version, bucket, **kwargs):
    """(keys, prefixes, reply)."""
    call = s3.list_objects if version == 1 else s3.list_objects_v2
    reply = common.ok(call(Bucket=bucket, **kwargs))
    keys = [o["Key"] for o in reply.get("Contents", [])]
    prefixes = [p["Prefix"] for p in reply.get("CommonPrefixes", [])]
    assert reply["Name"] == bucket and reply["EncodingType"] == "url"
    assert reply["MaxKeys"] == kwargs.get("MaxKeys", 1000)
    asked = kwargs.get("Prefix", "")
    if version == 1:  # boto3 does not decode it; what needs no encoding has none
        assert urllib.parse.unquote(reply["Prefix"]) == asked
        assert reply["Prefix"] == asked or set("%+") & set(asked)
    else:
        assert reply["Prefix"] == asked
    if kwargs.get("Delimiter"):
        assert reply["Delimiter"] == kwargs["Delimiter"]
    else:
        assert "Delimiter" not in reply and prefixes == []
    for names in (keys, prefixes):
        assert [n.encode() for n in names] == sorted(n.encode() for n in names)
        assert all(n.startswith(kwargs.get("Prefix", "")) for n in names)
    for o in reply.get("Contents", []):
        assert o["ETag"].startswith('"') and o["ETag"].endswith('"') and o["StorageClass"] == "STANDARD"
        age = datetime.datetime.now(datetime.timezone.utc) - o["LastModified"]
        assert abs(age.total_seconds()) < 600 and o["LastModified"].microsecond % 1000 == 0
        if version == 1 or kwargs.get("FetchOwner"):
            assert o["Owner"]["ID"] == common.USERS["main"].account
            assert o["Owner"]["DisplayName"] == common.USERS["main"].name
        else:
            assert "Owner" not in o
    if version == 1:
        assert "KeyCount" not in reply and reply["Marker"] == kwargs.get("Marker", "")
        # Without a delimiter the last key is where to go on; with one it is told.
        assert ("NextMarker" in reply) == bool(reply["IsTruncated"] and kwargs.get("Delimiter"))
    else:
        assert reply["KeyCount"] == len(keys) + len(prefixes) and "Marker" not in reply
        assert ("NextContinuationToken" in reply) == reply["IsTruncated"]
        for name in ("StartAfter", "ContinuationToken"):
            assert reply.get(name) == kwargs.get(name)
    return keys, prefixes, reply


def keys_of(s3, version, bucket, **kwargs):
    return listing(s3, version, bucket, **kwargs)[0]


def page(s3, version, bucket, token, keys, prefixes, more, **kwargs):
    """One page after `token`, as wanted; what the next page begins with."""
    if token is not None:
        kwargs["Marker" if version == 1 else "ContinuationToken"] = token
    got_keys, got_prefixes, reply = listing(s3, version, bucket, **kwargs)
    assert (got_keys, got_prefixes, reply["IsTruncated"]) == (keys, prefixes, more)
    return reply.get("NextMarker" if version == 1 else "NextContinuationToken")


def all_pages(s3, version, bucket, **kwargs):
    found, token, name = [], {}, "Marker" if version == 1 else "ContinuationToken"
    for _ in range(100):
        keys, prefixes, reply = listing(s3, version, bucket, **kwargs, **token)
        found += sorted(keys + prefixes)
        if not reply["IsTruncated"]:
            return found
        last = reply.get("NextMarker", keys[-1] if keys else None) if version == 1 else \
            reply["NextContinuationToken"]
        token = {name: last}
    raise AssertionError("a listing without an end")

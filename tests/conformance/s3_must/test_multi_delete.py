# SPDX-License-Identifier: Apache-2.0
"""DeleteObjects."""
import common
from common import error, ok


def _all(s3, bucket, version):
    call = s3.list_objects if version == 1 else s3.list_objects_v2
    return [o["Key"] for o in call(Bucket=bucket).get("Contents", [])]


def _multi_delete(s3, bucket, version):
    names = ["key0", "key1", "key2"]
    common.fill(s3, bucket, names)
    assert _all(s3, bucket, version) == names
    what = {"Objects": [{"Key": k} for k in names]}
    for _ in range(2):  # also what is gone is deleted
        reply = ok(s3.delete_objects(Bucket=bucket, Delete=what))
        assert [d["Key"] for d in reply["Deleted"]] == names and "Errors" not in reply
        assert _all(s3, bucket, version) == []
    common.fill(s3, bucket, names)
    reply = ok(s3.delete_objects(Bucket=bucket, Delete=what | {"Quiet": True}))
    assert "Deleted" not in reply and "Errors" not in reply and _all(s3, bucket, version) == []


def test_multi_object_delete(s3, bucket):
    _multi_delete(s3, bucket, 1)


def test_multi_objectv2_delete(s3, bucket):
    _multi_delete(s3, bucket, 2)


def test_what_a_suite_does_to_tidy_up(s3, bucket):
    """All versions, which without versioning are those called "null", in one request; then the bucket."""
    common.fill(s3, bucket, ["a", "b/c", "d e"])
    listing = s3.list_object_versions(Bucket=bucket, MaxKeys=2)
    found = listing["Versions"]
    more = s3.list_object_versions(Bucket=bucket, KeyMarker=listing["NextKeyMarker"],
                                   VersionIdMarker=listing["NextVersionIdMarker"])
    found += more["Versions"]
    assert listing["IsTruncated"] is True and more["IsTruncated"] is False
    assert [(v["Key"], v["VersionId"], v["IsLatest"]) for v in found] == [
        (k, "null", True) for k in ("a", "b/c", "d e")]
    assert {v["Owner"]["ID"] for v in found} == {common.USERS["main"].account}
    reply = ok(s3.delete_objects(Bucket=bucket, BypassGovernanceRetention=True, Delete={
        "Objects": [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in found], "Quiet": True}))
    assert "Errors" not in reply
    ok(s3.delete_bucket(Bucket=bucket), 204)


def _key_limit(s3, bucket, version):
    s3.put_object(Bucket=bucket, Key="key-0", Body=b"")
    names = [{"Key": f"key-{i}"} for i in range(1001)]
    assert error(s3.delete_objects, Bucket=bucket, Delete={"Objects": names}) == ("MalformedXML", 400)
    assert _all(s3, bucket, version) == ["key-0"]
    assert len(s3.delete_objects(Bucket=bucket, Delete={"Objects": names[:1000]})["Deleted"]) == 1000
    assert _all(s3, bucket, version) == []


def test_multi_object_delete_key_limit(s3, bucket):
    _key_limit(s3, bucket, 1)


def test_multi_objectv2_delete_key_limit(s3, bucket):
    _key_limit(s3, bucket, 2)

# SPDX-License-Identifier: Apache-2.0
"""Versions of objects, on the embedded store and through a store behind. The names after test_ are
those of the public S3 tests that they stand for, where there is one."""
import concurrent.futures
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import time

import pytest

from conftest import wait_for_files, wait_until
from test_s3 import MIB, Endpoint, code_of, keys
from test_s3_gateway import behind, front  # noqa: F401  (fixtures)

B = {"Bucket": "bucket"}


@pytest.fixture
def plain(processes, workdir):
    served = Endpoint(processes, workdir)
    yield served
    served.close()


@pytest.fixture
def s3(plain):
    client = plain.client()
    client.create_bucket(Bucket="bucket")
    switch(client, "Enabled")
    return client


def switch(client, status):
    client.put_bucket_versioning(**B, VersioningConfiguration={"Status": status})
    assert client.get_bucket_versioning(**B)["Status"] == status


def put(client, body, key="k", **kwargs):
    return client.put_object(**B, Key=key, Body=body, **kwargs).get("VersionId")


def body_of(client, version=None, key="k"):
    got = client.get_object(**B, Key=key, **({"VersionId": version} if version else {}))
    assert version in (None, got["VersionId"])
    return got["Body"].read()


def all_versions(client, **kwargs):
    """(key, version, latest, marker) as listed, over all pages; prefixes as (prefix,)."""
    found, where = [], dict(kwargs)
    while True:
        page = client.list_object_versions(**B, **where)
        entries = [(v["Key"], v["VersionId"], v["IsLatest"], False, v["LastModified"])
                   for v in page.get("Versions", [])]
        entries += [(v["Key"], v["VersionId"], v["IsLatest"], True, v["LastModified"])
                    for v in page.get("DeleteMarkers", [])]
        assert len(entries) + len(page.get("CommonPrefixes", [])) <= page["MaxKeys"]
        found += [e[:4] for e in entries] + [(p["Prefix"],) for p in page.get("CommonPrefixes", [])]
        if not page["IsTruncated"]:
            return found
        where |= {"KeyMarker": page["NextKeyMarker"]}
        where.pop("VersionIdMarker", None)
        if page.get("NextVersionIdMarker"):
            where["VersionIdMarker"] = page["NextVersionIdMarker"]


def purge(client):
    for entry in all_versions(client):
        client.delete_object(**B, Key=entry[0], VersionId=entry[1])
    assert all_versions(client) == []


def refused(call, **kwargs):
    with pytest.raises(Exception) as caught:
        call(**kwargs)
    response = caught.value.response
    return (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"],
            response["ResponseMetadata"]["HTTPHeaders"])


def test_versioning_bucket_create_suspend(plain):
    s3 = plain.client()
    s3.create_bucket(**B)
    assert "Status" not in s3.get_bucket_versioning(**B)
    for status in ("Suspended", "Enabled", "Enabled", "Suspended"):
        switch(s3, status)
    assert code_of(s3.put_bucket_versioning, **B, VersioningConfiguration={"Status": "Off"}) == (
        "MalformedXML", 400)
    assert code_of(s3.put_bucket_versioning, **B, VersioningConfiguration={}) == (
        "IllegalVersioningConfigurationException", 400)
    assert code_of(s3.put_bucket_versioning, **B,
                   VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}) == (
        "NotImplemented", 501)
    assert s3.get_bucket_versioning(**B)["Status"] == "Suspended"
    assert code_of(s3.put_bucket_versioning, Bucket="absent-bucket",
                   VersioningConfiguration={"Status": "Enabled"}) == ("NoSuchBucket", 404)
    reader = plain.client("reader")
    assert code_of(reader.put_bucket_versioning, **B,
                   VersioningConfiguration={"Status": "Enabled"}) == ("AccessDenied", 403)


def test_versioning_obj_create_read_remove(s3):
    bodies = {put(s3, b"body %d" % i): b"body %d" % i for i in range(5)}
    assert len(bodies) == 5
    assert list(bodies) == sorted(bodies)  # ids follow time
    assert body_of(s3) == b"body 4"
    for version, body in bodies.items():
        assert body_of(s3, version) == body
        head = s3.head_object(**B, Key="k", VersionId=version)
        assert (head["VersionId"], head["ContentLength"]) == (version, len(body))
    ids = list(bodies)
    assert s3.get_object(**B, Key="k", VersionId=ids[1], Range="bytes=5-")["Body"].read() == b"1"
    assert s3.get_object(**B, Key="k", VersionId=ids[1], Range="bytes=-6")["Body"].read() == b"body 1"[-6:]
    got = s3.get_object_attributes(**B, Key="k", VersionId=ids[2], ObjectAttributes=["ObjectSize"])
    assert (got["VersionId"], got["ObjectSize"]) == (ids[2], 6)
    done = s3.delete_object(**B, Key="k", VersionId=ids[4])
    assert done["VersionId"] == ids[4] and "DeleteMarker" not in done
    assert body_of(s3) == b"body 3"
    s3.delete_object(**B, Key="k", VersionId=ids[0])
    assert [v[1] for v in all_versions(s3)] == [ids[3], ids[2], ids[1]]
    assert refused(s3.get_object, **B, Key="k", VersionId=ids[0])[:2] == ("NoSuchVersion", 404)
    assert s3.delete_object(**B, Key="k", VersionId=ids[0])["ResponseMetadata"]["HTTPStatusCode"] == 204


def test_versioning_obj_list_marker(s3):
    ids = {k: [put(s3, b"x", k) for _ in range(5)][::-1] for k in ("a", "a/b", "a/c", "b ü")}
    want = [(k, v, v == ids[k][0], False) for k in ids for v in ids[k]]
    for max_keys in (1, 3, 4, 1000):
        assert all_versions(s3, MaxKeys=max_keys) == want
    assert all_versions(s3, Prefix="a/", MaxKeys=3) == want[5:15]
    first = s3.list_object_versions(**B, Delimiter="/", MaxKeys=6)
    assert [v["Key"] for v in first["Versions"]] == ["a"] * 5
    assert first["CommonPrefixes"] == [{"Prefix": "a/"}] and first["NextKeyMarker"] == "a/"
    assert sorted(all_versions(s3, Delimiter="/", MaxKeys=2)) == sorted(
        want[:5] + [("a/",)] + want[15:])
    after = s3.list_object_versions(**B, KeyMarker="a", VersionIdMarker=ids["a"][2])
    assert [v["VersionId"] for v in after["Versions"]][:3] == [*ids["a"][3:], ids["a/b"][0]]
    assert after["KeyMarker"] == "a" and after["VersionIdMarker"] == ids["a"][2]
    assert s3.list_object_versions(**B, KeyMarker="a")["Versions"][0]["Key"] == "a/b"
    for empty, first in (({"KeyMarker": ""}, "a"), ({"KeyMarker": "a"}, "a/b")):
        assert s3.list_object_versions(**B, VersionIdMarker="", **empty)["Versions"][0]["Key"] == first
    nothing = s3.list_object_versions(**B, MaxKeys=0)
    assert "Versions" not in nothing and not nothing["IsTruncated"]
    for bad in ({"VersionIdMarker": ids["a"][0]}, {"KeyMarker": "a", "VersionIdMarker": "no id"}):
        assert code_of(s3.list_object_versions, **B, **bad) == ("InvalidArgument", 400)


def test_versioning_obj_create_versions_remove_special_names(s3):
    for key in ("_testobj", "_", ":", " ", "a\tb", "foo", "foo/bar", "foo/"):
        versions = [put(s3, b"%d" % i, key) for i in range(3)]
        assert [v[:2] for v in all_versions(s3, Prefix=key) if v[0] == key] == [
            (key, v) for v in versions[::-1]]
    purge(s3)


def test_a_delete_marker_hides_and_its_removal_brings_back(s3):
    first = put(s3, b"one")
    marker = s3.delete_object(**B, Key="k")
    assert marker["DeleteMarker"] and marker["VersionId"] != first
    for call in (s3.get_object, s3.head_object):
        code, status, headers = refused(call, **B, Key="k")
        assert (code, status) in (("NoSuchKey", 404), ("404", 404))
        assert headers["x-amz-delete-marker"] == "true"
        assert headers["x-amz-version-id"] == marker["VersionId"]
        code, status, headers = refused(call, **B, Key="k", VersionId=marker["VersionId"])
        assert (code, status) in (("MethodNotAllowed", 405), ("405", 405))
        assert headers["x-amz-delete-marker"] == "true" and headers["allow"] == "DELETE"
        assert headers["x-amz-version-id"] == marker["VersionId"] and "last-modified" in headers
    code, status, headers = refused(s3.get_object_attributes, **B, Key="k",
                                    VersionId=marker["VersionId"], ObjectAttributes=["ETag"])
    assert (status, headers["x-amz-delete-marker"]) == (405, "true")
    for call, more in ((s3.get_object_tagging, {}), (s3.delete_object_tagging, {}),
                       (s3.put_object_tagging, {"Tagging": {"TagSet": []}})):
        assert refused(call, **B, Key="k", VersionId=marker["VersionId"], **more)[:2] == (
            "MethodNotAllowed", 405)
    assert keys(s3) == []
    assert all_versions(s3) == [("k", first, False, False), ("k", marker["VersionId"], True, True)]
    assert body_of(s3, first) == b"one"
    again = s3.delete_object(**B, Key="k")
    assert again["VersionId"] != marker["VersionId"]
    absent = s3.delete_object(**B, Key="never")
    assert absent["DeleteMarker"]
    assert refused(s3.copy_object, **B, Key="c", CopySource={**B, "Key": "k"})[:2] == ("NoSuchKey", 404)
    assert refused(s3.copy_object, **B, Key="c", CopySource={
        **B, "Key": "k", "VersionId": again["VersionId"]})[:2] == ("InvalidRequest", 400)
    for version in (again["VersionId"], marker["VersionId"]):
        gone = s3.delete_object(**B, Key="k", VersionId=version)
        assert gone["DeleteMarker"] and gone["VersionId"] == version
    assert body_of(s3) == b"one" and keys(s3) == ["k"]


def test_versioning_obj_suspend_versions(plain):
    s3 = plain.client()
    s3.create_bucket(**B)
    assert put(s3, b"before") is None
    assert body_of(s3, "null") == b"before"
    assert all_versions(s3) == [("k", "null", True, False)]
    switch(s3, "Enabled")
    assert s3.head_object(**B, Key="k")["VersionId"] == "null"
    one = put(s3, b"one")
    assert body_of(s3, "null") == b"before"
    switch(s3, "Suspended")
    assert put(s3, b"null") is None and put(s3, b"null again") is None  # as S3 answers
    assert body_of(s3, "null") == b"null again" and s3.head_object(**B, Key="k")["VersionId"] == "null"
    assert [(v[1], v[2]) for v in all_versions(s3)] == [("null", True), (one, False)]
    done = s3.delete_object(**B, Key="k")
    assert done["DeleteMarker"] and done["VersionId"] == "null"
    assert all_versions(s3) == [("k", one, False, False), ("k", "null", True, True)]
    switch(s3, "Enabled")
    two = put(s3, b"two")
    assert {v[:2] for v in all_versions(s3)} == {("k", two), ("k", "null"), ("k", one)}
    s3.delete_object(**B, Key="k", VersionId="null")
    s3.delete_object(**B, Key="k", VersionId=two)
    assert body_of(s3) == b"one"


def test_delete_object_version_if_match(s3):
    """Conditions look at the version that is named, or at the current one; a marker is none."""
    one = s3.put_object(**B, Key="k", Body=b"one")
    two = s3.put_object(**B, Key="k", Body=b"two", IfMatch=one["ETag"])
    delete = {**B, "Key": "k", "VersionId": one["VersionId"]}
    assert code_of(s3.delete_object, **delete, IfMatch=two["ETag"]) == ("PreconditionFailed", 412)
    assert code_of(s3.delete_object, **B, Key="k", IfMatch=one["ETag"]) == ("PreconditionFailed", 412)
    assert body_of(s3, one["VersionId"]) == b"one"
    s3.delete_object(**delete, IfMatch=one["ETag"])
    assert code_of(s3.delete_object, **delete, IfMatch="*")[1] == 404
    assert code_of(s3.put_object, **B, Key="k", Body=b"x", IfNoneMatch="*") == (
        "PreconditionFailed", 412)
    s3.delete_object(**B, Key="k", IfMatch=two["ETag"])
    assert code_of(s3.put_object, **B, Key="k", Body=b"x", IfMatch="*")[1] == 404
    assert s3.put_object(**B, Key="k", Body=b"x", IfNoneMatch="*")["VersionId"]
    assert code_of(s3.get_object, **B, Key="k", VersionId=two["VersionId"], IfNoneMatch=two["ETag"])[1] == 304


def test_versioning_copy_obj_version(s3):
    one, two = put(s3, b"one", ContentType="a/b"), put(s3, b"two")
    copied = s3.copy_object(**B, Key="c", CopySource={**B, "Key": "k", "VersionId": one})
    assert copied["CopySourceVersionId"] == one and copied["VersionId"]
    assert body_of(s3, copied["VersionId"], "c") == b"one"
    current = s3.copy_object(**B, Key="d", CopySource={**B, "Key": "k"})
    assert current["CopySourceVersionId"] == two
    # An older version is brought back by a copy onto the key itself.
    s3.copy_object(**B, Key="k", CopySource={**B, "Key": "k", "VersionId": one})
    assert body_of(s3) == b"one" and s3.head_object(**B, Key="k")["ContentType"] == "a/b"
    assert len(all_versions(s3, Prefix="k")) == 3
    source = {**B, "Key": "k", "VersionId": "0" * 32}
    assert code_of(s3.copy_object, **B, Key="c", CopySource=source) == ("NoSuchVersion", 404)
    source["VersionId"] = "no_id"
    assert code_of(s3.copy_object, **B, Key="c", CopySource=source) == ("InvalidArgument", 400)


def test_versioning_obj_create_overwrite_multipart(s3):
    bodies = {}
    for i in range(2):
        upload = s3.create_multipart_upload(**B, Key="k")["UploadId"]
        where = {**B, "Key": "k", "UploadId": upload}
        first = random.Random(i).randbytes(5 * MIB)
        etags = [s3.upload_part(**where, PartNumber=n + 1, Body=b)["ETag"]
                 for n, b in enumerate((first, b"end"))]
        parts = {"Parts": [{"PartNumber": n + 1, "ETag": e} for n, e in enumerate(etags)]}
        version = s3.complete_multipart_upload(**where, MultipartUpload=parts)["VersionId"]
        bodies[version] = first + b"end"
        # asked again, the answer is the same, and no other version is made
        assert s3.complete_multipart_upload(**where, MultipartUpload=parts)["VersionId"] == version
    for version, body in bodies.items():
        assert body_of(s3, version) == body
        got = s3.get_object_attributes(**B, Key="k", VersionId=version,
                                       ObjectAttributes=["ObjectParts"])["ObjectParts"]
        assert [p["Size"] for p in got["Parts"]] == [5 * MIB, 3]
        assert s3.get_object(**B, Key="k", VersionId=version, PartNumber=2)["Body"].read() == b"end"
    old = next(iter(bodies))
    upload = s3.create_multipart_upload(**B, Key="p")["UploadId"]
    copied = s3.upload_part_copy(**B, Key="p", UploadId=upload, PartNumber=1,
                                 CopySource={**B, "Key": "k", "VersionId": old})
    assert copied["CopySourceVersionId"] == old
    s3.abort_multipart_upload(**B, Key="p", UploadId=upload)


def test_versioning_multi_object_delete_with_marker(s3):
    one, two = put(s3, b"one"), put(s3, b"two")
    done = s3.delete_objects(**B, Delete={"Objects": [
        {"Key": "k", "VersionId": one}, {"Key": "k"}, {"Key": "never"},
        {"Key": "k", "VersionId": "0" * 32}, {"Key": "k", "VersionId": "no_id"}]})
    gone, marked, never, absent = done["Deleted"]
    assert gone == {"Key": "k", "VersionId": one}
    assert marked["DeleteMarker"] and never["DeleteMarker"]
    assert absent["Key"] == "k"
    assert [(e["Code"], e["VersionId"]) for e in done["Errors"]] == [("NoSuchVersion", "no_id")]
    marker = marked["DeleteMarkerVersionId"]
    assert all_versions(s3, Prefix="k") == [("k", two, False, False), ("k", marker, True, True)]
    done = s3.delete_objects(**B, Delete={"Objects": [{"Key": "k", "VersionId": marker}]})
    assert done["Deleted"] == [{"Key": "k", "VersionId": marker, "DeleteMarker": True,
                                "DeleteMarkerVersionId": marker}]
    assert body_of(s3) == b"two"


def test_tags_are_a_versions_own(s3):
    one, two = put(s3, b"one", Tagging="a=1"), put(s3, b"two")
    tags = {"TagSet": [{"Key": "b", "Value": "2"}]}
    assert s3.put_object_tagging(**B, Key="k", VersionId=one, Tagging=tags)["VersionId"] == one
    got = s3.get_object_tagging(**B, Key="k", VersionId=one)
    assert (got["VersionId"], got["TagSet"]) == (one, tags["TagSet"])
    got = s3.get_object_tagging(**B, Key="k")
    assert (got["VersionId"], got["TagSet"]) == (two, [])
    assert s3.delete_object_tagging(**B, Key="k", VersionId=one)["VersionId"] == one
    assert s3.get_object_tagging(**B, Key="k", VersionId=one)["TagSet"] == []
    assert code_of(s3.put_object_tagging, **B, Key="k", VersionId="0" * 32, Tagging=tags) == (
        "NoSuchVersion", 404)


@pytest.mark.parametrize("version", ["", "no_id", "../../etc", "x" * 5000])
def test_what_is_no_version_id_is_refused(s3, version):
    put(s3, b"x")
    url = s3.generate_presigned_url("get_object", Params={**B, "Key": "k", "VersionId": "V"})
    assert "versionId=V" in url
    for call in (s3.get_object, s3.delete_object, s3.get_object_tagging):
        with pytest.raises(Exception) as caught:
            call(**B, Key="k", VersionId=version)
        assert caught.value.response["Error"]["Code"] == "InvalidArgument"
    assert len(all_versions(s3)) == 1


def test_a_write_takes_no_version_id(s3):
    version = put(s3, b"x")

    def named(request, **kwargs):
        request.url += ("&" if "?" in request.url else "?") + f"versionId={version}"

    s3.meta.events.register("before-sign.s3", named)
    for call, more in ((s3.put_object, {"Body": b"y"}), (s3.create_multipart_upload, {}),
                       (s3.copy_object, {"CopySource": "bucket/k"})):
        assert code_of(call, **B, Key="k", **more) == ("InvalidArgument", 400)
    s3.meta.events.unregister("before-sign.s3", named)
    assert len(all_versions(s3)) == 1


def test_a_bucket_goes_with_its_last_version_only(s3):
    one = put(s3, b"one")
    marker = s3.delete_object(**B, Key="k")["VersionId"]
    assert keys(s3) == []
    for version in (one, marker):
        assert code_of(s3.delete_bucket, **B) == ("BucketNotEmpty", 409)
        s3.delete_object(**B, Key="k", VersionId=version)
    s3.delete_bucket(**B)
    s3.create_bucket(**B)
    assert "Status" not in s3.get_bucket_versioning(**B)


def test_skyvols_own_keys_are_in_no_list_of_versions(plain, s3):
    inner = plain.client("inner")
    for key in ("a", ".skyvol/one", ".skyvol/two", "z"):
        for _ in range(3):
            put(inner, b"x", key)
    assert len(all_versions(inner)) == 12
    for max_keys in (1, 2, 3, 5, 1000):
        page = s3.list_object_versions(**B, MaxKeys=max_keys)
        assert "skyvol/one" not in str(page)
        assert [v[0] for v in all_versions(s3, MaxKeys=max_keys)] == ["a"] * 3 + ["z"] * 3
    assert code_of(s3.get_object, **B, Key=".skyvol/one", VersionId="null") == ("AccessDenied", 403)


def test_versioned_concurrent_object_create_concurrent_remove(s3):
    """Two who write one key, and a third who removes versions: each acknowledged write is a version,
    one of them the latest, and what was removed is gone."""
    def write(who):
        return [put(s3, b"%d %d" % (who, i)) for i in range(20)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = [v for versions in pool.map(write, range(4)) for v in versions]
    listed = all_versions(s3)
    assert sorted(v[1] for v in listed) == sorted(made) and len(set(made)) == 80
    assert [v[2] for v in listed] == [True] + [False] * 79
    assert [v[1] for v in listed] == sorted(made, reverse=True)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        again = pool.submit(write, 9)
        list(pool.map(lambda v: s3.delete_object(**B, Key="k", VersionId=v), made))
    assert [v[1] for v in all_versions(s3)] == sorted(again.result(), reverse=True)
    assert body_of(s3) == b"9 19"


def test_one_winner_among_conditional_writes(s3):
    def create(i):
        try:
            return put(s3, b"%d" % i, IfNoneMatch="*")
        except Exception:
            return None

    for _ in range(5):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            won = [v for v in pool.map(create, range(16)) if v]
        assert len(won) == 1
        s3.delete_object(**B, Key="k")


def test_bytes_of_versions_are_plain_files_with_the_keys_name(plain, s3):
    """docs/store-format.md: they lie where they were written, and go with their version."""
    data = plain.directory / "store" / "data"
    ids = [put(s3, b"body %d" % i, "dir/file") for i in range(3)]
    wait_for_files(data.parent)

    def found():
        return [p.read_bytes() for p in
                sorted(data.rglob("*.dir%2Ffile"), key=lambda p: p.name)]  # by generation: in time

    assert found() == [b"body 0", b"body 1", b"body 2"]
    s3.delete_object(**B, Key="dir/file")
    assert found() == [b"body 0", b"body 1", b"body 2"]
    s3.delete_object(**B, Key="dir/file", VersionId=ids[1])
    wait_until(lambda: found() == [b"body 0", b"body 2"], what="the removed version's file to go")
    with sqlite3.connect(data.parent / "index.sqlite") as index:
        rows = index.execute("SELECT count(*) FROM version").fetchone()
    assert rows == (3,)  # two objects and a marker


def workers_of(served):
    """The processes of nginx under the program."""
    found, look = [], [served.process.pid]
    while look:
        pid = look.pop()
        try:
            text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except FileNotFoundError:
            continue
        found += map(int, text.split())
        look += map(int, text.split())
    return found


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it went with its parent


def test_a_killed_server_keeps_each_version_it_acknowledged(processes, workdir):
    random.seed(11)
    acknowledged = []
    for round_ in range(4):
        served = Endpoint(processes, workdir, name=f"kill-{round_}")
        s3, workers = served.client(), workers_of(served)
        if round_ == 0:
            s3.create_bucket(**B)
            switch(s3, "Enabled")
        listed = all_versions(s3)
        assert set(acknowledged) <= {v[1] for v in listed}
        assert len(listed) <= len(acknowledged) + 2 * round_  # of each writer one, unanswered
        for version in random.sample(acknowledged, min(20, len(acknowledged))):
            assert len(body_of(s3, version)) == 3000
        acknowledged = [v[1] for v in listed]

        def write(made, client=s3):
            while True:
                try:
                    made.append(put(client, b"x" * 3000))
                except Exception:
                    return

        made = [[], []]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for one in made:
                pool.submit(write, one)
            wait_until(lambda m=made: min(map(len, m)) >= 5, what="writes")
            time.sleep(random.random() / 10)  # anywhere in a write
            processes.stop(served.process, how=signal.SIGKILL)
            for pid in workers:
                kill(pid)
        acknowledged += made[0] + made[1]
        shutil.rmtree(workdir / "run", ignore_errors=True)


def test_versions_pass_through_to_the_store_behind(behind, front):  # noqa: F811
    s3 = front.client()
    s3.create_bucket(**B)
    switch(s3, "Enabled")
    one, two = put(s3, b"one"), put(s3, b"two")
    assert one != two and body_of(s3, one) == b"one" and body_of(behind[0], one) == b"one"
    assert s3.head_object(**B, Key="k")["VersionId"] == two
    copied = s3.copy_object(**B, Key="c", CopySource={**B, "Key": "k", "VersionId": one})
    assert copied["CopySourceVersionId"] == one and body_of(s3, copied["VersionId"], "c") == b"one"
    marker = s3.delete_object(**B, Key="k")
    assert marker["DeleteMarker"]
    code, status, headers = refused(s3.get_object, **B, Key="k")
    assert (code, status, headers["x-amz-delete-marker"]) == ("NoSuchKey", 404, "true")
    code, status, headers = refused(s3.head_object, **B, Key="k", VersionId=marker["VersionId"])
    assert (status, headers["x-amz-delete-marker"]) == (405, "true")
    assert all_versions(s3) == all_versions(behind[0]) and len(all_versions(s3)) == 4
    done = s3.delete_objects(**B, Delete={"Objects": [{"Key": "c"}, {"Key": "k", "VersionId": one}]})
    by_key = {d["Key"]: d for d in done["Deleted"]}
    assert by_key["c"]["DeleteMarker"] and by_key["k"]["VersionId"] == one
    assert refused(s3.get_object, **B, Key="k", VersionId=one)[:2] == ("NoSuchVersion", 404)
    s3.delete_object(**B, Key="k", VersionId=marker["VersionId"])
    assert body_of(s3) == b"two"
    purge(s3)
    s3.delete_bucket(**B)


def test_a_volume_tells_its_own_versions_only(processes, workdir):
    own = Endpoint(processes, workdir, name="own")
    s3 = own.client()
    s3.create_bucket(**B)
    switch(s3, "Enabled")
    inner = own.client("inner")
    for key in ("before", "vol/a", "vol/a", "vol/b", "vol/.skyvol/mark", "voluble", "z"):
        put(inner, b"x", key)
    own.close()
    served = Endpoint(processes, workdir, name="volume", serve=[
        "--volume", f"bucket=dir://{workdir}/store/bucket/vol"])
    client = served.client()
    for max_keys in (1, 2, 1000):
        assert [v[0] for v in all_versions(client, MaxKeys=max_keys)] == ["a", "a", "b"]
    page = client.list_object_versions(**B)
    old = page["Versions"][1]["VersionId"]
    assert body_of(client, old, "a") == b"x"
    assert client.list_object_versions(**B, KeyMarker="a", VersionIdMarker=old)["Versions"][0][
        "Key"] == "b"
    assert code_of(client.put_bucket_versioning, **B,
                   VersioningConfiguration={"Status": "Suspended"})[1] in (403, 501)
    served.close()

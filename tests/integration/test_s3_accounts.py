# SPDX-License-Identifier: Apache-2.0
"""Accounts: keys that have to do with the buckets of their own only."""
import json
import subprocess

import pytest

from conftest import program, wait_until
from test_s3 import SECRET, Endpoint, code_of, plain  # noqa: F401

DENIED = ("AccessDenied", 403)
PEOPLE = [
    {"access_key": "ann", "secret_key": SECRET, "account": "ann-id", "display_name": "Ann"},
    {"access_key": "ann2", "secret_key": SECRET, "account": "ann-id", "read_only": True},
    {"access_key": "bob", "secret_key": SECRET, "account": "bob-id", "display_name": "Bob"},
    {"access_key": "ours", "secret_key": SECRET, "account": "skyvol"}]


@pytest.fixture
def served(processes, workdir):
    endpoint = Endpoint(processes, workdir, more_keys=PEOPLE)
    yield endpoint
    endpoint.close()


@pytest.fixture
def ann(served):
    s3 = served.client(access="ann")
    s3.create_bucket(Bucket="anns")
    s3.put_object(Bucket="anns", Key="k", Body=b"hers")
    return s3


def names(s3, **kwargs):
    return [b["Name"] for b in s3.list_buckets(**kwargs)["Buckets"]]


def test_each_sees_the_buckets_of_his_account(served, ann):
    bob = served.client(access="bob")
    bob.create_bucket(Bucket="bobs")
    served.client().create_bucket(Bucket="nobodys")
    assert names(ann) == names(served.client(access="ann2")) == ["anns"]
    assert names(bob) == ["bobs"]
    assert names(served.client(access="ours")) == ["nobodys"]
    assert names(served.client()) == ["anns", "bobs", "nobodys"]
    owner = ann.list_buckets()["Owner"]
    assert (owner["ID"], owner["DisplayName"]) == ("ann-id", "Ann")


def test_nothing_of_anothers_bucket_can_be_read_or_changed(served, ann):
    bob = served.client(access="bob")
    bob.create_bucket(Bucket="bobs")
    upload = ann.create_multipart_upload(Bucket="anns", Key="up")["UploadId"]
    one = {"Bucket": "anns", "Key": "k"}
    part = {"Bucket": "anns", "Key": "up", "UploadId": upload}
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    for call, arguments in (
            (bob.get_object, one), (bob.head_object, one), (bob.put_object, one | {"Body": b"his"}),
            (bob.put_object, one | {"Body": bytes(3 << 20)}), (bob.delete_object, one),
            (bob.get_object_tagging, one), (bob.put_object_tagging, one | {"Tagging": tags}),
            (bob.delete_object_tagging, one), (bob.get_object_acl, one),
            (bob.get_object_attributes, one | {"ObjectAttributes": ["ETag"]}),
            (bob.copy_object, one | {"CopySource": "bobs/x"}),
            (bob.copy_object, {"Bucket": "bobs", "Key": "k", "CopySource": "anns/k"}),
            (bob.create_multipart_upload, one), (bob.list_parts, part),
            (bob.upload_part, part | {"PartNumber": 1, "Body": b"his"}),
            (bob.upload_part_copy, part | {"PartNumber": 1, "CopySource": "bobs/x"}),
            (bob.complete_multipart_upload, part | {"MultipartUpload": {"Parts": [
                {"PartNumber": 1, "ETag": "x"}]}}),
            (bob.abort_multipart_upload, part), (bob.list_objects, {"Bucket": "anns"}),
            (bob.list_object_versions, {"Bucket": "anns"}), (bob.get_bucket_versioning, {"Bucket": "anns"}),
            (bob.put_bucket_versioning, {"Bucket": "anns", "VersioningConfiguration": {
                "Status": "Enabled"}}), (bob.list_objects_v2, {"Bucket": "anns"}), (bob.list_multipart_uploads, {"Bucket": "anns"}),
            (bob.head_bucket, {"Bucket": "anns"}), (bob.delete_bucket, {"Bucket": "anns"}),
            (bob.get_bucket_location, {"Bucket": "anns"}), (bob.get_bucket_acl, {"Bucket": "anns"}),
            (bob.get_bucket_cors, {"Bucket": "anns"}), (bob.get_bucket_policy, {"Bucket": "anns"}),
            (bob.put_bucket_tagging, {"Bucket": "anns", "Tagging": tags}),
            (bob.delete_objects, {"Bucket": "anns", "Delete": {"Objects": [{"Key": "k"}]}})):
        code, status = code_of(call, **arguments)
        assert status == 403 and code in ("AccessDenied", "403"), (call.__name__, code)
    assert ann.get_object(**one)["Body"].read() == b"hers"
    assert [o["Key"] for o in ann.list_objects_v2(Bucket="anns")["Contents"]] == ["k"]
    assert [u["Key"] for u in ann.list_multipart_uploads(Bucket="anns")["Uploads"]] == ["up"]
    assert "Contents" not in bob.list_objects_v2(Bucket="bobs")


def test_a_form_is_of_the_account_that_signed_it(served, ann):
    import urllib.error
    import urllib.request

    def post(who):
        form = served.client(access=who).generate_presigned_post("anns", "posted")
        text = "".join(f'--e\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'
                       for n, v in [*form["fields"].items(), ("file", "bytes")]) + "--e--\r\n"
        request = urllib.request.Request(form["url"], text.encode(), {
            "Content-Type": "multipart/form-data; boundary=e"})
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code

    assert post("bob") == 403 and post("ann2") == 403
    assert code_of(ann.head_object, Bucket="anns", Key="posted")[1] == 404
    assert post("ann") == 204


def test_a_name_is_taken_for_all_accounts(served, ann):
    bob = served.client(access="bob")
    assert code_of(bob.create_bucket, Bucket="anns") == ("BucketAlreadyExists", 409)
    ann.delete_object(Bucket="anns", Key="k")
    ann.delete_bucket(Bucket="anns")
    bob.create_bucket(Bucket="anns")
    assert code_of(ann.head_bucket, Bucket="anns")[1] == 403
    assert names(bob) == ["anns"] and names(ann) == []


def test_owners_are_told_where_s3_tells_them(served, ann):
    entry = ann.list_objects(Bucket="anns")["Contents"][0]["Owner"]
    assert entry == {"ID": "ann-id", "DisplayName": "Ann"}
    for operator in (served.client(), served.client(access="inner")):
        assert operator.list_objects(Bucket="anns")["Contents"][0]["Owner"]["ID"] == "ann-id"
        assert operator.get_bucket_acl(Bucket="anns")["Owner"]["ID"] == "ann-id"
    acl = ann.get_object_acl(Bucket="anns", Key="k")
    assert acl["Owner"]["ID"] == acl["Grants"][0]["Grantee"]["ID"] == "ann-id"
    ann.put_object_acl(Bucket="anns", Key="k", GrantFullControl="id=ann-id")
    assert code_of(ann.put_object_acl, Bucket="anns", Key="k",
                   GrantFullControl="id=bob-id") == ("AccessControlListNotSupported", 400)
    operator = served.client()
    operator.create_bucket(Bucket="nobodys")
    operator.put_object(Bucket="nobodys", Key="k", Body=b"")
    assert operator.list_objects(Bucket="nobodys")["Contents"][0]["Owner"]["ID"] == "skyvol"


def test_the_expected_owner_is_checked(served, ann):
    one = {"Bucket": "anns", "Key": "k"}
    operator = served.client()
    for s3 in (ann, operator):
        assert s3.get_object(ExpectedBucketOwner="ann-id", **one)["Body"].read() == b"hers"
        for other in ("bob-id", "skyvol"):
            assert code_of(s3.get_object, ExpectedBucketOwner=other, **one) == DENIED
    operator.create_bucket(Bucket="nobodys")
    operator.put_object(Bucket="nobodys", Key="k", Body=b"x", ExpectedBucketOwner="skyvol")
    copy = {"Bucket": "nobodys", "Key": "to", "CopySource": "anns/k"}
    operator.copy_object(ExpectedSourceBucketOwner="ann-id", ExpectedBucketOwner="skyvol", **copy)
    assert code_of(operator.copy_object, ExpectedSourceBucketOwner="skyvol", **copy) == DENIED


def test_an_account_survives_a_new_key_and_ends_with_its_last(served, ann):
    served.write_keys([{"access_key": "new", "secret_key": SECRET, "account": "ann-id"}])
    from conftest import wait_until

    def works():
        try:
            return names(served.client(access="new")) == ["anns"]
        except served.client().exceptions.ClientError:
            return False

    def ended():
        try:
            ann.head_bucket(Bucket="anns")
        except ann.exceptions.ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
        return False

    wait_until(works, what="the new key")
    wait_until(ended, what="the end of the old one")  # its connection may be another worker's


def test_volumes_and_buckets_named_to_a_key(processes, workdir):
    first = Endpoint(processes, workdir, name="first")
    first.client().create_bucket(Bucket="inner")
    first.close()
    endpoint = Endpoint(processes, workdir, serve=[
        "--dir", workdir / "store", "--volume", f"vol=dir://{workdir}/store/inner/p"], more_keys=[
            *PEOPLE, {"access_key": "some", "secret_key": SECRET, "account": "ann-id",
                      "buckets": ["anns-1", "bobs"]}])
    ann, bob = endpoint.client(access="ann"), endpoint.client(access="bob")
    for name in ("anns-1", "anns-2"):
        ann.create_bucket(Bucket=name)
    bob.create_bucket(Bucket="bobs")
    some = endpoint.client(access="some")
    assert names(some) == ["anns-1"]  # both must hold
    for bucket in ("anns-2", "bobs", "vol"):
        assert code_of(some.list_objects_v2, Bucket=bucket) == DENIED
    assert code_of(ann.list_objects_v2, Bucket="vol") == DENIED  # volumes are the operator's
    assert names(ann) == ["anns-1", "anns-2"] and "vol" in names(endpoint.client())
    endpoint.close()


def refused(workdir, text):
    path = workdir / "keys.json"
    path.write_text(text)
    path.chmod(0o600)
    done = subprocess.run([program("skyvol-s3"), "--listen", "127.0.0.1:1", "--dir", workdir / "store",
                           "--credentials-file", path, "--run-dir", workdir / "run"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0 and "topsecret" not in done.stderr, done
    return done.stderr


@pytest.mark.parametrize("member", [{"account": ""}, {"account": 5}, {"account": "a\nb"},
                                    {"account": "<x>"}, {"display_name": "x" * 129},
                                    {"upload_rate": 1000}, {"expires_s": "1d"}, {"buckets": []}])
def test_a_member_that_is_wrong_is_refused(workdir, member):
    said = refused(workdir, json.dumps({"keys": [{"access_key": "a", "secret_key": "topsecret"} | member]}))
    assert f"entry 1: member '{next(iter(member))}' wants " in said


def test_a_file_with_a_misspelt_restriction_is_refused(workdir):
    key = {"access_key": "a", "secret_key": "topsecret"}
    for name in ("ro", "bucket", "expires", "rquests_per_second", "key_upload_rate"):
        assert f"member '{name}' is unknown; known are access_key, " in refused(
            workdir, json.dumps(key | {name: "topsecret"}))
    assert "access key 'a' is there twice" in refused(workdir, json.dumps({"keys": [key, key | {"read_only": True}]}))
    assert "not JSON: line 1" in refused(workdir, json.dumps(key)[:-2])


def test_a_restriction_counts_in_any_spelling_and_a_bad_file_changes_nothing(processes, workdir):
    key = {"access_key": "view", "secret_key": SECRET}
    endpoint = Endpoint(processes, workdir, more_keys=[key | {"readOnly": True, "Buckets": ["one"]}])
    endpoint.client().create_bucket(Bucket="one")
    endpoint.client().create_bucket(Bucket="two")
    view = endpoint.client(access="view")
    assert names(view) == ["one"]
    assert code_of(view.put_object, Bucket="one", Key="k", Body=b"") == DENIED
    endpoint.write_keys([key | {"ro": True}])
    wait_until(lambda: names(view) and "member 'ro' is unknown" in endpoint.process.log.read_text(), what="report")
    assert names(view) == ["one"]
    endpoint.close()


def test_buckets_are_listed_in_pages(served, ann):
    for name in ("b-1", "b-2", "c-1"):
        ann.create_bucket(Bucket=name)
    page = ann.list_buckets(MaxBuckets=2)
    assert [b["Name"] for b in page["Buckets"]] == ["anns", "b-1"]
    page = ann.list_buckets(MaxBuckets=2, ContinuationToken=page["ContinuationToken"])
    assert [b["Name"] for b in page["Buckets"]] == ["b-2", "c-1"] and "ContinuationToken" not in page
    assert names(ann, Prefix="b-") == ["b-1", "b-2"]
    # Where they are is told if any parameter is there, as by AWS.
    assert {b["BucketRegion"] for b in page["Buckets"]} == {"us-east-1"}
    assert names(ann, BucketRegion="us-east-1") == ["anns", "b-1", "b-2", "c-1"]
    assert names(ann, BucketRegion="eu-west-1") == []
    assert all("BucketRegion" not in b for b in ann.list_buckets()["Buckets"])
    assert code_of(ann.list_buckets, ContinuationToken="no token") == ("InvalidArgument", 400)

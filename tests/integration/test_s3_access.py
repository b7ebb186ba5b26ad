# SPDX-License-Identifier: Apache-2.0
"""Who may do what with skyvol-s3: access control lists, and requests that nobody signed."""
import http.client

from test_s3 import code_of, plain, s3  # noqa: F401  (fixtures)

OWNER = {"ID": "skyvol", "DisplayName": "skyvol"}
FULL = [{"Grantee": {**OWNER, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}]


def unsigned(plain, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=20)
    connection.request(method, path, body=body, headers=headers or {})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, text


def grant(right="FULL_CONTROL", **grantee):
    return {"Grantee": {"Type": "CanonicalUser", **(grantee or {"ID": "skyvol"})}, "Permission": right}


def test_bucket_acl_default_and_object_acl_default(s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"")
    for acl in (s3.get_bucket_acl(Bucket="bucket"), s3.get_object_acl(Bucket="bucket", Key="k")):
        assert acl["Owner"] == OWNER and acl["Grants"] == FULL
    assert code_of(s3.get_bucket_acl, Bucket="absent") == ("NoSuchBucket", 404)
    assert code_of(s3.get_object_acl, Bucket="bucket", Key="absent") == ("NoSuchKey", 404)


HOLDS = [
    {"ACL": "private"}, {"ACL": "bucket-owner-full-control"}, {"GrantFullControl": 'id="skyvol"'},
    {"AccessControlPolicy": {"Owner": OWNER, "Grants": [grant()]}}]


def test_a_list_that_holds_anyway_is_accepted(s3):
    for asked in HOLDS:
        s3.put_object(Bucket="bucket", Key="k", Body=b"1",
                      **{k: v for k, v in asked.items() if k != "AccessControlPolicy"})
        s3.put_object_acl(Bucket="bucket", Key="k", **asked)
        if asked.get("ACL") != "bucket-owner-full-control":  # no list of a bucket
            s3.put_bucket_acl(Bucket="bucket", **asked)
        assert s3.get_object_acl(Bucket="bucket", Key="k")["Grants"] == FULL


OTHERS = [
    {"ACL": "public-read"}, {"ACL": "public-read-write"}, {"ACL": "authenticated-read"},
    {"GrantRead": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'},
    {"GrantFullControl": "id=skyvol, id=another"}, {"ACL": "public-read", "GrantRead": "id=x"},
    {"AccessControlPolicy": {"Owner": OWNER, "Grants": [grant(), grant("READ", ID="another")]}},
    {"AccessControlPolicy": {"Owner": OWNER, "Grants": [grant("READ")]}},
    {"AccessControlPolicy": {"Owner": OWNER, "Grants": []}}]


def test_other_lists_are_not_supported(s3):
    for asked in OTHERS:
        want = ("AccessControlListNotSupported", 400)
        headers = {k: v for k, v in asked.items() if k != "AccessControlPolicy"}
        s3.put_object(Bucket="bucket", Key="k", Body=b"1")
        assert code_of(s3.put_object_acl, Bucket="bucket", Key="k", **asked) == want
        assert code_of(s3.put_bucket_acl, Bucket="bucket", **asked) == want
        if headers:
            assert code_of(s3.put_object, Bucket="bucket", Key="k", Body=b"2", **headers) == want
            assert code_of(s3.copy_object, Bucket="bucket", Key="k2", CopySource="bucket/k",
                           **headers) == want
            assert code_of(s3.create_multipart_upload, Bucket="bucket", Key="k", **headers) == want
            assert code_of(s3.create_bucket, Bucket="another",
                           **headers) == ("InvalidBucketAclWithObjectOwnership", 400)
        assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
        assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["bucket"]


NONE = [
    ({}, "MissingSecurityHeader"), ({"ACL": "nonsense"}, "InvalidArgument"),
    ({"GrantRead": "somebody"}, "InvalidArgument"), ({"GrantRead": "who=x"}, "InvalidArgument"),
    ({"GrantRead": 'emailAddress="a@example.com"'}, "UnresolvableGrantByEmailAddress"),
    ({"ACL": "private", "GrantRead": "id=x"}, "InvalidRequest"),
    ({"ACL": "private", "AccessControlPolicy": {"Owner": OWNER, "Grants": [grant()]}},
     "UnexpectedContent"),
    ({"AccessControlPolicy": {"Grants": [grant()]}}, "MalformedACLError"),
    ({"AccessControlPolicy": {"Owner": {}, "Grants": [grant()]}}, "MalformedACLError"),
    ({"AccessControlPolicy": {"Owner": OWNER, "Grants": [grant("SOME")]}}, "MalformedACLError"),
    ({"AccessControlPolicy": {"Owner": OWNER, "Grants": [grant(ID="")]}}, "MalformedACLError"),
    ({"AccessControlPolicy": {"Owner": OWNER, "Grants": [grant(Type="Nobody", ID="x")]}},
     "MalformedACLError")]


def test_a_list_that_is_none(s3):
    for asked, want in NONE:
        assert code_of(s3.put_bucket_acl, Bucket="bucket", **asked) == (want, 400)


def test_a_list_of_what_is_not_there(s3):
    assert code_of(s3.put_bucket_acl, Bucket="absent") == ("NoSuchBucket", 404)
    assert code_of(s3.put_bucket_acl, Bucket="absent", ACL="public-read") == ("NoSuchBucket", 404)
    assert code_of(s3.put_object_acl, Bucket="bucket", Key="absent",
                   ACL="private") == ("NoSuchKey", 404)


def test_a_key_that_only_reads_sets_no_list(plain, s3):
    reader = plain.client(access="reader")
    assert reader.get_bucket_acl(Bucket="bucket")["Grants"] == FULL
    assert code_of(reader.put_bucket_acl, Bucket="bucket",
                   ACL="private") == ("AccessDenied", 403)


def test_create_bucket_object_ownership(s3):
    s3.create_bucket(Bucket="enforced", ObjectOwnership="BucketOwnerEnforced")
    assert code_of(s3.create_bucket, Bucket="other",
                   ObjectOwnership="ObjectWriter") == ("NotImplemented", 501)
    assert code_of(s3.create_bucket, Bucket="other",
                   ObjectOwnership="nonsense") == ("InvalidArgument", 400)


UNSIGNED = [
    ("GET", "/"), ("GET", "/bucket"), ("GET", "/bucket?list-type=2"), ("GET", "/bucket/k"),
    ("PUT", "/bucket/k"), ("DELETE", "/bucket/k"), ("GET", "/bucket?acl"), ("PUT", "/new")]


def test_list_buckets_anonymous_bucket_list_objects_anonymous_fail_object_anon_put(plain, s3):
    for method, path in UNSIGNED:
        s3.put_object(Bucket="bucket", Key="k", Body=b"1")
        reply, text = unsigned(plain, method, path, b"body" if method == "PUT" else None)
        assert reply.status == 403 and "<Code>AccessDenied</Code>" in text
        assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"

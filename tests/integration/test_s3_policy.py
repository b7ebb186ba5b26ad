# SPDX-License-Identifier: Apache-2.0
"""Policies of buckets: who may do what with skyvol-s3, also unsigned and with other buckets' keys."""
import concurrent.futures
import http.client
import json
import socket

import boto3
import botocore.exceptions
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from test_s3 import MIB, SECRET, Endpoint, code_of, endpoint, keys, plain  # noqa: F401  (fixtures)
from test_s3_gateway import behind  # noqa: F401  (fixture)
from test_s3_post import encoded, policy_of, send, signed

DENIED = ("AccessDenied", 403)
BUCKET, OBJECTS = "arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"
GUEST = "arn:aws:iam::skyvol:user/guest"


def statement(action, resource=OBJECTS, effect="Allow", principal="*", **more):
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource, **more}


def put(s3, *statements, bucket="bucket"):
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(
        {"Version": "2012-10-17", "Statement": list(statements)}))


@pytest.fixture
def served(processes, workdir):
    served = Endpoint(processes, workdir, more_keys=[
        {"access_key": "guest", "secret_key": SECRET, "buckets": ["guests"]},
        {"access_key": "third", "secret_key": SECRET, "buckets": ["guests"]},
        {"access_key": "ann", "secret_key": SECRET, "account": "a"},
        {"access_key": "bob", "secret_key": SECRET, "account": "b"}])
    yield served
    served.close()


@pytest.fixture
def s3(served):
    client = served.client()
    for bucket in ("bucket", "guests"):
        client.create_bucket(Bucket=bucket)
    return client


@pytest.fixture
def guest(served):
    return served.client(access="guest")


def nobody(served):
    return boto3.client("s3", endpoint_url=served.url, region_name="us-east-1",
                        verify=str(served.tls[0]) if served.tls else None,
                        config=Config(signature_version=UNSIGNED, retries={"max_attempts": 1},
                                      s3={"addressing_style": "path"}))


def ask(served, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request(method, path, body=body,
                       headers={k.replace("_", "-"): v for k, v in headers.items()})
    reply = connection.getresponse()
    reply.text = reply.read().decode()
    connection.close()
    return reply


# ---- documents ----

def test_a_policy_is_kept_told_and_deleted_bucketv2_policy_get_bucket_policy_status(s3):
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement("s3:GetObject")]}, indent=1)
    assert code_of(s3.get_bucket_policy, Bucket="bucket") == ("NoSuchBucketPolicy", 404)
    assert code_of(s3.get_bucket_policy_status, Bucket="bucket") == ("NoSuchBucketPolicy", 404)
    reply = s3.put_bucket_policy(Bucket="bucket", Policy=text)
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 204
    reply = s3.get_bucket_policy(Bucket="bucket")
    assert reply["Policy"] == text
    assert reply["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/json"
    assert s3.get_bucket_policy_status(Bucket="bucket")["PolicyStatus"]["IsPublic"] is True
    put(s3, statement("s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}))
    assert s3.get_bucket_policy_status(Bucket="bucket")["PolicyStatus"]["IsPublic"] is False
    s3.delete_bucket_policy(Bucket="bucket")
    s3.delete_bucket_policy(Bucket="bucket")
    assert code_of(s3.get_bucket_policy, Bucket="bucket") == ("NoSuchBucketPolicy", 404)
    for call in (s3.get_bucket_policy, s3.delete_bucket_policy, s3.get_bucket_policy_status):
        assert code_of(call, Bucket="absent") == ("NoSuchBucket", 404)
    assert code_of(s3.put_bucket_policy, Bucket="absent", Policy=text.replace(
        "bucket", "absent")) == ("NoSuchBucket", 404)


REFUSED = [
    ("{", "invalid Json"), ("[]", "first byte"), ('{"Statement": []}', "Statement is empty"),
    ({"Other": 1}, "Unknown field Other"), ({"Effect": "deny"}, "Invalid effect: deny"),
    ({"Principal": {"AWS": "unknown"}}, "Invalid principal"), ({"Action": "s3:Nonsense"}, "invalid action"),
    ({"Resource": "arn:aws:s3:::other/*"}, "invalid resource"),
    ({"Condition": {"StringEquals": {"aws:SourceVpc": "x"}}}, "condition key"),
    ({"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}}, "Invalid Condition type"),
    ({"Principal": None, "NotPrincipal": {"AWS": GUEST}}, "NotPrincipal is not supported")]


def test_a_policy_that_is_not_understood_is_refused_and_changes_nothing(s3):
    put(s3, statement("s3:GetObject"))
    before = s3.get_bucket_policy(Bucket="bucket")["Policy"]
    for change, why in REFUSED:
        text = change
        if not isinstance(change, str):
            one = {k: v for k, v in (statement("s3:GetObject") | change).items() if v is not None}
            text = json.dumps({"Statement": [one]})
        with pytest.raises(s3.exceptions.ClientError, match=why) as caught:
            s3.put_bucket_policy(Bucket="bucket", Policy=text)
        assert caught.value.response["Error"]["Code"] == "MalformedPolicy"
    assert code_of(s3.put_bucket_policy, Bucket="bucket",
                   Policy=before + " " * 20480) == ("PolicyTooLarge", 400)
    assert s3.get_bucket_policy(Bucket="bucket")["Policy"] == before


def test_only_keys_of_the_bucket_that_write_set_its_policy(served, s3, guest):
    text = json.dumps({"Statement": [statement("s3:*", [BUCKET, OBJECTS])]})
    assert code_of(served.client(access="reader").put_bucket_policy, Bucket="bucket", Policy=text) == DENIED
    assert code_of(guest.put_bucket_policy, Bucket="bucket", Policy=text) == DENIED
    s3.put_bucket_policy(Bucket="bucket", Policy=text)
    for client in (guest, nobody(served)):  # although it is allowed
        assert code_of(client.delete_bucket_policy, Bucket="bucket") == ("MethodNotAllowed", 405)
        assert code_of(client.put_bucket_policy, Bucket="bucket", Policy=text) == ("MethodNotAllowed", 405)
        assert code_of(client.get_bucket_policy, Bucket="bucket") == ("MethodNotAllowed", 405)
    assert served.client(access="reader").get_bucket_policy(Bucket="bucket")["Policy"] == text


# ---- nobody ----

def test_who_signs_nothing_may_what_everybody_may(endpoint):
    s3, anyone = endpoint.client(), nobody(endpoint)
    s3.create_bucket(Bucket="bucket")
    body = b"x" * (3 * MIB + 1)
    s3.put_object(Bucket="bucket", Key="open/k", Body=body)
    s3.put_object(Bucket="bucket", Key="k", Body=b"closed")
    assert code_of(anyone.get_object, Bucket="bucket", Key="open/k") == DENIED
    put(s3, statement("s3:GetObject", "arn:aws:s3:::bucket/open/*"))
    assert anyone.get_object(Bucket="bucket", Key="open/k")["Body"].read() == body
    assert anyone.get_object(Bucket="bucket", Key="open/k", Range="bytes=-3")["Body"].read() == b"xxx"
    assert anyone.head_object(Bucket="bucket", Key="open/k")["ContentLength"] == len(body)
    assert code_of(anyone.get_object, Bucket="bucket", Key="k") == DENIED
    assert code_of(anyone.head_object, Bucket="bucket", Key="k") == ("403", 403)
    for call, more in ((anyone.put_object, {"Key": "open/k"}), (anyone.delete_object, {"Key": "open/k"}),
                       (anyone.list_objects_v2, {}), (anyone.get_object_tagging, {"Key": "open/k"}),
                       (anyone.get_bucket_location, {}), (anyone.delete_bucket, {}),
                       (anyone.get_object_acl, {"Key": "open/k"}),
                       (anyone.create_multipart_upload, {"Key": "open/k"})):
        assert code_of(call, Bucket="bucket", **more) == DENIED
    assert code_of(anyone.list_buckets) == DENIED
    assert code_of(anyone.create_bucket, Bucket="another") == DENIED
    assert code_of(anyone.get_object, Bucket="absent", Key="k") == DENIED
    s3.delete_bucket_policy(Bucket="bucket")
    assert code_of(anyone.get_object, Bucket="bucket", Key="open/k") == DENIED
    put(s3, statement("s3:PutObject"))
    anyone.put_object(Bucket="bucket", Key="new", Body=body)
    assert s3.get_object(Bucket="bucket", Key="new")["Body"].read() == body


def test_who_signs_nothing_writes_lists_and_uploads_where_everybody_may(served, s3):
    anyone, body = nobody(served), b"y" * (5 * MIB)
    put(s3, statement("s3:*", [BUCKET, OBJECTS]))
    anyone.put_object(Bucket="bucket", Key="a", Body=body)
    upload = anyone.create_multipart_upload(Bucket="bucket", Key="b")["UploadId"]
    part = anyone.upload_part(Bucket="bucket", Key="b", UploadId=upload, PartNumber=1, Body=body)
    assert len(anyone.list_parts(Bucket="bucket", Key="b", UploadId=upload)["Parts"]) == 1
    anyone.complete_multipart_upload(Bucket="bucket", Key="b", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert keys(anyone) == ["a", "b"]
    assert anyone.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a"}]})["Deleted"] == [
        {"Key": "a"}]
    assert keys(s3) == ["b"]
    anyone.delete_object(Bucket="bucket", Key="b")
    assert ask(served, "PUT", "/bucket/c", b"z", x_amz_content_sha256="0" * 64).status == 400
    assert ask(served, "PUT", "/bucket/c", b"z",
               x_amz_content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD").status == 403
    assert keys(s3) == []


def test_what_is_refused_is_refused_before_its_body_is_taken(served, s3):
    """Also by a worker that knows nothing yet of the bucket's policy."""
    for head in ("Content-Length: 1000000000", "Content-Length: 1000000000\r\nExpect: 100-continue",
                 "Content-Length: 8\r\nExpect: 100-continue"):
        for path in ("PUT /bucket/k", "POST /bucket?delete", "PUT /bucket/k?tagging"):
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
                client.sendall(f"{path} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
                assert client.recv(1000).startswith(b"HTTP/1.1 403 "), (path, head)
    put(s3, statement("s3:PutObject"))
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(b"PUT /bucket/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"abc")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"abc"


def test_what_is_not_there_is_hidden_from_who_may_not_list(served, s3):
    anyone = nobody(served)
    put(s3, statement("s3:GetObject"))
    assert code_of(anyone.get_object, Bucket="bucket", Key="absent") == DENIED
    assert code_of(anyone.head_object, Bucket="bucket", Key="absent") == ("403", 403)
    put(s3, statement(["s3:GetObject", "s3:ListBucket"], [BUCKET, OBJECTS]))
    assert code_of(anyone.get_object, Bucket="bucket", Key="absent") == ("NoSuchKey", 404)
    put(s3, statement("s3:GetObject"), statement("s3:ListBucket", BUCKET, Condition={
        "StringLike": {"s3:prefix": "open/*"}}))
    assert code_of(anyone.get_object, Bucket="bucket", Key="open/absent") == ("NoSuchKey", 404)
    assert code_of(anyone.head_object, Bucket="bucket", Key="open/absent") == ("404", 404)
    assert code_of(anyone.get_object, Bucket="bucket", Key="absent") == DENIED
    put(s3, statement("s3:ListBucket", BUCKET, "Deny"))
    assert code_of(s3.get_object, Bucket="bucket", Key="absent") == DENIED
    assert code_of(s3.list_objects_v2, Bucket="bucket") == DENIED


def test_skyvols_own_stay_closed_whatever_a_policy_says(served, s3, guest):
    inner, anyone = served.client(access="inner"), nobody(served)
    own = (".skyvol/meta", "volume/.skyvol/journal")
    for key in own:
        inner.put_object(Bucket="bucket", Key=key, Body=b"1")
    put(s3, statement("s3:*", [BUCKET, OBJECTS]))
    for client in (anyone, guest):
        for key in own:
            assert code_of(client.get_object, Bucket="bucket", Key=key) == DENIED
            assert code_of(client.put_object, Bucket="bucket", Key=key, Body=b"2") == DENIED
            assert code_of(client.delete_object, Bucket="bucket", Key=key) == DENIED
            assert code_of(client.copy_object, Bucket="bucket", Key="k",
                           CopySource={"Bucket": "bucket", "Key": key}) == DENIED
            assert code_of(client.delete_objects, Bucket="bucket",
                           Delete={"Objects": [{"Key": key}]}) == DENIED
        assert keys(client) == []
    for key in own:  # a key that is bound to where it copies to
        assert code_of(guest.copy_object, Bucket="guests", Key="k",
                       CopySource={"Bucket": "bucket", "Key": key}) == DENIED
        assert inner.get_object(Bucket="bucket", Key=key)["Body"].read() == b"1"


# ---- keys ----

def test_bucket_policy_another_bucket_bucketv2_policy_another_bucket(s3, guest, served):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    assert code_of(guest.get_object, Bucket="bucket", Key="k") == DENIED
    put(s3, statement("s3:GetObject", principal={"AWS": GUEST}),
        statement("s3:ListBucket", ["arn:aws:s3:::*"], principal="guest"))
    assert guest.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    assert keys(guest) == ["k"] and len(guest.list_objects(Bucket="bucket")["Contents"]) == 1
    assert code_of(guest.put_object, Bucket="bucket", Key="k", Body=b"2") == DENIED
    for other in (served.client(access="third"), nobody(served)):
        assert code_of(other.get_object, Bucket="bucket", Key="k") == DENIED
        assert code_of(other.list_objects, Bucket="bucket") == DENIED
    assert [b["Name"] for b in guest.list_buckets()["Buckets"]] == ["guests"]
    assert code_of(guest.head_bucket, Bucket="absent") == ("403", 403)


def test_a_policy_lets_in_the_keys_of_another_account(served, s3):
    ann, bob = served.client(access="ann"), served.client(access="bob")
    ann.create_bucket(Bucket="anns")
    bob.create_bucket(Bucket="bobs")
    bob.put_object(Bucket="bobs", Key="k", Body=b"2")
    ann.put_object(Bucket="anns", Key="k", Body=b"1")
    objects, bucket = "arn:aws:s3:::anns/*", "arn:aws:s3:::anns"
    for _ in range(4):
        assert code_of(bob.get_object, Bucket="anns", Key="k") == DENIED
        assert code_of(bob.list_objects, Bucket="anns") == DENIED
        assert code_of(bob.put_bucket_policy, Bucket="anns",
                       Policy=json.dumps({"Statement": [statement("s3:*", objects)]})) == DENIED
    put(ann, statement(["s3:GetObject", "s3:PutObject"], objects, principal="bob"),
        statement("s3:ListBucket", bucket), bucket="anns")
    assert bob.get_object(Bucket="anns", Key="k")["Body"].read() == b"1"
    bob.put_object(Bucket="anns", Key="l", Body=b"3")
    bob.copy_object(Bucket="bobs", Key="copied", CopySource="anns/k")
    bob.copy_object(Bucket="anns", Key="copied", CopySource="bobs/k")
    assert [o["Key"] for o in bob.list_objects_v2(Bucket="anns")["Contents"]] == ["copied", "k", "l"]
    assert code_of(bob.delete_object, Bucket="anns", Key="k") == DENIED
    assert code_of(bob.get_bucket_policy, Bucket="anns") == DENIED
    assert code_of(ann.get_object, Bucket="bobs", Key="k") == DENIED
    assert code_of(ann.copy_object, Bucket="anns", Key="m", CopySource="bobs/k") == DENIED
    assert code_of(nobody(served).get_object, Bucket="anns", Key="k") == DENIED
    assert code_of(bob.get_object, Bucket="anns", Key="k", ExpectedBucketOwner="b") == DENIED
    assert s3.get_object(Bucket="anns", Key="l")["Body"].read() == b"3"  # an operator's key
    ann.delete_bucket_policy(Bucket="anns")
    assert code_of(bob.get_object, Bucket="anns", Key="k") == DENIED


def test_a_key_of_the_bucket_may_all_but_what_is_denied(s3, served):
    reader = served.client(access="reader")
    s3.put_object(Bucket="bucket", Key="secret/k", Body=b"1")
    put(s3, statement("s3:GetObject", "arn:aws:s3:::bucket/secret/*", "Deny"),
        statement("s3:DeleteObject", OBJECTS, "Deny", {"AWS": "test"}),
        statement("s3:PutObject", principal="reader"))
    assert code_of(s3.get_object, Bucket="bucket", Key="secret/k") == DENIED
    assert code_of(served.client(access="inner").get_object, Bucket="bucket", Key="secret/k") == DENIED
    assert code_of(s3.delete_object, Bucket="bucket", Key="secret/k") == DENIED
    s3.put_object(Bucket="bucket", Key="k", Body=b"2")
    assert reader.get_object(Bucket="bucket", Key="k")["Body"].read() == b"2"
    assert code_of(reader.put_object, Bucket="bucket", Key="k", Body=b"3") == DENIED  # it only reads
    served.client(access="inner").delete_object(Bucket="bucket", Key="k")


def test_bucket_policy_deny_self_denied_policy_locks_nobody_out(s3, served):
    put(s3, statement("s3:*", [BUCKET, OBJECTS], "Deny"))
    assert code_of(s3.list_objects_v2, Bucket="bucket") == DENIED
    assert code_of(s3.get_bucket_policy_status, Bucket="bucket") == DENIED
    assert code_of(s3.put_public_access_block, Bucket="bucket",
                   PublicAccessBlockConfiguration={"BlockPublicAcls": True}) == DENIED
    assert "Deny" in s3.get_bucket_policy(Bucket="bucket")["Policy"]
    put(s3, statement("s3:*", [BUCKET, OBJECTS], "Deny", "test"))
    s3.delete_bucket_policy(Bucket="bucket")
    assert keys(s3) == []


def test_a_bucket_made_anew_has_no_policy(s3, served):
    anyone = nobody(served)
    put(s3, statement("s3:*", [BUCKET, OBJECTS]))
    assert keys(anyone) == []
    s3.delete_bucket(Bucket="bucket")
    assert code_of(anyone.list_objects_v2, Bucket="bucket") == DENIED
    s3.create_bucket(Bucket="bucket")
    assert code_of(anyone.list_objects_v2, Bucket="bucket") == DENIED
    put(s3, statement("s3:DeleteBucket", BUCKET))
    anyone.delete_bucket(Bucket="bucket")


# ---- copies, batches, tags ----

def test_a_copy_wants_its_source_and_its_target_bucket_policy_upload_part_copy(s3, guest):
    s3.put_object(Bucket="bucket", Key="open/k", Body=b"1" * MIB)
    s3.put_object(Bucket="bucket", Key="k", Body=b"2")
    source = {"Bucket": "bucket", "Key": "open/k"}
    assert code_of(guest.copy_object, Bucket="guests", Key="k", CopySource=source) == DENIED
    put(s3, statement("s3:GetObject", "arn:aws:s3:::bucket/open/*", principal="guest"))
    guest.copy_object(Bucket="guests", Key="k", CopySource=source)
    upload = guest.create_multipart_upload(Bucket="guests", Key="m")["UploadId"]
    guest.upload_part_copy(Bucket="guests", Key="m", UploadId=upload, PartNumber=1, CopySource=source)
    closed = {"Bucket": "bucket", "Key": "k"}
    assert code_of(guest.copy_object, Bucket="guests", Key="k", CopySource=closed) == DENIED
    assert code_of(guest.upload_part_copy, Bucket="guests", Key="m", UploadId=upload, PartNumber=1,
                   CopySource=closed) == DENIED
    assert code_of(guest.copy_object, Bucket="bucket", Key="new", CopySource={
        "Bucket": "guests", "Key": "k"}) == DENIED
    put(s3, statement("s3:PutObject", principal="guest"))
    guest.copy_object(Bucket="bucket", Key="new", CopySource={"Bucket": "guests", "Key": "k"})
    put(s3, statement("s3:GetObject", "arn:aws:s3:::bucket/open/*", "Deny"))
    assert code_of(s3.copy_object, Bucket="bucket", Key="out", CopySource=source) == DENIED


def test_a_copy_does_not_carry_tags_that_may_not_be_read(s3):
    for key, tags in (("tagged", "a=1"), ("bare", "")):
        s3.put_object(Bucket="bucket", Key=key, Body=b"1", Tagging=tags)
    put(s3, statement("s3:GetObjectTagging", OBJECTS, "Deny"))
    source = {"Bucket": "bucket", "Key": "tagged"}
    assert code_of(s3.copy_object, Bucket="bucket", Key="k", CopySource=source) == DENIED
    s3.copy_object(Bucket="bucket", Key="k", CopySource={"Bucket": "bucket", "Key": "bare"})
    s3.copy_object(Bucket="bucket", Key="k", CopySource=source, TaggingDirective="REPLACE", Tagging="b=2")
    put(s3, statement("s3:PutObjectTagging", OBJECTS, "Deny"))
    assert code_of(s3.put_object, Bucket="bucket", Key="k", Tagging="a=1") == DENIED
    assert code_of(s3.copy_object, Bucket="bucket", Key="k", CopySource=source) == DENIED
    s3.put_object(Bucket="bucket", Key="k")


def test_bucket_policy_put_obj_copy_source_and_copy_source_meta(s3, guest):
    for key in ("public/foo", "public/bar", "private/foo"):
        s3.put_object(Bucket="bucket", Key=key, Body=key.encode())
    put(s3, statement(["s3:GetObject"], principal="guest"))
    put(s3, statement("s3:PutObject", "arn:aws:s3:::guests/*", "Deny", "guest", Condition={
        "StringNotLike": {"s3:x-amz-copy-source": "bucket/public/*"}}), bucket="guests")
    guest.copy_object(Bucket="guests", Key="k", CopySource="bucket/public/foo")
    guest.copy_object(Bucket="guests", Key="k", CopySource="/bucket/public/bar")
    assert code_of(guest.copy_object, Bucket="guests", Key="k", CopySource="bucket/private/foo") == DENIED
    put(s3, statement("s3:PutObject", "arn:aws:s3:::guests/*", "Deny", Condition={
        "StringEquals": {"s3:x-amz-metadata-directive": "REPLACE"}}), bucket="guests")
    guest.copy_object(Bucket="guests", Key="k", CopySource="bucket/public/foo", MetadataDirective="COPY")
    for word in ("REPLACE", "replace"):
        assert code_of(guest.copy_object, Bucket="guests", Key="k", CopySource="bucket/public/foo",
                       MetadataDirective=word) == DENIED


def test_each_key_of_a_batch_is_looked_at_alone(s3, served):
    names = [f"{folder}/{i}" for folder in ("a", "b") for i in range(5)]

    def delete(client):
        reply = client.delete_objects(Bucket="bucket", Delete={
            "Objects": [{"Key": n} for n in [*names, "absent"]]})
        return (sorted(d["Key"] for d in reply.get("Deleted", [])),
                sorted((e["Key"], e["Code"]) for e in reply.get("Errors", [])))

    for name in names:
        s3.put_object(Bucket="bucket", Key=name)
    put(s3, statement("s3:DeleteObject", "arn:aws:s3:::bucket/*/3", "Deny"),
        statement("s3:DeleteObject", "arn:aws:s3:::bucket/a/*"))
    gone = [n for n in names if n[0] == "a" and n != "a/3"]
    assert delete(nobody(served)) == (gone, sorted((n, "AccessDenied") for n in [*names, "absent"]
                                                   if n not in gone))
    assert keys(s3) == [n for n in names if n not in gone]
    assert delete(s3) == (sorted(["absent", *(n for n in names if n[2] != "3")]),
                          [("a/3", "AccessDenied"), ("b/3", "AccessDenied")])
    assert keys(s3) == ["a/3", "b/3"]
    put(s3, statement("s3:DeleteObject", OBJECTS, "Deny"))
    assert delete(s3) == ([], sorted((n, "AccessDenied") for n in [*names, "absent"]))
    assert code_of(nobody(served).delete_objects, Bucket="guests",
                   Delete={"Objects": [{"Key": "k"}]}) == DENIED  # there is no policy


TAGGED = {"StringEquals": {"s3:ExistingObjectTag/security": "public"}}


def test_bucket_policy_get_obj_existing_tag_tagging_and_acl(s3, served, guest):
    anyone = nobody(served)
    for key, tags in (("public", "security=public&x=1"), ("private", "security=private"), ("bare", ""),
                      ("near", "Security=public")):
        s3.put_object(Bucket="bucket", Key=key, Body=b"1", Tagging=tags)
    put(s3, statement(["s3:GetObject", "s3:GetObjectTagging", "s3:PutObjectTagging", "s3:GetObjectAcl"],
                      Condition=TAGGED))
    for call, more in ((anyone.get_object, {}), (anyone.head_object, {}), (anyone.get_object_tagging, {}),
                       (anyone.get_object_acl, {})):
        call(Bucket="bucket", Key="public", **more)
        for key in ("private", "bare", "near", "absent"):
            assert code_of(call, Bucket="bucket", Key=key, **more)[1] == 403
    anyone.put_object_tagging(Bucket="bucket", Key="public", Tagging={"TagSet": [
        {"Key": "security", "Value": "private"}]})
    assert code_of(anyone.get_object, Bucket="bucket", Key="public") == DENIED
    put(s3, statement("s3:*", OBJECTS, "Deny", Condition={
        "StringEquals": {"s3:ExistingObjectTag/security": "private"}}), statement("s3:GetObject"))
    assert code_of(s3.get_object, Bucket="bucket", Key="private") == DENIED
    assert code_of(s3.copy_object, Bucket="guests", Key="k", CopySource="bucket/private") == DENIED
    s3.copy_object(Bucket="guests", Key="k", CopySource="bucket/near")
    guest.copy_object(Bucket="guests", Key="k", CopySource="bucket/bare")


def test_bucket_policy_put_obj_request_obj_tag_and_in_a_body(s3, served):
    anyone = nobody(served)
    put(s3, statement(["s3:PutObject", "s3:PutObjectTagging"], Condition={
        "StringEquals": {"s3:RequestObjectTag/security": "public"}}))
    anyone.put_object(Bucket="bucket", Key="k", Tagging="a=b&security=public")
    assert code_of(anyone.put_object, Bucket="bucket", Key="k", Tagging="security=private") == DENIED
    assert code_of(anyone.put_object, Bucket="bucket", Key="k") == DENIED
    anyone.create_multipart_upload(Bucket="bucket", Key="k", Tagging="security=public")

    def tag(value):
        return {"Bucket": "bucket", "Key": "k", "Tagging": {"TagSet": [{"Key": "security", "Value": value}]}}
    anyone.put_object_tagging(**tag("public"))
    assert code_of(anyone.put_object_tagging, **tag("private")) == DENIED
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"][0]["Value"] == "public"


def test_versions_have_actions_of_their_own(served, s3):
    anyone = nobody(served)
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket="bucket", Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket="bucket", Key="k", Body=b"2")
    put(s3, statement(["s3:GetObject", "s3:DeleteObject"]))
    assert anyone.get_object(Bucket="bucket", Key="k")["Body"].read() == b"2"
    for call in (anyone.get_object, anyone.head_object, anyone.delete_object, anyone.get_object_tagging):
        assert code_of(call, Bucket="bucket", Key="k", VersionId=old)[1] == 403
    assert code_of(anyone.list_object_versions, Bucket="bucket") == DENIED
    reply = anyone.delete_objects(Bucket="bucket", Delete={"Objects": [
        {"Key": "k"}, {"Key": "k", "VersionId": old}]})
    assert [e["Code"] for e in reply["Errors"]] == ["AccessDenied"] and reply["Deleted"][0]["DeleteMarker"]
    assert code_of(anyone.get_object, Bucket="bucket", Key="k") == DENIED  # no word of the marker
    put(s3, statement(["s3:GetObjectVersion", "s3:DeleteObjectVersion"], Condition={
        "StringEquals": {"s3:VersionId": old}}), statement("s3:ListBucketVersions", BUCKET))
    assert len(anyone.list_object_versions(Bucket="bucket")["Versions"]) == 2
    assert anyone.get_object(Bucket="bucket", Key="k", VersionId=old)["Body"].read() == b"1"
    anyone.delete_object(Bucket="bucket", Key="k", VersionId=old)
    assert len(anyone.list_object_versions(Bucket="bucket")["Versions"]) == 1


# ---- conditions ----

def test_conditions_of_where_and_how_a_request_comes(served, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")

    def got(condition, **headers):
        put(s3, statement("s3:GetObject", Condition=condition))
        return ask(served, "GET", "/bucket/k", **headers).status

    assert got({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}) == 200
    assert got({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}) == 403
    assert got({"Bool": {"aws:SecureTransport": "false"}}) == 200
    assert got({"Bool": {"aws:SecureTransport": True}}) == 403
    assert got({"StringLike": {"aws:Referer": "http://page/*"}}, Referer="http://page/x") == 200
    assert got({"StringLike": {"aws:Referer": "http://page/*"}}, Referer="http://other/x") == 403
    assert got({"StringLike": {"aws:Referer": "http://page/*"}}) == 403
    assert got({"StringLike": {"aws:UserAgent": "one/*"}}, User_Agent="one/2") == 200
    assert got({"Null": {"aws:username": "true"}}) == 200
    assert got({"Null": {"s3:authType": "false"}}) == 403
    put(s3, statement("s3:GetObject", OBJECTS, "Deny", Condition={
        "StringEquals": {"aws:username": "test", "s3:authType": "REST-HEADER"}}))
    assert code_of(s3.get_object, Bucket="bucket", Key="k") == DENIED
    url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"})
    assert ask(served, "GET", url[len(served.url):]).status == 200


def test_transport_is_secure_over_tls_alone(endpoint):
    s3, anyone = endpoint.client(), nobody(endpoint)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    put(s3, statement("s3:GetObject"), statement("s3:*", [BUCKET, OBJECTS], "Deny", Condition={
        "Bool": {"aws:SecureTransport": "false"}}))
    for client in (s3, anyone):
        if endpoint.tls:
            assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
        else:
            assert code_of(client.get_object, Bucket="bucket", Key="k") == DENIED


def test_conditions_of_listings(served, s3):
    anyone = nobody(served)
    s3.put_object(Bucket="bucket", Key="open/k")
    put(s3, statement("s3:ListBucket", BUCKET, Condition={
        "StringLike": {"s3:prefix": ["open/*", "more"]}, "StringEquals": {"s3:delimiter": "/"},
        "NumericLessThanEquals": {"s3:max-keys": 10}}))
    good = {"Prefix": "open/", "Delimiter": "/", "MaxKeys": 10}
    assert keys(anyone, **good) == ["open/k"]
    anyone.list_objects(Bucket="bucket", **good)
    for bad in ({"Prefix": "closed/"}, {"Delimiter": "x"}, {"MaxKeys": 11}):
        assert code_of(anyone.list_objects_v2, Bucket="bucket", **(good | bad)) == DENIED
    for missing in good:
        less = {k: v for k, v in good.items() if k != missing}
        assert code_of(anyone.list_objects_v2, Bucket="bucket", **less) == DENIED
    assert code_of(anyone.list_multipart_uploads, Bucket="bucket") == DENIED


def test_conditions_of_headers_bucket_policy_put_obj_acl(served, s3, guest):
    put(s3, statement(["s3:PutObject", "s3:PutObjectAcl"], principal="guest"),
        statement("s3:PutObject", OBJECTS, "Deny", Condition={"Null": {"s3:x-amz-acl": "true"}}))
    assert code_of(guest.put_object, Bucket="bucket", Key="k") == DENIED
    guest.put_object(Bucket="bucket", Key="k", ACL="bucket-owner-full-control")
    put(s3, statement("s3:PutObject", principal="guest"))
    guest.put_object(Bucket="bucket", Key="k")
    assert code_of(guest.put_object, Bucket="bucket", Key="k", ACL="private") == DENIED
    put(s3, statement(["s3:PutObject", "s3:PutObjectAcl"], principal="guest"),
        statement("s3:PutObject", OBJECTS, "Deny", Condition={"StringLike": {"s3:x-amz-acl": "public*"}}))
    assert code_of(guest.put_object, Bucket="bucket", Key="k", ACL="public-read") == DENIED
    assert code_of(guest.put_object, Bucket="bucket", Key="k", ACL="authenticated-read") == (
        "AccessControlListNotSupported", 400)
    put(s3, statement("s3:PutObject", OBJECTS, "Deny", Condition={
        "StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}}))
    assert code_of(s3.put_object, Bucket="bucket", Key="k") == DENIED
    for kind, code in (("aws:kms", DENIED), ("AES256", ("NotImplemented", 501))):
        assert code_of(s3.put_object, Bucket="bucket", Key="k", ServerSideEncryption=kind) == code
    assert code_of(nobody(served).put_object, Bucket="bucket", Key="k",
                   ServerSideEncryption="AES256") == DENIED


# ---- forms ----

def test_a_form_that_nobody_signed_wants_a_policy_of_the_bucket(served, s3):
    def form(**fields):
        reply, text = send(served, encoded({"key": "foo", **fields}))
        return reply.status, "AccessDenied" in text

    assert form() == (403, True)
    put(s3, statement("s3:PutObject", "arn:aws:s3:::bucket/foo"))
    assert form() == (204, False)
    assert s3.get_object(Bucket="bucket", Key="foo")["Body"].read() == b"bar"
    assert form(key="other") == (403, True)
    assert form(tagging="<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>") == (
        403, True)
    put(s3, statement("s3:PutObject", OBJECTS, "Deny", Condition={"StringEquals": {"s3:authType": "POST"}}))
    assert form(**signed(policy_of())) == (403, True)
    put(s3, statement("s3:PutObject", OBJECTS, "Deny", Condition={
        "StringNotEquals": {"aws:Referer": "http://page/"}}))
    assert form(**signed(policy_of())) == (403, True)
    reply, _ = send(served, encoded({"key": "foo", **signed(policy_of())}), headers={"Referer": "http://page/"})
    assert reply.status == 204
    big = encoded({"key": "foo"}, b"x" * (3 * MIB))
    assert send(served, big)[0].status == 403
    put(s3, statement("s3:PutObject"))
    assert send(served, big)[0].status == 204
    assert form(**signed(policy_of(), access="guest")) == (204, False)
    put(s3, statement("s3:PutObject", principal="third"))
    assert form(**signed(policy_of(), access="guest")) == (403, True)
    assert form(key=".skyvol/foo") == (403, True)


# ---- public access blocks ----

ON = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
      "RestrictPublicBuckets": True}


def test_put_public_block_get_public_block_delete_public_block(s3):
    assert code_of(s3.get_public_access_block, Bucket="bucket") == (
        "NoSuchPublicAccessBlockConfiguration", 404)
    for block in (ON, ON | {"BlockPublicPolicy": False}):
        s3.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration=block)
        assert s3.get_public_access_block(Bucket="bucket")["PublicAccessBlockConfiguration"] == block
    s3.delete_public_access_block(Bucket="bucket")
    assert code_of(s3.get_public_access_block, Bucket="bucket")[1] == 404


def test_block_public_policy_and_block_public_restrict_public_buckets(served, s3, guest):
    anyone, public = nobody(served), statement("s3:GetObject")
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    put(s3, public)
    assert anyone.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    s3.put_public_access_block(Bucket="bucket", PublicAccessBlockConfiguration=ON)
    for client in (anyone, guest):
        assert code_of(client.get_object, Bucket="bucket", Key="k") == DENIED
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    text = json.dumps({"Statement": [public]})
    assert code_of(s3.put_bucket_policy, Bucket="bucket", Policy=text) == DENIED
    put(s3, statement("s3:GetObject", principal="guest"))
    assert guest.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    s3.delete_public_access_block(Bucket="bucket")
    put(s3, public)
    assert anyone.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"


# ---- workers, processes, other stores ----

def test_a_change_holds_at_once_for_all_workers_and_processes(processes, workdir, served, s3):
    (workdir / "second").mkdir()
    second = Endpoint(processes, workdir / "second", serve=["--dir", workdir / "store"], name="second")
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")

    def status(port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/bucket/k", headers={"Connection": "close"})
        reply = connection.getresponse().status
        connection.close()
        return reply

    setters = [s3, second.client()]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for turn in range(40):
            put(setters[turn % 2], statement("s3:GetObject"))
            assert set(pool.map(status, [served.port, second.port] * 8)) == {200}, turn
            setters[turn // 2 % 2].delete_bucket_policy(Bucket="bucket")
            assert set(pool.map(status, [served.port, second.port] * 8)) == {403}, turn
    second.close()


def test_clients_that_go_away_while_the_policy_is_asked_for_leave_nothing(served, s3):
    put(s3, statement("s3:*", [BUCKET, OBJECTS]))
    for turn in range(30):
        put(s3, statement("s3:*", [BUCKET, OBJECTS], Sid=str(turn)))
        for head in (b"GET /bucket/k", b"PUT /bucket/k"):
            with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
                client.sendall(head + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert keys(nobody(served)) == []


def test_in_front_of_a_store_its_policy_is_the_stores_own(behind, processes, workdir):
    direct, options = behind
    front = Endpoint(processes, workdir, serve=["--store", "s3://", *options])
    s3 = front.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="k", Body=b"1")
    put(s3, statement("s3:GetObject"))
    assert json.loads(direct.get_bucket_policy(Bucket="bucket")["Policy"])["Statement"]
    assert json.loads(s3.get_bucket_policy(Bucket="bucket")["Policy"])["Statement"]
    assert s3.get_bucket_policy_status(Bucket="bucket")["PolicyStatus"]["IsPublic"] is True
    assert code_of(nobody(front).get_object, Bucket="bucket", Key="k") == DENIED  # not here
    s3.delete_bucket_policy(Bucket="bucket")
    assert code_of(direct.get_bucket_policy, Bucket="bucket") == ("NoSuchBucketPolicy", 404)
    assert code_of(s3.put_bucket_policy, Bucket="bucket", Policy="{}")[1] == 400
    assert code_of(s3.put_public_access_block, Bucket="bucket",
                   PublicAccessBlockConfiguration=ON) == ("NotImplemented", 501)
    front.close()


def test_a_volumes_name_is_told_to_nobody_else(processes, workdir):
    """As the source of a copy, too: what is not the caller's and what is not there are refused alike."""
    store = workdir / "volumes"
    first = Endpoint(processes, workdir, serve=["--dir", store], name="first")
    first.client().create_bucket(Bucket="under")
    first.close()
    served = Endpoint(processes, workdir, serve=["--dir", workdir / "store", "--volume", f"vol=dir://{store}/under"],
                      more_keys=[{"access_key": "guest", "secret_key": SECRET, "buckets": ["guests", "bucket"]},
                                 {"access_key": "ann", "secret_key": SECRET, "account": "a"}])
    s3 = served.client()
    for bucket in ("bucket", "guests"):
        s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket="vol", Key="k", Body=b"1")
    put(s3, statement(["s3:PutObject", "s3:GetObject"]))
    ann = served.client(access="ann")
    ann.create_bucket(Bucket="anns")

    def told(call, name, **more):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            call(**{k: v.format(name) for k, v in more.items()})
        error = caught.value.response
        return error["Error"]["Code"], error["Error"]["Message"], error["ResponseMetadata"]["HTTPStatusCode"]
    guest = served.client(access="guest")
    for client, bucket in ((guest, "guests"), (guest, "bucket"), (nobody(served), "bucket")):
        for call, more in ((client.copy_object, {"Bucket": bucket, "Key": "c", "CopySource": "{}/k"}),
                           (client.get_object, {"Bucket": "{}", "Key": "k"}),
                           (client.put_object, {"Bucket": "{}", "Key": "k"}),
                           (client.create_bucket, {"Bucket": "{}"}),
                           (client.list_objects_v2, {"Bucket": "{}"})):
            assert told(call, "vol", **more) == told(call, "absent", **more), (bucket, more)
            assert told(call, "vol", **more)[::2] == DENIED
    # of accounts it is one more bucket of another
    assert told(ann.copy_object, "vol", Bucket="anns", Key="c", CopySource="{}/k")[::2] == DENIED
    assert told(ann.copy_object, "bucket", Bucket="guests", Key="c", CopySource="{}/k")[::2] == DENIED
    assert told(s3.copy_object, "vol", Bucket="bucket", Key="c", CopySource="{}/k")[::2] == ("NotImplemented", 501)
    assert keys(s3) == []
    served.close()


def test_a_volume_has_no_policy(processes, workdir):
    store = workdir / "volumes"
    served = Endpoint(processes, workdir, serve=["--dir", store], name="first")
    served.client().create_bucket(Bucket="under")
    served.close()
    served = Endpoint(processes, workdir, serve=["--volume", f"vol=dir://{store}/under"])
    s3 = served.client()
    text = json.dumps({"Statement": [statement("s3:GetObject", "arn:aws:s3:::vol/*")]})
    assert code_of(s3.put_bucket_policy, Bucket="vol", Policy=text) == ("NotImplemented", 501)
    assert code_of(s3.get_bucket_policy, Bucket="vol") == ("NoSuchBucketPolicy", 404)
    assert code_of(nobody(served).get_object, Bucket="vol", Key="k") == DENIED
    served.close()


def test_who_may_only_write_does_not_find_out_etags(served, s3):
    etag = s3.put_object(Bucket="bucket", Key="k", Body=b"1")["ETag"]
    put(s3, statement(["s3:PutObject", "s3:DeleteObject"]))
    for guess in (etag, '"' + 32 * "0" + '"'):
        for method in ("PUT", "DELETE"):
            assert ask(served, method, "/bucket/k", If_Match=guess).status == 403
    for guess in (etag, '"other"'):
        gone = nobody(served).delete_objects(Bucket="bucket", Delete={"Objects": [
            {"Key": "k", "ETag": guess}]})
        assert [e["Code"] for e in gone["Errors"]] == ["AccessDenied"]
    for size in (1, 2):  # a size tells as much
        assert ask(served, "DELETE", "/bucket/k", X_Amz_If_Match_Size=str(size)).status == 403
        gone = nobody(served).delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k", "Size": size}]})
        assert [e["Code"] for e in gone["Errors"]] == ["AccessDenied"]
    assert s3.get_object(Bucket="bucket", Key="k")["Body"].read() == b"1"
    assert ask(served, "PUT", "/bucket/k", b"2", If_None_Match="*").status == 412
    assert ask(served, "PUT", "/bucket/k", b"2", If_Match="*").status == 200
    put(s3, statement(["s3:PutObject", "s3:GetObject"]))
    assert ask(served, "PUT", "/bucket/k", b"3", If_Match=etag).status == 412


def test_a_number_is_spelled_in_one_way_only(served, s3):
    put(s3, statement("s3:ListBucket", BUCKET),
        statement("s3:ListBucket", BUCKET, "Deny",
                  Condition={"NumericGreaterThan": {"s3:max-keys": "10"}}))
    assert ask(served, "GET", "/bucket?max-keys=10").status == 200
    assert ask(served, "GET", "/bucket?max-keys=99").status == 403
    for text in ("%2b99", "%2099", "%0999", 30 * "0" + "99"):
        assert ask(served, "GET", f"/bucket?max-keys={text}").status == 400

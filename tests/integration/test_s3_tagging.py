# SPDX-License-Identifier: Apache-2.0
"""Tags of objects and buckets, and what a bucket answers of itself. The names after test_ are those of
the public S3 tests that they stand for, where there is one."""
import signal
import sqlite3

import botocore.exceptions
import pytest

from test_s3 import Endpoint, code_of

# What the first version of the index was made of (lib/objstore/dir_index.c).
INDEX_1 = """
CREATE TABLE bucket(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
 created_ns INTEGER NOT NULL);
CREATE TABLE object(bucket INTEGER NOT NULL, key BLOB NOT NULL, file TEXT,
 size INTEGER NOT NULL, etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL, meta TEXT,
 sum_kind INTEGER NOT NULL, sum_value TEXT, sum_composite INTEGER NOT NULL,
 parts INTEGER NOT NULL, PRIMARY KEY(bucket, key)) WITHOUT ROWID;
CREATE INDEX object_file ON object(file) WHERE file IS NOT NULL;
CREATE TABLE upload(id TEXT PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL,
 started_ns INTEGER NOT NULL, meta TEXT, sum_kind INTEGER NOT NULL,
 sum_composite INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX upload_key ON upload(bucket, key, id);
CREATE TABLE part(upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT,
 size INTEGER NOT NULL, etag TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
 sum_kind INTEGER NOT NULL, sum_value TEXT, PRIMARY KEY(upload, number)) WITHOUT ROWID;
CREATE INDEX part_file ON part(file) WHERE file IS NOT NULL;
CREATE TABLE garbage(file TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER object_gone AFTER DELETE ON object WHEN OLD.file IS NOT NULL BEGIN
 INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;
CREATE TRIGGER object_replaced AFTER UPDATE ON object WHEN OLD.file IS NOT NULL
 AND OLD.file IS NOT NEW.file BEGIN INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;
CREATE TRIGGER part_gone AFTER DELETE ON part WHEN OLD.file IS NOT NULL BEGIN
 INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;
CREATE TRIGGER part_replaced AFTER UPDATE ON part WHEN OLD.file IS NOT NULL
 AND OLD.file IS NOT NEW.file BEGIN INSERT OR IGNORE INTO garbage VALUES(OLD.file); END;
INSERT INTO bucket VALUES(1, 'bucket', 1000000000);
INSERT INTO object VALUES(1, CAST('old' AS BLOB), NULL, 0, 'd41d8cd98f00b204e9800998ecf8427e',
 1000000000, NULL, 0, NULL, 0, 0);
INSERT INTO upload VALUES('0123456789abcdef', 1, CAST('up' AS BLOB), 1000000000, NULL, 0, 0);
PRAGMA user_version=1;
"""


@pytest.fixture
def plain(processes, workdir):
    return Endpoint(processes, workdir)


@pytest.fixture
def s3(plain):
    client = plain.client()
    client.create_bucket(Bucket="bucket")
    return client


def tag_set(count=0, **named):
    named = named or {str(i): str(i) for i in range(count)}
    return {"TagSet": [{"Key": k, "Value": v} for k, v in named.items()]}


def tags_of(s3, key="k"):
    return {t["Key"]: t["Value"]
            for t in s3.get_object_tagging(Bucket="bucket", Key=key)["TagSet"]}


def put(s3, key="k", **kwargs):
    return s3.put_object(Bucket="bucket", Key=key, Body=b"x", **kwargs)


def put_tags(s3, tags, key="k"):
    return s3.put_object_tagging(Bucket="bucket", Key=key, Tagging=tags)


def test_get_obj_tagging(s3):
    put(s3)
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == []
    assert put_tags(s3, tag_set(2))["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == tag_set(2)["TagSet"]
    assert code_of(put_tags, s3, tag_set(1), key="absent") == ("NoSuchKey", 404)
    assert code_of(tags_of, s3, "absent") == ("NoSuchKey", 404)


def test_get_obj_head_tagging(s3):
    put(s3)
    assert "TagCount" not in s3.get_object(Bucket="bucket", Key="k")
    put_tags(s3, tag_set(2))
    for reply in (s3.head_object(Bucket="bucket", Key="k"), s3.get_object(Bucket="bucket", Key="k")):
        assert reply["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "2"


def test_put_max_tags(s3):
    put(s3)
    put_tags(s3, tag_set(10))
    assert len(tags_of(s3)) == 10


@pytest.mark.parametrize("tags", [
    pytest.param(tag_set(11), id="put_excess_tags"),
    pytest.param(tag_set(**{"k" * 129: "v"}), id="put_excess_key_tags"),
    pytest.param(tag_set(k="v" * 257), id="put_excess_val_tags"),
    pytest.param(tag_set(**{"aws:x": "v"}), id="system"),
    pytest.param(tag_set(k="a;b"), id="character"),
    pytest.param({"TagSet": 2 * [{"Key": "a", "Value": "b"}]}, id="twice")])
def test_tags_beyond_the_limits_change_nothing(s3, tags):
    put(s3, Tagging="was=here")
    assert code_of(put_tags, s3, tags) == ("InvalidTag", 400)
    assert tags_of(s3) == {"was": "here"}


def test_put_max_kvsize_tags(s3):
    put(s3)
    tags = tag_set(**{f"{i}{'k' * 127}": "v" * 256 for i in range(10)})
    put_tags(s3, tags)
    assert s3.get_object_tagging(Bucket="bucket", Key="k")["TagSet"] == tags["TagSet"]


def test_put_modify_tags(s3):
    put(s3)
    put_tags(s3, tag_set(key="val", key2="val2"))
    put_tags(s3, tag_set(key3="val3"))
    assert tags_of(s3) == {"key3": "val3"}


def test_put_delete_tags(s3):
    etag = put(s3)["ETag"]
    put_tags(s3, tag_set(2))
    reply = s3.delete_object_tagging(Bucket="bucket", Key="k")
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert tags_of(s3) == {}
    assert s3.head_object(Bucket="bucket", Key="k")["ETag"] == etag


def test_put_obj_with_tags(s3):
    put(s3, Tagging="foo=bar&bar&%C3%A4%20=1%2B1")
    assert tags_of(s3) == {"foo": "bar", "bar": "", "ä ": "1+1"}
    put(s3)
    assert tags_of(s3) == {}
    for tagging, code in (("a=1&a=2", "InvalidArgument"), ("a=%zz", "InvalidArgument"),
                          ("&".join(f"k{i}=v" for i in range(11)), "InvalidTag")):
        assert code_of(put, s3, "other", Tagging=tagging) == (code, 400)
    assert code_of(s3.head_object, Bucket="bucket", Key="other")[1] == 404


def test_set_multipart_tagging(s3):
    upload = s3.create_multipart_upload(Bucket="bucket", Key="k", Tagging="Hello=World&foo=bar")
    part = s3.upload_part(Bucket="bucket", Key="k", UploadId=upload["UploadId"], PartNumber=1,
                          Body=b"x")
    s3.complete_multipart_upload(Bucket="bucket", Key="k", UploadId=upload["UploadId"],
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert tags_of(s3) == {"Hello": "World", "foo": "bar"}
    s3.delete_object_tagging(Bucket="bucket", Key="k")
    assert tags_of(s3) == {}


def test_a_copy_takes_its_sources_tags_unless_told_otherwise(s3):
    put(s3, "from", Tagging="a=1")
    source = {"CopySource": "bucket/from", "Bucket": "bucket"}
    s3.copy_object(Key="k", **source)
    assert tags_of(s3) == {"a": "1"}
    s3.copy_object(Key="k", Tagging="b=2", TaggingDirective="REPLACE", **source)
    assert tags_of(s3) == {"b": "2"}
    s3.copy_object(Key="k", TaggingDirective="REPLACE", **source)
    assert tags_of(s3) == {}
    s3.copy_object(Key="k", Tagging="b=2", TaggingDirective="COPY", **source)
    assert tags_of(s3) == {"a": "1"}


def test_set_bucket_tagging(s3):
    assert code_of(s3.get_bucket_tagging, Bucket="bucket") == ("NoSuchTagSet", 404)
    assert code_of(s3.get_bucket_tagging, Bucket="absent") == ("NoSuchBucket", 404)
    reply = s3.put_bucket_tagging(Bucket="bucket", Tagging=tag_set(Hello="World"))
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert s3.get_bucket_tagging(Bucket="bucket")["TagSet"] == tag_set(Hello="World")["TagSet"]
    s3.put_bucket_tagging(Bucket="bucket", Tagging=tag_set(50))
    assert len(s3.get_bucket_tagging(Bucket="bucket")["TagSet"]) == 50
    assert code_of(s3.put_bucket_tagging, Bucket="bucket", Tagging=tag_set(51)) == ("BadRequest", 400)
    s3.delete_bucket_tagging(Bucket="bucket")
    assert code_of(s3.get_bucket_tagging, Bucket="bucket") == ("NoSuchTagSet", 404)


def test_a_key_that_only_reads_changes_no_tags(plain, s3):
    put(s3, Tagging="a=1")
    reader = plain.client("reader")
    assert code_of(put_tags, reader, tag_set(1)) == ("AccessDenied", 403)
    assert code_of(reader.put_bucket_tagging, Bucket="bucket",
                   Tagging=tag_set(1)) == ("AccessDenied", 403)
    assert tags_of(reader) == {"a": "1"}


@pytest.mark.parametrize("name, code", [
    ("policy", "NoSuchBucketPolicy"), ("cors", "NoSuchCORSConfiguration"),
    ("lifecycle_configuration", "NoSuchLifecycleConfiguration"),
    ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("website", "NoSuchWebsiteConfiguration"),
    ("replication", "ReplicationConfigurationNotFoundError")])
def test_what_a_bucket_has_not_is_named(s3, name, code):
    call = getattr(s3, f"get_bucket_{name}")
    assert code_of(call, Bucket="bucket") == (code, 404)
    assert code_of(call, Bucket="absent") == ("NoSuchBucket", 404)


def test_what_every_bucket_has_is_told(s3):
    def told(call, **kwargs):
        reply = call(Bucket="bucket", **kwargs)
        assert reply.pop("ResponseMetadata")["HTTPStatusCode"] == 200
        return reply

    assert told(s3.get_bucket_location) == {"LocationConstraint": None}
    assert told(s3.get_bucket_versioning) == {}
    assert told(s3.get_bucket_logging) == {}
    assert told(s3.get_bucket_notification_configuration) == {}
    assert told(s3.get_bucket_accelerate_configuration) == {}
    assert told(s3.get_bucket_request_payment) == {"Payer": "BucketOwner"}
    assert code_of(s3.get_object_lock_configuration,
                   Bucket="bucket") == ("ObjectLockConfigurationNotFoundError", 404)
    assert code_of(s3.get_public_access_block,
                   Bucket="bucket") == ("NoSuchPublicAccessBlockConfiguration", 404)


def test_ownership_begins_with_the_bucket_owner(s3):
    def rules(kind):
        return {"Rules": [{"ObjectOwnership": kind}]}

    assert s3.get_bucket_ownership_controls(Bucket="bucket")["OwnershipControls"] == \
        rules("BucketOwnerEnforced")
    s3.delete_bucket_ownership_controls(Bucket="bucket")
    assert code_of(s3.get_bucket_ownership_controls,
                   Bucket="bucket") == ("OwnershipControlsNotFoundError", 404)
    s3.put_bucket_ownership_controls(Bucket="bucket", OwnershipControls=rules("BucketOwnerEnforced"))
    assert s3.get_bucket_ownership_controls(Bucket="bucket")["OwnershipControls"] == \
        rules("BucketOwnerEnforced")
    assert code_of(s3.put_bucket_ownership_controls, Bucket="bucket",
                   OwnershipControls=rules("ObjectWriter")) == ("NotImplemented", 501)


def test_tags_outlive_a_kill(plain, s3, processes, workdir):
    put(s3, Tagging="a=1")
    put(s3, "b", Tagging="b=1")
    put_tags(s3, tag_set(c="3"), "b")
    s3.put_bucket_tagging(Bucket="bucket", Tagging=tag_set(d="4"))
    processes.stop(plain.process, how=signal.SIGKILL)
    (workdir / "again").mkdir()
    again = Endpoint(processes, workdir / "again", serve=["--dir", workdir / "store"],
                     name="again").client()
    assert tags_of(again) == {"a": "1"}
    assert tags_of(again, "b") == {"c": "3"}
    assert again.get_bucket_tagging(Bucket="bucket")["TagSet"] == [{"Key": "d", "Value": "4"}]


def test_a_store_of_the_first_format_opens_with_all_it_holds(processes, workdir):
    made = Endpoint(processes, workdir)  # for the application id
    made.client().list_buckets()
    processes.stop(made.process)
    index = workdir / "store" / "index.sqlite"
    with sqlite3.connect(index) as db:
        application = db.execute("PRAGMA application_id").fetchone()[0]
    for name in ("", "-wal", "-shm"):
        index.with_name(index.name + name).unlink(missing_ok=True)
    with sqlite3.connect(index) as db:
        db.executescript(INDEX_1 + f"PRAGMA application_id={application};")
    s3 = Endpoint(processes, workdir, name="again").client()
    assert s3.head_object(Bucket="bucket", Key="old")["ContentLength"] == 0
    assert tags_of(s3, "old") == {}
    put_tags(s3, tag_set(a="1"), "old")
    assert tags_of(s3, "old") == {"a": "1"}
    part = s3.upload_part(Bucket="bucket", Key="up", UploadId="0123456789abcdef", PartNumber=1, Body=b"x")
    s3.complete_multipart_upload(Bucket="bucket", Key="up", UploadId="0123456789abcdef",
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert tags_of(s3, "up") == {}


def test_tags_of_a_new_bucket_are_refused_not_forgotten(s3):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        s3.create_bucket(Bucket="tagged", CreateBucketConfiguration={"Tags": [{"Key": "a", "Value": "1"}]})
    assert refused.value.response["Error"]["Code"] == "NotImplemented"
    assert "tagged" not in [b["Name"] for b in s3.list_buckets()["Buckets"]]

# SPDX-License-Identifier: Apache-2.0
"""Browsers' uploads (POST of a form) to skyvol-s3."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import random

from test_s3 import ACCESS, MIB, SECRET, Endpoint, plain, s3  # noqa: F401  (fixtures)

BOUNDARY = "----skyvol-boundary"
CONDITIONS = ({"bucket": "bucket"}, ["starts-with", "$key", "foo"])


def stamp(delta=600, form="%Y-%m-%dT%H:%M:%SZ"):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=delta)).strftime(form)


def policy_of(conditions=CONDITIONS, changes=None):
    document = {"expiration": stamp(), "conditions": list(conditions)} | (changes or {})
    return {k: v for k, v in document.items() if v is not None}


def signed(policy, version=4, access=ACCESS, secret=SECRET, region="us-east-1"):
    """The form's fields of a policy; those of version 4 stand in it as conditions."""
    if version == 2:
        text = base64.b64encode(json.dumps(policy).encode()).decode()
        mac = hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()
        return {"AWSAccessKeyId": access, "policy": text, "signature": base64.b64encode(mac).decode()}
    when = stamp(0, "%Y%m%dT%H%M%SZ")
    fields = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": when,
              "x-amz-credential": f"{access}/{when[:8]}/{region}/s3/aws4_request"}
    if isinstance(policy.get("conditions"), list):
        policy["conditions"] = policy["conditions"] + [{k: v} for k, v in fields.items()]
    text = base64.b64encode(json.dumps(policy).encode()).decode()
    key = ("AWS4" + secret).encode()
    for part in (when[:8], region, "s3", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return fields | {"policy": text, "x-amz-signature": key.hex()}


def encoded(fields, body=b"bar", filename="foo.txt", after=b""):
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
             for k, v in fields.items()]
    if body is not None:
        parts += [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
                  f"Content-Type: text/x-ignored\r\n\r\n".encode(), body, b"\r\n"]
    return b"".join(parts) + after + f"--{BOUNDARY}--\r\n".encode()


def send(plain, whole, bucket="bucket", kind=f"multipart/form-data; boundary={BOUNDARY}", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=20)
    connection.request("POST", f"/{bucket}", body=whole, encode_chunked="Transfer-Encoding" in (headers or {}),
                       headers={"Content-Type": kind} | (headers or {}))
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, text


def post(plain, conditions=CONDITIONS, version=4, body=b"bar", bucket="bucket", changes=None, **fields):
    fields = {"key": "foo.txt"} | {k.replace("_", "-") if k[:5] in ("x_amz", "Conte") else k: v
                                   for k, v in fields.items()}
    fields |= signed(policy_of(conditions, changes), version)
    return send(plain, encoded({k: v for k, v in fields.items() if v is not None}, body), bucket)


def test_post_object_authenticated_request(plain, s3):
    for version in (4, 2):
        reply, text = post(plain, version=version)
        assert (reply.status, text) == (204, "")
        assert reply.headers["ETag"] == f'"{hashlib.md5(b"bar").hexdigest()}"'
        assert reply.headers["Location"] == f"{plain.url}/bucket/foo.txt"
        got = s3.get_object(Bucket="bucket", Key="foo.txt")
        assert got["Body"].read() == b"bar" and got["ContentType"] == "binary/octet-stream"
        s3.delete_object(Bucket="bucket", Key="foo.txt")


def test_post_object_upload_larger_than_chunk(plain, s3):
    for size in (0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 12 * MIB + 1):
        body = random.Random(size).randbytes(size)
        body = body.replace(b"ab", b"\r\n--" + BOUNDARY[:-1].encode() + b"!")[:size]
        reply, text = post(plain, body=body)
        assert reply.status == 204, (size, text)
        assert s3.get_object(Bucket="bucket", Key="foo.txt")["Body"].read() == body


def test_boto3_presigned_post(plain, s3):
    for version in ("s3v4", "s3"):
        client = plain.client()
        client.meta.config.signature_version = version
        made = client.generate_presigned_post("bucket", "foo-${filename}", Conditions=[
            ["content-length-range", 1, 10]])
        reply, text = send(plain, encoded(made["fields"], b"12345"))
        assert reply.status == 204, text
    assert s3.get_object(Bucket="bucket", Key="foo-foo.txt")["Body"].read() == b"12345"


def test_post_object_set_key_from_filename(plain, s3):
    for filename in ("foo1.txt", "a/b/foo2.txt", "C:\\x\\foo3.txt"):
        fields = {"key": "${filename}"} | signed(policy_of())
        reply, text = send(plain, encoded(fields, filename=filename))
        assert reply.status == 204, text
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == [
        "foo1.txt", "foo2.txt", "foo3.txt"]


def test_post_object_case_insensitive_condition_fields(plain, s3):
    policy = policy_of([{"bUcKeT": "bucket"}, ["StArTs-WiTh", "$KeY", "foo"], {"AcL": "private"},
                        ["StArTs-WiTh", "$CoNtEnT-TyPe", "text/plain"]])
    fields = {"kEy": "foo.txt", "aCl": "private", "Content-Type": "text/plain"} | {
        k.swapcase(): v for k, v in signed(policy).items()}
    reply, text = send(plain, encoded(fields))
    assert reply.status == 204, text
    assert s3.head_object(Bucket="bucket", Key="foo.txt")["ContentType"] == "text/plain"


def test_post_object_ignored_header_and_what_follows_the_file(plain, s3):
    fields = {"key": "foo.txt", "x-ignore-foo": "bar"} | signed(policy_of())
    late = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="key"\r\n\r\nelsewhere\r\n'.encode()
    reply, text = send(plain, encoded(fields, after=late) + b"more")
    assert reply.status == 204, text
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["foo.txt"]


def test_post_object_escaped_field_values(plain, s3):
    reply, text = post(plain, [{"bucket": "bucket"}, ["starts-with", "$key", r"\$foo"]],
                       key=r"\$foo.txt")
    assert reply.status == 204, text
    assert s3.get_object(Bucket="bucket", Key=r"\$foo.txt")["Body"].read() == b"bar"


def test_post_object_user_specified_header(plain, s3):
    reply, text = post(plain, [*CONDITIONS, ["starts-with", "$x-amz-meta-foo", "bar"],
                               {"Cache-Control": "no-store"}, {"Content-Disposition": "inline"},
                               {"x-amz-checksum-crc32": "dv+Mqg=="}],
                       **{"x-amz-meta-foo": "barclamp", "Cache-Control": "no-store",
                          "Content-Disposition": "inline", "x-amz-checksum-crc32": "dv+Mqg=="})
    assert reply.status == 204, text
    head = s3.head_object(Bucket="bucket", Key="foo.txt", ChecksumMode="ENABLED")
    assert head["Metadata"] == {"foo": "barclamp"} and head["CacheControl"] == "no-store"
    assert head["ContentDisposition"] == "inline" and head["ChecksumCRC32"] == "dv+Mqg=="


def test_post_object_set_success_code_set_invalid_success_code(plain, s3):
    for asked, want in (("200", 200), ("201", 201), ("204", 204), ("404", 204)):
        reply, text = post(plain, [*CONDITIONS, ["eq", "$success_action_status", asked]],
                           success_action_status=asked)
        assert reply.status == want, text
        assert ("<Key>foo.txt</Key>" in text) == (want == 201)


def test_post_object_success_redirect_action(plain, s3):
    url = "http://example.com/done?x=1"
    reply, text = post(plain, [*CONDITIONS, ["eq", "$success_action_redirect", url]],
                       success_action_redirect=url)
    etag = hashlib.md5(b"bar").hexdigest()
    assert reply.status == 303, text
    assert reply.headers["Location"] == f"{url}&bucket=bucket&key=foo.txt&etag=%22{etag}%22"
    reply, text = post(plain, [*CONDITIONS, ["eq", "$success_action_redirect", "javascript:x"]],
                       success_action_redirect="javascript:x")
    assert reply.status == 204 and reply.headers["Location"] == f"{plain.url}/bucket/foo.txt"


EVIL = "http://a/\r\nX-Evil: 1"


REFUSED = [
    ("invalid_signature", 403, "SignatureDoesNotMatch", {"x-amz-signature": "0" * 64}),
    ("missing_signature", 400, "InvalidArgument", {"x-amz-signature": None}),
    ("invalid_access_key", 403, "InvalidAccessKeyId",
     {"x-amz-credential": f"nobody/{stamp(0, '%Y%m%d')}/us-east-1/s3/aws4_request"}),
    ("no_key_specified", 400, "InvalidArgument", {"key": None}),
    ("algorithm", 400, "InvalidArgument", {"x-amz-algorithm": "none"}),
    ("date", 400, "InvalidArgument", {"x-amz-date": "today"}),
    ("credential", 400, "InvalidArgument", {"x-amz-credential": "nonsense"}),
    ("region", 400, "InvalidArgument",
     {"x-amz-credential": f"test/{stamp(0, '%Y%m%d')}/moon/s3/aws4_request"}),
    ("anonymous", 403, "AccessDenied", {"x-amz-algorithm": None, "x-amz-date": None, "policy": None,
                                        "x-amz-credential": None, "x-amz-signature": None}),
    ("request_missing_policy_specified_field", 403, "AccessDenied", {"x-amz-meta-extra": "1"}),
    ("wrong_bucket", 403, "AccessDenied", {"bucket": "another"}),
    ("key_of_ours", 403, "AccessDenied", {"key": ".skyvol/x"}),
    ("long_key", 400, "KeyTooLongError", {"key": "foo" + "x" * 1024}),
    ("injected_meta", 403, "AccessDenied", {"x-amz-meta-a": "1\r\nX-Evil: 1"})]


def test_post_object_refused(plain, s3):
    for name, want, code, how in REFUSED:
        fields = {"key": "foo.txt"} | signed(policy_of()) | how
        reply, text = send(plain, encoded({k: v for k, v in fields.items() if v is not None}))
        assert (reply.status, f"<Code>{code}</Code>" in text) == (want, True), (name, text)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


BOTH = list(CONDITIONS)


POLICIES = [
    ("expired_policy", 403, "AccessDenied", {"expiration": stamp(-5)}),
    ("invalid_date_format", 400, "InvalidPolicyDocument", {"expiration": "2099-01-01 10:00:00"}),
    ("expires_is_case_sensitive", 400, "InvalidPolicyDocument",
     {"expiration": None, "EXPIRATION": stamp()}),
    ("missing_expires_condition", 400, "InvalidPolicyDocument", {"expiration": None}),
    ("condition_is_case_sensitive", 400, "InvalidPolicyDocument",
     {"conditions": None, "CONDITIONS": BOTH}),
    ("missing_conditions_list", 400, "InvalidPolicyDocument", {"conditions": None}),
    ("conditions_no_list", 400, "InvalidPolicyDocument", {"conditions": True}),
    ("empty_conditions", 400, "InvalidPolicyDocument", {"conditions": [{}]}),
    ("condition_of_no_kind", 400, "InvalidPolicyDocument", {"conditions": [7]}),
    ("unknown_operation", 400, "InvalidPolicyDocument", {"conditions": [["is", "$key", "x"]]}),
    ("unknown_member", 400, "InvalidPolicyDocument", {"more": 1}),
    ("missing_policy_condition", 403, "AccessDenied", {"conditions": BOTH[1:]}),
    ("missing_key_condition", 403, "AccessDenied", {"conditions": BOTH[:1]}),
    ("other_bucket", 403, "AccessDenied", {"conditions": [{"bucket": "other"}, BOTH[1]]}),
    ("invalid_request_field_value", 403, "AccessDenied",
     {"conditions": [*BOTH, ["eq", "$x-amz-meta-foo", "1"]]}),
    ("upload_size_limit_exceeded", 400, "EntityTooLarge",
     {"conditions": [*BOTH, ["content-length-range", 0, 2]]}),
    ("upload_size_below_minimum", 400, "EntityTooSmall",
     {"conditions": [*BOTH, ["content-length-range", 4, 1000]]}),
    ("missing_content_length_argument", 400, "InvalidPolicyDocument",
     {"conditions": [*BOTH, ["content-length-range", 0]]}),
    ("invalid_content_length_argument", 400, "InvalidPolicyDocument",
     {"conditions": [*BOTH, ["content-length-range", -1, 0]]})]


def test_post_object_policy(plain, s3):
    for version in (4, 2):
        for name, want, code, changes in POLICIES:
            reply, text = post(plain, version=version, changes=changes)
            assert (reply.status, f"<Code>{code}</Code>" in text) == (want, True), (name, text)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_a_form_that_is_none(plain, s3):
    good = encoded({"key": "foo.txt"} | signed(policy_of()))
    for whole, kind, want, code in (
            (good, "text/plain", 412, "PreconditionFailed"),
            (good, "multipart/form-data", 400, "MalformedPOSTRequest"),
            (good, "multipart/form-data; boundary=other", 400, "MalformedPOSTRequest"),
            (b"", f"multipart/form-data; boundary={BOUNDARY}", 400, "MalformedPOSTRequest"),
            (good[:-len(BOUNDARY) - 8], f"multipart/form-data; boundary={BOUNDARY}", 400,
             "MalformedPOSTRequest"),
            (encoded({"key": "x"}, None), f"multipart/form-data; boundary={BOUNDARY}", 400,
             "InvalidArgument"),
            (encoded({"key": "x", "long": "y" * 30000}), f"multipart/form-data; boundary={BOUNDARY}",
             400, "MaxPostPreDataLengthExceededError"),
            (good.replace(b'name="key"', b'name="policy"'),
             f"multipart/form-data; boundary={BOUNDARY}", 400, "InvalidArgument")):
        reply, text = send(plain, whole, kind=kind)
        assert (reply.status, f"<Code>{code}</Code>" in text) == (want, True), (kind, text)
    late = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'.encode()
    big = encoded({"key": "foo.txt"} | signed(policy_of()), b"z" * 2 * MIB, after=late)
    reply, text = send(plain, big)  # how long it is was to follow from the whole
    assert (reply.status, "MalformedPOSTRequest" in text) == (400, True)
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_a_form_injects_no_header(plain, s3):
    for field, value in (("success_action_redirect", EVIL), ("x-amz-meta-a", "1\r\nX-Evil: 1"),
                         ("Content-Type", "a/b\r\nX-Evil: 1")):
        reply, text = post(plain, [*CONDITIONS, ["eq", f"${field}", value]], **{field: value})
        assert (reply.status, "InvalidArgument" in text) == (400, True)
        assert reply.headers["X-Evil"] is None


def test_a_form_of_a_key_that_only_reads_and_of_no_bucket(plain, s3):
    fields = {"key": "foo.txt"} | signed(policy_of(), access="reader")
    assert send(plain, encoded(fields))[0].status == 403
    reply, text = post(plain, [{"bucket": "absent"}, CONDITIONS[1]], bucket="absent")
    assert (reply.status, "NoSuchBucket" in text) == (404, True)
    reply, text = post(plain, [*CONDITIONS, {"acl": "public-read"}], acl="public-read")
    assert (reply.status, "AccessControlListNotSupported" in text) == (400, True)
    reply, text = post(plain, [*CONDITIONS, {"x-amz-checksum-crc32": "AAAAAA=="}],
                       **{"x-amz-checksum-crc32": "AAAAAA=="})
    assert (reply.status, "BadDigest" in text) == (400, True), text
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")


def test_a_form_without_a_length_and_with_one_that_is_asked_for(plain, s3):
    whole = encoded({"key": "foo.txt"} | signed(policy_of()), b"x" * MIB)
    pieces = iter([whole[i:i + 1000] for i in range(0, len(whole), 1000)])
    reply, text = send(plain, pieces, headers={"Transfer-Encoding": "chunked"})
    assert reply.status == 204, text
    reply, text = send(plain, whole, headers={"Expect": "100-continue"})
    assert reply.status == 204, text
    assert s3.head_object(Bucket="bucket", Key="foo.txt")["ContentLength"] == MIB


def test_a_form_of_a_key_that_is_for_other_buckets(processes, workdir):
    served = Endpoint(processes, workdir, more_keys=[
        {"access_key": "bound", "secret_key": SECRET, "buckets": ["other"]}])
    for bucket in ("bucket", "other"):
        served.client().create_bucket(Bucket=bucket)
        for version in (4, 2):
            policy = policy_of([{"bucket": bucket}, CONDITIONS[1]])
            fields = {"key": "foo.txt"} | signed(policy, version, access="bound")
            reply, text = send(served, encoded(fields), bucket)
            assert reply.status == (204 if bucket == "other" else 403), text
    served.close()


def test_post_object_tags_authenticated_request(plain, s3):
    conditions = [{"bucket": "bucket"}, ["starts-with", "$key", "foo"], ["starts-with", "$tagging", ""]]
    tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1</Value></Tag></TagSet></Tagging>"
    reply, text = post(plain, conditions, tagging=tagging)
    assert reply.status == 204, text
    assert s3.get_object_tagging(Bucket="bucket", Key="foo.txt")["TagSet"] == [
        {"Key": "a b", "Value": "1"}]
    for wrong, code in (("<Tagging>", "MalformedXML"), (tagging.replace("a b", "aws:b"), "InvalidTag")):
        reply, text = post(plain, conditions, key="foo2.txt", tagging=wrong)
        assert reply.status == 400 and f"<Code>{code}</Code>" in text
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["foo.txt"]

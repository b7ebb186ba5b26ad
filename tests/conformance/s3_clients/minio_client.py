#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of run_s3_clients with minio-py as it is by default.

minio_client.py BUCKET NAME SEEDED [virtual]

minio-py takes the authority from SSL_CERT_FILE and keys from a provider; the endpoint is told it.
"""
import hashlib
import io
import os
import sys
import urllib.parse
import urllib.request

from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials import EnvAWSProvider, IamAwsProvider
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

MIB = 1024 * 1024
SIZES = {"0": 0, "1": 1, "a b+ü&=%41~'/5242880": 5 * MIB}


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def check(truth, *told):
    if not truth:
        raise AssertionError(*told)


def code_of(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except S3Error as error:
        return error.code
    return "no error"


class Steps:
    def __init__(self, bucket, name, seeded, style="path"):
        url = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
        self.provider = IamAwsProvider() if "AWS_CONTAINER_CREDENTIALS_FULL_URI" in os.environ \
            else EnvAWSProvider()
        self.client = Minio(url.netloc, secure=url.scheme == "https", credentials=self.provider,
                            region=os.environ["AWS_REGION"])
        if style == "virtual":
            self.client.enable_virtual_style_endpoint()
        self.bucket, self.name, self.seeded = bucket, name, seeded
        self.contents = {}

    def get(self, key, bucket=None, **arguments):
        reply = self.client.get_object(bucket or self.bucket, key, **arguments)
        try:
            return reply.read(), reply.headers
        finally:
            reply.close()
            reply.release_conn()

    def put(self, key, body):
        self.contents[key] = body
        return self.client.put_object(self.bucket, key, io.BytesIO(body), len(body),
                                      content_type="x/y", metadata={"sha256": sha256(body)})

    def keys(self, prefix=""):
        return [o.object_name for o in self.client.list_objects(self.bucket, prefix=prefix,
                                                                recursive=True)]

    def make(self):
        other = f"{self.bucket}-2"
        for bucket in (self.bucket, other):
            self.client.make_bucket(bucket)
        check(self.client.bucket_exists(other), "a new bucket is not there")
        self.client.remove_bucket(other)
        names = [b.name for b in self.client.list_buckets()]
        check(self.bucket in names and other not in names, names)

    def put_get(self):
        for short, size in SIZES.items():
            key = f"{self.name}/{short}"
            self.put(key, os.urandom(size))
            got, headers = self.get(key)
            check(got == self.contents[key] and headers["x-amz-meta-sha256"] == sha256(got), key)
            stat = self.client.stat_object(self.bucket, key)
            check(stat.size == size and stat.content_type == "x/y", stat)

    def stream(self):
        key, body = f"{self.name}/stream", os.urandom(11 * MIB)
        self.contents[key] = body
        self.client.put_object(self.bucket, key, io.BytesIO(body), -1, part_size=5 * MIB)
        check(self.get(key)[0] == body, "another body came back")

    def range(self):
        key, body = list(self.contents.items())[2]
        for offset, length in ((0, 1), (100, 1000000), (len(body) - 7, 0)):
            got, headers = self.get(key, offset=offset, length=length)
            check(got == body[offset:offset + length if length else None], offset)
            check("Content-Range" in headers, "no Content-Range")

    def list(self):
        check(self.keys(f"{self.name}/") == sorted(self.contents), self.keys())
        check([o.object_name for o in self.client.list_objects(self.bucket)] == [f"{self.name}/"],
              "delimiter")

    def multipart(self):
        key = f"{self.name}/kept"
        written = self.put(key, os.urandom(20 * MIB))
        check("-" in written.etag, "it did not go in parts", written.etag)
        check(self.get(key)[0] == self.contents[key], "another body came back")

    def copy(self):
        key, to = f"{self.name}/kept", f"{self.name}/copy ü"
        self.client.copy_object(self.bucket, to, CopySource(self.bucket, key))
        self.contents[to] = self.contents[key]
        got, headers = self.get(to)
        check(got == self.contents[to] and headers["x-amz-meta-sha256"] == sha256(got), to)

    def condition(self):
        check(code_of(self.client.copy_object, self.bucket, f"{self.name}/x", CopySource(
            self.bucket, f"{self.name}/0", match_etag="x")) == "PreconditionFailed", "copy")

    def presign(self):
        key, body = f"{self.name}/signed ü", os.urandom(100000)
        self.contents[key] = body
        url = self.client.presigned_put_object(self.bucket, key)
        urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"),
                               timeout=60).close()
        with urllib.request.urlopen(self.client.presigned_get_object(self.bucket, key),
                                    timeout=60) as reply:
            check(reply.read() == body, "another body came back by URL")

    def read_seeded(self):
        for key in ("whole", "parts"):
            got, headers = self.get(key, self.seeded)
            check(headers["x-amz-meta-sha256"] == sha256(got), key)

    def delete(self):
        one = f"{self.name}/0"
        self.client.remove_object(self.bucket, one)
        check(code_of(self.client.get_object, self.bucket, one) == "NoSuchKey", one)
        rest = [DeleteObject(k) for k in self.contents if k not in (one, f"{self.name}/kept")]
        check(list(self.client.remove_objects(self.bucket, rest)) == [], "DeleteObjects")
        check(self.keys() == [f"{self.name}/kept"], self.keys())


def main(*arguments):
    client = Steps(*arguments)
    for name, run in (("bucket", client.make), ("put get", client.put_get),
                      ("stream", client.stream), ("range", client.range), ("list", client.list),
                      ("multipart", client.multipart), ("copy", client.copy),
                      ("condition", client.condition), ("presign", client.presign),
                      ("seeded", client.read_seeded), ("delete", client.delete)):
        try:
            run()
        except Exception as error:  # whatever it is: it is this step that failed
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:500]}")
            return 1
        print("ok", name, flush=True)
    print("credentials", type(client.provider).__name__)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

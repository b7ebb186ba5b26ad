#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of run_s3_clients with boto3 as it is by default, and what crosses over to other clients.

boto3_client.py steps BUCKET NAME SEEDED [virtual]   everything, below NAME/ in BUCKET
boto3_client.py seed SEEDED                          write what the others are to read
boto3_client.py make BUCKET                          for clients that cannot
boto3_client.py verify BUCKET KEY SHA256|-           read what another wrote, see that nothing else is
                                                     left, and remove it; -: its metadata tells the sum
"""
import hashlib
import io
import os
import sys
import urllib.request

import boto3
import botocore.exceptions
from botocore.config import Config

MIB = 1024 * 1024
SIZES = {"0": 0, "1": 1, "a b+ü&=%41~'/5242880": 5 * MIB}


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def check(truth, *told):
    if not truth:
        raise AssertionError(*told)


def code_of(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return "no error"


class Steps:
    def __init__(self, bucket, name, seeded, style="auto"):
        self.s3 = boto3.client("s3", config=Config(s3={"addressing_style": style}))
        self.bucket, self.name, self.seeded = bucket, name, seeded
        self.contents = {}

    def get(self, key, bucket=None, **arguments):
        reply = self.s3.get_object(Bucket=bucket or self.bucket, Key=key, **arguments)
        return reply["Body"].read(), reply

    def keys(self, prefix=""):
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"PageSize": 2})
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def make(self):
        self.s3.create_bucket(Bucket=self.bucket)
        other = f"{self.bucket}-2"
        self.s3.create_bucket(Bucket=other)
        self.s3.head_bucket(Bucket=other)
        self.s3.delete_bucket(Bucket=other)
        names = [b["Name"] for b in self.s3.list_buckets()["Buckets"]]
        check(self.bucket in names and other not in names, names)

    def put_get(self):
        for short, size in SIZES.items():
            key, body = f"{self.name}/{short}", os.urandom(size)
            self.contents[key] = body
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType="x/y",
                               Metadata={"sha256": sha256(body)})
            got, reply = self.get(key)
            check(got == body and reply["Metadata"] == {"sha256": sha256(got)}, key)
            check("ChecksumCRC32" in reply or "ChecksumCRC64NVME" in reply, "no checksum came with it")
            head = self.s3.head_object(Bucket=self.bucket, Key=key)
            check(head["ContentLength"] == size and head["ContentType"] == "x/y", head)

    def range(self):
        key, body = list(self.contents.items())[2]
        for text, want in (("0-0", body[:1]), ("100-1000099", body[100:1000100]), ("-7", body[-7:])):
            got, reply = self.get(key, Range=f"bytes={text}")
            check(got == want and reply["ContentRange"], text)
        check(code_of(self.s3.get_object, Bucket=self.bucket, Key=key,
                      Range=f"bytes={len(body)}-") == "InvalidRange", "beyond the end")

    def list(self):
        check(self.keys(f"{self.name}/") == sorted(self.contents), self.keys())
        page = self.s3.list_objects_v2(Bucket=self.bucket, Delimiter="/")
        check([p["Prefix"] for p in page["CommonPrefixes"]] == [f"{self.name}/"], page)

    def multipart(self):
        key, body = f"{self.name}/kept", os.urandom(20 * MIB)
        self.contents[key] = body
        self.s3.upload_fileobj(io.BytesIO(body), self.bucket, key,
                               ExtraArgs={"Metadata": {"sha256": sha256(body)}})
        back = io.BytesIO()
        self.s3.download_fileobj(self.bucket, key, back)
        check(back.getvalue() == body, "another body came back")
        head = self.s3.head_object(Bucket=self.bucket, Key=key)
        check("-" in head["ETag"], "it did not go in parts", head["ETag"])

    def copy(self):
        key, to = f"{self.name}/kept", f"{self.name}/copy ü"
        self.s3.copy({"Bucket": self.bucket, "Key": key}, self.bucket, to)
        self.contents[to] = self.contents[key]
        got, reply = self.get(to)
        check(got == self.contents[key] and reply["Metadata"] == {"sha256": sha256(got)}, to)

    def condition(self):
        check(code_of(self.s3.put_object, Bucket=self.bucket, Key=f"{self.name}/0", Body=b"x",
                      IfNoneMatch="*") == "PreconditionFailed", "put where something is")

    def presign(self):
        where = {"Bucket": self.bucket, "Key": f"{self.name}/signed ü"}
        body = os.urandom(100000)
        self.contents[where["Key"]] = body
        for signer in (self.s3, boto3.client("s3", config=Config(signature_version="s3v4"))):
            url = signer.generate_presigned_url("put_object", where)
            if signer is self.s3:
                check("AWSAccessKeyId=" in url, "in us-east-1 its default was version 2")
            # urllib would add a Content-Type, which version 2 signs
            request = urllib.request.Request(url, data=body, method="PUT", headers={"Content-Type": ""})
            urllib.request.urlopen(request, timeout=60).close()
            url = signer.generate_presigned_url("get_object", where)
            with urllib.request.urlopen(url, timeout=60) as reply:
                check(reply.read() == body, "another body came back by URL")
            url = signer.generate_presigned_url("delete_object", where)
            if signer is self.s3:
                urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60).close()

    def read_seeded(self):
        for key in ("whole", "parts"):
            got, reply = self.get(key, self.seeded)
            check(reply["Metadata"]["sha256"] == sha256(got), key)

    def delete(self):
        one = f"{self.name}/0"
        self.s3.delete_object(Bucket=self.bucket, Key=one)
        check(code_of(self.s3.get_object, Bucket=self.bucket, Key=one) == "NoSuchKey", one)
        rest = [k for k in self.contents if k not in (one, f"{self.name}/kept")]
        answer = self.s3.delete_objects(Bucket=self.bucket,
                                        Delete={"Objects": [{"Key": k} for k in rest]})
        check(len(answer["Deleted"]) == len(rest) and "Errors" not in answer, answer)
        check(self.keys() == [f"{self.name}/kept"], self.keys())


def steps(*arguments):
    client = Steps(*arguments)
    for name, run in (("bucket", client.make), ("put get", client.put_get), ("range", client.range),
                      ("list", client.list), ("multipart", client.multipart), ("copy", client.copy),
                      ("condition", client.condition), ("presign", client.presign),
                      ("seeded", client.read_seeded), ("delete", client.delete)):
        try:
            run()
        except Exception as error:  # whatever it is: it is this step that failed
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:500]}")
            return 1
        print("ok", name, flush=True)
    print("credentials", client.s3._request_signer._credentials.method)
    return 0


def seed(bucket):
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=bucket)
    whole, parts = os.urandom(5 * MIB), os.urandom(20 * MIB)
    s3.put_object(Bucket=bucket, Key="whole", Body=whole, ChecksumAlgorithm="SHA256",
                  Metadata={"sha256": sha256(whole)})
    s3.upload_fileobj(io.BytesIO(parts), bucket, "parts",
                      ExtraArgs={"Metadata": {"sha256": sha256(parts)}})
    print(sha256(whole), sha256(parts))
    return 0


def make(bucket):
    boto3.client("s3").create_bucket(Bucket=bucket)
    return 0


def verify(bucket, key, want):
    s3 = boto3.client("s3")
    reply = s3.get_object(Bucket=bucket, Key=key)
    got = sha256(reply["Body"].read())
    check(got == (reply["Metadata"]["sha256"] if want == "-" else want), key, "is not what was written")
    left = [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    users = [k for k in left if not k.startswith(".skyvol/")]
    check(users in ([key], [key.split("/")[0] + "/", key]), "left over:", users)  # mounts write "NAME/"
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    check(uploads == [], "uploads left over:", uploads)
    for one in left:
        s3.delete_object(Bucket=bucket, Key=one)
    s3.delete_bucket(Bucket=bucket)
    return 0


if __name__ == "__main__":
    sys.exit({"steps": steps, "seed": seed, "make": make, "verify": verify}[sys.argv[1]](*sys.argv[2:]))

# SPDX-License-Identifier: Apache-2.0
"""What the tests share: clients of several users, and requests sent and read byte by byte."""
import base64
import collections
import hashlib
import http.client
import os
import socket
import urllib.parse
import uuid
import zlib

import awscrt.checksums
import boto3
import pytest
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

MIB = 1024 * 1024
User = collections.namedtuple("User", "access secret account name")
URL = os.environ.get("S3_MUST_URL", "")  # of the server that run_s3_must has started
HOST, PORT = urllib.parse.urlsplit(URL).hostname, urllib.parse.urlsplit(URL).port
OWNER = os.environ.get("S3_MUST_OWNER")  # of all buckets, where there are no accounts
USERS = {name: User(f"{name}-key", f"{name}-secret-of-the-suite", OWNER or f"{name}-account", OWNER or f"{name} owner")
         for name in ("main", "alt", "pager")}
# As most people have boto3: awscrt, where it is installed, makes the checksums but not the signatures.
AUTH_TYPE_MAPS.update({"s3v4": S3SigV4Auth, "s3v4-query": S3SigV4QueryAuth})
SESSION = boto3.Session()
SHARED = {}


def fresh(user="main", secret=None, **config):
    """A client of its own, whose events may be hooked."""
    who = USERS.get(user) or User(user, "unknown", "", "")
    return SESSION.client(
        "s3", endpoint_url=URL, aws_access_key_id=who.access,
        aws_secret_access_key=secret or who.secret, region_name="us-east-1",
        config=Config(signature_version="s3v4", retries={"max_attempts": 1}, read_timeout=60,
                      s3={"addressing_style": "path"}, **config))


def client(user="main"):
    if user not in SHARED:
        SHARED[user] = fresh(user)
    return SHARED[user]


def new_name():
    return f"must-{uuid.uuid4().hex[:20]}"


def new_bucket(s3=None):
    name = new_name()
    (s3 or client()).create_bucket(Bucket=name)
    return name


def error(call, *args, **kwargs):
    """(Code, status) of a call that must be refused, with what every refusal has."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    reply = caught.value.response
    meta = reply["ResponseMetadata"]
    assert meta["HTTPHeaders"]["x-amz-request-id"], meta
    assert "date" in meta["HTTPHeaders"], meta
    if meta["HTTPHeaders"].get("content-length", "0") != "0" and meta["HTTPStatusCode"] != 304:
        if "Message" in reply["Error"] and not reply["Error"]["Code"].isdigit():
            assert meta["HTTPHeaders"]["content-type"] == "application/xml", meta
    return reply["Error"]["Code"], meta["HTTPStatusCode"]


def fill(s3, bucket, keys):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def body(s3, bucket, key, **kwargs):
    return s3.get_object(Bucket=bucket, Key=key, **kwargs)["Body"].read()


def ok(reply, status=200):
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == status, reply["ResponseMetadata"]
    return reply


def etag_of(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


def digest(name, data):
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def crc64nvme(data):
    return base64.b64encode(awscrt.checksums.crc64nvme(data).to_bytes(8, "big")).decode()


def crc32c(data):
    return base64.b64encode(awscrt.checksums.crc32c(data).to_bytes(4, "big")).decode()


def pattern(size, seed=0):
    line = bytes((seed + i * 7 + i // 251) % 256 for i in range(65536))
    return (line * (size // 65536 + 1))[:size]


# ---- requests by hand ----

class Signer(S3SigV4Auth):
    def __init__(self, payload, user):
        super().__init__(Credentials(user.access, user.secret), "s3", "us-east-1")
        self.payload_text = payload

    def payload(self, request):
        return self.payload_text

    def _modify_request_before_signing(self, request):
        super()._modify_request_before_signing(request)
        del request.headers["X-Amz-Content-SHA256"]
        request.headers["X-Amz-Content-SHA256"] = self.payload_text


def signed_headers(method, path, headers=(), payload="UNSIGNED-PAYLOAD", user="main"):
    request = AWSRequest(method, URL + path, headers=dict(headers) | {"X-Amz-Content-SHA256": payload})
    Signer(payload, USERS[user]).add_auth(request)
    return [("Host", f"{HOST}:{PORT}"), *[(k, v) for k, v in request.headers.items()
                                          if k.lower() != "host"]]


class Reply:
    def __init__(self, raw):
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        self.status, self.headers = answer.status, {k.lower(): v for k, v in answer.getheaders()}
        self.text = answer.read()

    @property
    def code(self):
        start = self.text.find(b"<Code>")
        return self.text[start + 6:self.text.find(b"</Code>")].decode() if start >= 0 else ""


class Raw:
    """One request on a connection of its own, in pieces."""

    def __init__(self, method, path, headers):
        self.raw = socket.create_connection((HOST, PORT), 20)
        self.raw.settimeout(60)
        lines = [f"{method} {path} HTTP/1.1", *[f"{k}: {v}" for k, v in headers]]
        self.raw.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def send(self, data):
        self.raw.sendall(data)

    def line(self):
        """The status line that has come, and its headers; nothing beyond them is read."""
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            byte = self.raw.recv(1)
            assert byte, text
            text += byte
        return text

    def reply(self):
        with self.raw:
            return Reply(self.raw)


def send(method, path, headers=(), data=b"", user="main", length=True):
    """Signed as it should be, then sent as it is."""
    head = signed_headers(method, path, headers, user=user) if user else [
        ("Host", f"{HOST}:{PORT}"), *dict(headers).items()]
    if length:
        head.append(("Content-Length", str(len(data))))
    request = Raw(method, path, head)
    request.send(data)
    return request.reply()


def slow_put(bucket, key, size, headers=()):
    """A PUT whose head was sent; send() its bytes, then reply()."""
    path = f"/{bucket}/{key}"
    head = signed_headers("PUT", path, headers) + [("Content-Length", str(size))]
    return Raw("PUT", path, head)


def with_headers(operation, add=(), remove=(), event="before-call"):
    """A client whose requests of this operation carry other headers: before they are signed, or, with
    before-send, after that."""
    s3 = fresh()

    def change(params=None, request=None, **kwargs):
        headers = params["headers"] if request is None else request.headers
        for name in remove:
            if name in headers:
                del headers[name]
        for name, value in dict(add).items():
            if name in headers:
                del headers[name]
            headers[name] = value

    s3.meta.events.register(f"{event}.s3.{operation}", change)
    return s3

# SPDX-License-Identifier: Apache-2.0
"""Keys that reach one volume only: made by the store's STS, renewed under live mounts."""
import hashlib
import http.client
import http.server
import json
import os
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import boto3
import holder_client
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from conftest import Endpoint, free_port, program, wait_until
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from test_csi import Volume, csi  # noqa: F401 (a fixture)
from test_meta import Meta

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse")
USER, SECRET = "skyvol-user", "user-secret-7c1d"


# ---- MinIO with an ordinary user ----

def sealed(password, data):
    """As MinIO's administrators' calls want their bodies: AES-GCM in fragments, of which this is the last."""
    salt, nonce = os.urandom(32), os.urandom(8)
    gcm = AESGCM(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 8192, 32))
    return salt + b"\x02" + nonce + gcm.encrypt(
        nonce + bytes([1, 0, 0, 0]), data, b"\x80" + gcm.encrypt(nonce + bytes(4), b"", b""))


def administer(minio, call, body=b""):
    url = f"{minio.url}/minio/admin/v3/{call}"
    request = AWSRequest("PUT", url, data=body, headers={
        "X-Amz-Content-Sha256": hashlib.sha256(body).hexdigest()})
    S3SigV4Auth(Credentials(minio.access_key, minio.secret_key), "s3", "us-east-1").add_auth(request)
    with urllib.request.urlopen(urllib.request.Request(
            url, data=body, headers=dict(request.headers), method="PUT"), timeout=20) as answer:
        assert answer.status == 200


@pytest.fixture
def user(minio):
    """An ordinary user of MinIO, with the right to everything but to administer."""
    administer(minio, f"add-user?accessKey={USER}", sealed(minio.secret_key, json.dumps(
        {"secretKey": SECRET, "status": "enabled"}).encode()))
    administer(minio, f"set-user-or-group-policy?policyName=readwrite&userOrGroup={USER}&isGroup=false")
    return Endpoint(minio.url, USER, SECRET)


# ---- the metaserver ----

class Server(Meta):
    def ctl(self, *words, check=True):
        done = subprocess.run([program("skyvolctl"), *words, "--meta", f"unix:{self.socket}"],
                              capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if check else (done.returncode, done.stderr)

    def add(self, endpoint, *options, name="default", check=True):
        keys = self.dir / "keys.json"
        keys.write_text(json.dumps({"access_key": endpoint.access_key,
                                    "secret_key": endpoint.secret_key}))
        keys.chmod(0o600)
        return self.ctl("store", "add", name, "s3://", "--endpoint", endpoint.url,
                        "--credentials-file", str(keys), *options, check=check)

    def attach(self, volume, check=True, **more):
        return self.call("Volumes/AttachVolume", {"id": volume["id"], "node": "n1", **more},
                         check=check)

    def metric(self, port, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return next((float(line.rsplit(" ", 1)[1]) for line in answer.read().decode().split("\n")
                         if line.startswith(name)), None)


@pytest.fixture
def meta(workdir, processes):
    server = Server(workdir, processes)
    server.start()
    return server


def client_of(url, credentials):
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1",
                        aws_access_key_id=credentials["accessKey"],
                        aws_secret_access_key=credentials["secretKey"],
                        aws_session_token=credentials["sessionToken"])


def refused(call, **words):
    with pytest.raises(ClientError) as why:
        call(**words)
    return why.value.response["Error"]["Code"] in ("AccessDenied", "403")


def no_secret_in(text, *secrets):
    for secret in secrets:
        assert secret not in text


# ---- what they may ----

def test_keys_of_a_volume_reach_its_prefix_and_nothing_else(meta, user):
    meta.add(user, "--sts-endpoint", user.url)
    one, other = (meta.create(name, bucket="shared") for name in ("one", "other"))
    own = meta.create("own")
    root = user.client()
    for volume in (one, other, own):
        root.put_object(Bucket=volume["bucket"], Key=volume.get("prefix", "") + "mine", Body=b"secret")
    keys = meta.attach(one)["credentials"]
    assert keys["accessKey"] != USER and keys["sessionToken"]
    s3, prefix, theirs = client_of(user.url, keys), one["prefix"], other["prefix"]
    s3.put_object(Bucket="shared", Key=prefix + "a", Body=b"x" * 10)
    assert s3.get_object(Bucket="shared", Key=prefix + "mine")["Body"].read() == b"secret"
    s3.copy_object(Bucket="shared", Key=prefix + "b", CopySource=f"shared/{prefix}a")
    upload = s3.create_multipart_upload(Bucket="shared", Key=prefix + "m")["UploadId"]
    at = {"Bucket": "shared", "Key": prefix + "m", "UploadId": upload}
    s3.upload_part(**at, PartNumber=1, Body=b"part")
    assert len(s3.list_parts(**at)["Parts"]) == 1
    s3.abort_multipart_upload(**at)
    s3.delete_objects(Bucket="shared", Delete={"Objects": [{"Key": prefix + "b"}]})
    found = s3.list_objects_v2(Bucket="shared", Prefix=prefix)["Contents"]
    assert {e["Key"] for e in found} >= {prefix + "a", prefix + "mine"}
    assert s3.get_bucket_location(Bucket="shared")
    for place in ({"Bucket": "shared", "Key": theirs + "mine"}, {"Bucket": own["bucket"], "Key": "mine"},
                  {"Bucket": "shared", "Key": prefix[:-1] + "x"}):
        for call in (s3.get_object, s3.head_object, s3.delete_object):
            assert refused(call, **place), (call, place)
        assert refused(s3.put_object, **place, Body=b"x")
        assert refused(s3.create_multipart_upload, **place)
        assert refused(s3.copy_object, Bucket="shared", Key=prefix + "c", CopySource=place)
    for prefixes in ({"Prefix": theirs}, {"Prefix": prefix[:-1]}, {"Prefix": ""}, {}):
        assert refused(s3.list_objects_v2, Bucket="shared", **prefixes), prefixes
        assert refused(s3.list_objects, Bucket="shared", **prefixes), prefixes
    assert refused(s3.list_objects_v2, Bucket=own["bucket"])
    assert refused(s3.list_object_versions, Bucket="shared", Prefix=theirs)
    assert refused(s3.list_multipart_uploads, Bucket="shared")
    assert refused(s3.delete_bucket, Bucket="shared") and refused(s3.create_bucket, Bucket="more")
    assert refused(s3.put_bucket_policy, Bucket="shared", Policy="{}")
    assert s3.list_buckets()["Buckets"] == [] or {b["Name"] for b in s3.list_buckets()["Buckets"]} == {"shared"}
    assert root.get_object(Bucket="shared", Key=theirs + "mine")["Body"].read() == b"secret"
    mine = client_of(user.url, meta.attach(own)["credentials"])  # a bucket of its own: all of it
    assert mine.list_objects_v2(Bucket=own["bucket"])["KeyCount"] >= 1
    assert mine.head_bucket(Bucket=own["bucket"])
    assert refused(mine.list_objects_v2, Bucket="shared", Prefix=prefix)


def test_a_volume_that_is_only_read_gets_keys_that_only_read(meta, user):
    meta.add(user, "--sts-endpoint", user.url)
    volume = meta.create("one", bucket="shared")
    user.client().put_object(Bucket="shared", Key=volume["prefix"] + "a", Body=b"x")
    s3 = client_of(user.url, meta.attach(volume, read_only=True)["credentials"])
    at = {"Bucket": "shared", "Key": volume["prefix"] + "a"}
    assert s3.get_object(**at)["Body"].read() == b"x"
    assert s3.list_objects_v2(Bucket="shared", Prefix=volume["prefix"])["KeyCount"]
    assert refused(s3.put_object, **at, Body=b"y") and refused(s3.delete_object, **at)
    assert refused(s3.create_multipart_upload, **at)
    assert refused(s3.copy_object, **at, CopySource=at, MetadataDirective="REPLACE")


def test_mounts_share_what_the_sts_gave_and_nobody_sees_the_stores_own_keys(meta, user, workdir, processes):
    port = free_port()
    processes.stop(meta.process)
    meta.start(options=["--status", f"127.0.0.1:{port}", "--log-level", "debug"])
    meta.add(user, "--sts-endpoint", user.url, "--sts-duration", "15m")
    volume = meta.create("one", bucket="shared")
    first, again = meta.attach(volume), meta.attach(volume)
    assert first["credentials"]["accessKey"] == again["credentials"]["accessKey"]
    assert 0 < int(first["credentials"]["expiresInMs"]) <= 900_000
    assert 0 < int(first["credentials"]["renewInMs"]) <= 450_000
    assert meta.metric(port, 'skyvol_meta_sts_requests_total{result="ok"}') == 2  # one by `store add`
    assert meta.metric(port, "skyvol_meta_temporary_keys") == 1
    point = workdir / "mnt"
    point.mkdir()
    for options in ([], ["--readonly"]):
        mount = processes.start([program("skyvolctl"), "mount", volume["id"], point, "--meta",
                                 f"unix:{meta.socket}", "-f", *options], "mount")
        wait_until(lambda: os.path.ismount(point), 20, "mount", mount)
        if not options:
            (point / "dir").mkdir()
            (point / "dir" / "file").write_bytes(b"x" * 300_000)
            os.rename(point / "dir" / "file", point / "renamed")
            with open(point / "big", "wb") as big:
                big.write(os.urandom(12 << 20))
            os.unlink(point / "big")
        assert len((point / "renamed").read_bytes()) == 300_000
        assert sorted(os.listdir(point)) == ["dir", "renamed"]
        token = first["credentials"]["sessionToken"]
        told = [open(f"/proc/{mount.pid}/{a}", "rb").read().decode("latin1") for a in ("cmdline", "environ")]
        subprocess.run(["umount", point], check=True)
        mount.wait(20)
        for text in (*told, mount.log.read_text(), meta.process.log.read_text()):
            no_secret_in(text, SECRET, token, first["credentials"]["secretKey"])


def memory_of(pid):
    """What a process can be read to hold, its memfds among it: piece by piece."""
    for line in open(f"/proc/{pid}/maps", encoding="latin1"):
        where, rights = line.split()[:2]
        begin, end = (int(x, 16) for x in where.split("-"))
        if rights.startswith("rw") and end - begin <= 64 << 20:
            try:
                with open(f"/proc/{pid}/mem", "rb", 0) as file:
                    file.seek(begin)
                    yield file.read(end - begin)
            except OSError:
                pass
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        try:
            if os.readlink(path).startswith("/memfd:") and os.stat(path).st_size < 64 << 20:
                with open(path, "rb") as file:
                    yield file.read()
        except OSError:
            pass


def test_the_key_of_a_class_stays_with_controller_and_metaserver(csi, user):  # noqa: F811
    secret = {"accessKeyID": USER, "secretAccessKey": SECRET, "endpoint": user.url, "stsEndpoint": user.url}
    made = csi.create("claim", secrets=secret, parameters={"bucket": "shared"})
    volume = Volume(csi, made["volumeId"], made["volumeContext"])
    volume.stage()
    here = volume.publish()
    (here / "a").write_text("claimed")
    volume.publish()  # as kubelet repeats it
    (here / "b").write_text("again")
    assert (here / "a").read_text() == "claimed"
    one = holder_client.Holder(csi.dir / "holder.sock").list()[0]
    found = {what: any(SECRET.encode() in piece for piece in memory_of(pid)) for what, pid in (
        ("node", csi.node.pid), ("holder", csi.holder.pid), ("mounter", one["mounter"]))}
    assert not any(found.values()), found
    assert any(b"session_token" in piece for piece in memory_of(one["mounter"]))  # it can be found at all
    volume.unpublish()
    volume.unstage()
    wait_until(lambda: csi.gone(made["volumeId"], secrets=secret), what="deletion")
    for log in csi.dir.glob("*.log"):
        assert SECRET not in log.read_text(errors="replace"), log


# ---- when there are none ----

def test_a_store_whose_sts_refuses_says_so_and_is_not_added(meta, user, minio):
    wrong = Endpoint(user.url, USER, "not-the-secret-at-all")
    code, why = meta.add(wrong, "--sts-endpoint", user.url, check=False)
    assert code != 0 and "STS refuses" in why and "not-the-secret" not in why
    for options, text in ((["--sts-endpoint", "ftp://x"], "http:// or https://"),
                          (["--sts-endpoint", "http://a:b@x"], "may hold"),
                          (["--sts-endpoint", user.url, "--sts-duration", "5m"], "15 minutes"),
                          (["--role-arn", "admin"], "ARN"), (["--sts-duration", "1h"], "goes with"),
                          (["--no-sts", "--role-arn", "arn:x"], "does not go with"),
                          (["--sts-endpoint", user.url + "/minio/health/live"], "without a path")):
        code, why = meta.add(user, *options, check=False)
        assert code != 0 and (text in why or text == "may hold"), (options, why)
    assert meta.ctl("store", "list").count("\n") == 1  # the heading
    meta.add(user, "--sts-endpoint", user.url)
    assert "temporary" in meta.ctl("store", "list")
    volume = meta.create("one")
    administer(minio, f"set-user-status?accessKey={USER}&status=disabled")
    why = meta.attach(volume, check=False)[1]
    assert "PermissionDenied" in why and "store default" in why and volume["id"] in why
    no_secret_in(why + meta.process.log.read_text(), SECRET)


def test_the_sts_of_a_store_stays_until_it_is_switched_off(meta, user):
    meta.add(user, "--sts-endpoint", user.url)
    volume = meta.create("one")
    keys = meta.attach(volume)["credentials"]
    meta.add(user)  # the same again, without a word of an STS
    assert meta.attach(volume)["credentials"]["accessKey"] == keys["accessKey"]
    meta.kill()
    meta.start()
    assert meta.attach(volume)["credentials"]["sessionToken"]
    meta.add(user, "--no-sts")
    assert meta.attach(volume)["credentials"]["accessKey"] == USER
    meta.add(user, "--sts-endpoint", user.url)
    assert meta.attach(volume)["credentials"]["accessKey"] != USER


# ---- time ----

class Hasty(http.server.ThreadingHTTPServer):
    """MinIO behind a gateway with which temporary keys end after seconds, not a quarter of an hour."""
    daemon_threads = True

    def __init__(self, behind, seconds):
        super().__init__(("127.0.0.1", 0), Hurry)
        self.behind, self.seconds = urllib.parse.urlsplit(behind).netloc, seconds
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.ends, self.used, self.late, self.refuse = {}, set(), 0, False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.shutdown()
        self.server_close()


class Hurry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("date", "server", "connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Content-Length", dict((n.lower(), v) for n, v in headers).get("content-length", "0"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def any(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = re.search("Credential=([^/]+)/", self.headers.get("Authorization", ""))
        key = key.group(1) if key else ""
        sts = body.startswith(b"Action=AssumeRole")
        if sts and server.refuse:
            self.answer(403, b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not today</Message>"
                             b"</Error></ErrorResponse>")
            return
        if key != USER and server.ends.get(key, 0) < time.time():
            server.late += 1
            self.answer(400, b"<Error><Code>ExpiredToken</Code><Message>late</Message></Error>")
            return
        server.used.add(key)
        behind = http.client.HTTPConnection(server.behind, timeout=30)
        behind.request(self.command, self.path, body, dict(self.headers.items()))
        reply = behind.getresponse()
        text = reply.read()
        if sts and reply.status == 200:
            end = int(time.time()) + server.seconds
            fresh = re.search(b"<AccessKeyId>([^<]+)<", text).group(1).decode()
            server.ends[fresh] = end + 1  # what is told is cut to the second
            text = re.sub(b"<Expiration>[^<]+<", time.strftime("<Expiration>%Y-%m-%dT%H:%M:%SZ<",
                                                               time.gmtime(end)).encode(), text)
        self.answer(reply.status, text, reply.getheaders())
        behind.close()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = any


class Mounted:
    """A volume with temporary keys, mounted under a holder."""

    def __init__(self, meta, processes, gateway, user):
        self.meta, self.gateway = meta, gateway
        meta.add(Endpoint(gateway.url, user.access_key, user.secret_key), "--sts-endpoint", gateway.url)
        self.volume = meta.create("one", bucket="shared")
        self.point, path = meta.dir / "held", meta.dir / "h.sock"
        self.point.mkdir()
        self.holder = processes.start([program("skyvol-holder"), "--socket", path, "--crash-limit", "1000"],
                                      "holder")
        wait_until(lambda: "holder is ready" in self.holder.log.read_text(), 10, "holder", self.holder)
        self.config = json.dumps({
            "location": f"s3://shared/{self.volume['prefix']}",
            "options": {"endpoint": gateway.url, "region": "us-east-1", "sync": "close", "attr_timeout": "0"},
            "meta": {"address": f"unix:{meta.socket}", "volume": self.volume["id"], "node": "n1",
                     "mount": "v1", "exclusive": False}})
        self.client = holder_client.Holder(path)
        self.client.mount("v1", self.point, self.config, self.secrets())

    def secrets(self):
        given = self.meta.attach(self.volume)
        keys = given["credentials"]
        return json.dumps({"access_key": keys["accessKey"], "secret_key": keys["secretKey"],
                           "session_token": keys["sessionToken"], "meta": {"token": given["volumeToken"]}})

    def touch(self, number):
        (self.point / f"file{number}").write_text(str(number))
        assert (self.point / f"file{number}").read_text() == str(number)

    def work_until(self, condition, what):
        def once():
            self.touch(len(os.listdir(self.point)) % 5)
            return condition()
        wait_until(once, 40, what)


@pytest.fixture
def hasty(user):
    with Hasty(user.url, 8) as gateway:
        yield gateway


def test_keys_are_renewed_under_a_live_mount_and_in_time(meta, processes, user, hasty):
    mounted = Mounted(meta, processes, hasty, user)
    mounted.work_until(lambda: len(hasty.used) >= 4, "third keys")  # with the store's own
    assert hasty.late == 0
    meta.processes.stop(meta.process)  # down for less than the time that is left
    mounted.touch("down")
    meta.start()
    mounter, seen = mounted.client.status("v1")["mounter"], len(hasty.used)
    mounted.work_until(lambda: len(hasty.used) > seen, "keys of a metaserver that is back")
    seen = len(hasty.used)
    holder_client.kill9(mounter)  # its successor has what it had, not what the mount began with
    mounted.touch("after")
    assert mounted.client.status("v1")["mounter"] != mounter
    mounted.work_until(lambda: len(hasty.used) > seen, "keys for the successor")
    assert hasty.late == 0
    mounted.client.unmount("v1")
    no_secret_in(mounted.holder.log.read_text() + meta.process.log.read_text(), SECRET)


def test_a_mount_whose_keys_have_ended_goes_on_once_there_are_new_ones(meta, processes, user, hasty):
    hasty.seconds = 4
    mounted = Mounted(meta, processes, hasty, user)
    mounted.touch(1)
    hasty.refuse = True
    wait_until(lambda: "the old ones are still good" in meta.process.log.read_text(), 10, "warning")
    wait_until(lambda: all(end < time.time() for end in hasty.ends.values()), 10, "end of the keys")
    with pytest.raises(OSError):
        mounted.touch(3)
    assert hasty.late > 0
    wait_until(lambda: "have expired and there are no newer ones" in mounted.holder.log.read_text(), 20, "error")
    assert "AccessDenied: not today" in mounted.holder.log.read_text()
    hasty.refuse = False
    wait_until(lambda: "keys are renewed" in mounted.holder.log.read_text(), 30, "new keys")
    mounted.touch(4)
    mounted.client.unmount("v1")

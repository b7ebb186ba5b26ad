# SPDX-License-Identifier: Apache-2.0
"""Who a client of skyvol-s3 is: bound keys, temporary credentials, the sidecar of a pod."""
import base64
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

from conftest import free_port, listening, program, wait_until
from test_s3 import PRELOAD, Endpoint

NOWHERE = {"AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_CONFIG_FILE": "/nowhere",
           "AWS_EC2_METADATA_DISABLED": "true"}


def code_of(call, *args, **kwargs):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*args, **kwargs)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


class Sidecar:
    def __init__(self, processes, directory, *extra):
        self.directory, self.port, self.identity = directory, free_port(), free_port()
        self.log = directory / "skyvol-s3.log"
        self.process = processes.start(
            [program("skyvol-s3"), "--sidecar", "--listen", f"127.0.0.1:{self.port}",
             "--identity-listen", f"127.0.0.1:{self.identity}", "--dir", directory / "store",
             "--run-dir", directory / "run", *extra],
            env=os.environ | {"LD_PRELOAD": PRELOAD})
        wait_until(lambda: listening(self.port) and listening(self.identity), what="sidecar",
                   process=self.process)

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.identity}/credentials"

    def fetch(self, **headers):
        request = urllib.request.Request(self.uri, headers=headers)
        with urllib.request.urlopen(request, timeout=20) as reply:
            assert reply.headers["Cache-Control"] == "no-store"
            return json.loads(reply.read())

    def client(self, fetched, **config):
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1",
            aws_access_key_id=fetched["AccessKeyId"],
            aws_secret_access_key=fetched["SecretAccessKey"], aws_session_token=fetched["Token"],
            config=Config(signature_version="s3v4", retries={"max_attempts": 1}, **config))

    def forge(self, seconds, parent="", access_key="ASIAAAAAAAAAAAAAAAAA"):
        """As docs/skyvol-s3.md says a token is made, by another program with the key file."""
        key_id, key = (self.directory / "run" / "session.keys").read_text().split()
        body = f"SVT1.{key_id}.{access_key}.{int(time.time()) + seconds}.{parent.encode().hex()}"

        def mac(purpose):
            return hmac.new(bytes.fromhex(key), f"{purpose}\n{body}".encode(), hashlib.sha256)
        return {"AccessKeyId": access_key, "Token": f"{body}.{mac('skyvol-session-token').hexdigest()}",
                "SecretAccessKey": base64.b64encode(
                    mac("skyvol-session-secret").digest()[:30]).decode()}


@pytest.fixture
def sidecar(processes, workdir):
    return Sidecar(processes, workdir)


def test_a_pod_needs_no_key_but_three_variables(sidecar, workdir):
    """boto3 finds endpoint and credentials by itself; nothing secret is in the environment."""
    script = textwrap.dedent("""
        import boto3
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="key", Body=b"x" * 100000)
        assert s3.get_object(Bucket="bucket", Key="key")["Body"].read() == b"x" * 100000
        print(s3._request_signer._credentials.method)
        """)
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("AWS_")} | NOWHERE | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{sidecar.port}", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONTAINER_CREDENTIALS_FULL_URI": sidecar.uri}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "container-role"


def test_temporary_credentials_work_in_headers_and_in_presigned_urls(sidecar):
    fetched = sidecar.fetch()
    s3 = sidecar.client(fetched)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"body")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"})
    assert "X-Amz-Security-Token=" in url
    with urllib.request.urlopen(url, timeout=20) as reply:
        assert reply.read() == b"body"
    other = sidecar.fetch()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace(fetched["Token"], other["Token"]), timeout=20)
    assert caught.value.code == 400 and b"<Code>InvalidToken</Code>" in caught.value.read()
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.process.wait(40) == 0
    log = sidecar.log.read_text()
    for secret in (fetched["SecretAccessKey"], fetched["Token"]):
        assert secret not in log


def test_an_expired_token_says_so_and_a_wrong_one_too(sidecar):
    assert sidecar.client(sidecar.forge(60)).list_buckets()["Buckets"] == []
    expired = sidecar.forge(-1)
    assert code_of(sidecar.client(expired).list_buckets) == ("ExpiredToken", 400)
    good = sidecar.forge(60)
    wrong = good | {"Token": good["Token"][:-1] + ("0" if good["Token"][-1] != "0" else "1")}
    assert code_of(sidecar.client(wrong).list_buckets) == ("InvalidToken", 400)
    later = good | {"Token": expired["Token"].rsplit(".", 1)[0] + "." + "0" * 64}
    assert code_of(sidecar.client(later).list_buckets) == ("InvalidToken", 400)
    assert code_of(sidecar.client(good | {"SecretAccessKey": "guessed"}).list_buckets) == (
        "SignatureDoesNotMatch", 403)
    assert code_of(sidecar.client(good | {"Token": None}).list_buckets) == (
        "InvalidAccessKeyId", 403)
    assert code_of(sidecar.client(sidecar.forge(60, parent="nobody")).list_buckets) == (
        "InvalidToken", 400)


def test_a_presigned_url_does_not_outlive_its_token(sidecar):
    s3 = sidecar.client(sidecar.forge(-1))
    url = s3.generate_presigned_url("list_buckets", ExpiresIn=3600)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, timeout=20)
    assert caught.value.code == 400 and b"<Code>ExpiredToken</Code>" in caught.value.read()


def test_the_identity_endpoint_answers_nobody_else(processes, workdir):
    token = workdir / "token"
    sidecar = Sidecar(processes, workdir, "--identity-token-file", token)
    assert token.stat().st_mode & 0o777 == 0o640
    assert sidecar.fetch(Authorization=token.read_text())["AccessKeyId"].startswith("ASIA")
    for headers, status in (({}, 401), ({"Authorization": "no"}, 401),
                            ({"Host": "evil.test", "Authorization": token.read_text()}, 403)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            sidecar.fetch(**headers)
        assert caught.value.code == status and b"Secret" not in caught.value.read()
    token.write_text("another\n")
    assert sidecar.fetch(Authorization="another")["Token"].startswith("SVT1.")
    connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=20)
    connection.request("GET", "/credentials", headers={"Authorization": "another"})
    assert connection.getresponse().status in (400, 403)  # the data port knows nothing of it
    connection.close()


def test_a_secret_of_a_pod_is_read_again_and_temporary_credentials_stay(processes, workdir):
    """As kubelet does it: a directory whose ..data is replaced."""
    def publish(name, **members):
        (workdir / name).mkdir()
        for key, value in members.items():
            (workdir / name / key).write_text(value)
            (workdir / name / key).chmod(0o440)
        (secret / "..data_new").symlink_to(workdir / name)
        (secret / "..data_new").rename(secret / "..data")

    secret = workdir / "secret"
    secret.mkdir()
    publish("one", access_key="a", secret_key="first")
    for name in ("access_key", "secret_key"):
        (secret / name).symlink_to(f"..data/{name}")
    sidecar = Sidecar(processes, workdir, "--credentials-file", secret)
    first = sidecar.client({"AccessKeyId": "a", "SecretAccessKey": "first", "Token": None})
    first.create_bucket(Bucket="bucket")
    temporary = sidecar.client(sidecar.fetch())
    publish("two", access_key="b", secret_key="second")
    second = sidecar.client({"AccessKeyId": "b", "SecretAccessKey": "second", "Token": None})

    def taken_over():
        try:
            return second.list_buckets()["Buckets"] != []
        except botocore.exceptions.ClientError:
            return False

    wait_until(taken_over, what="new pair", process=sidecar.process)
    assert code_of(first.list_buckets) == ("InvalidAccessKeyId", 403)
    assert [b["Name"] for b in temporary.list_buckets()["Buckets"]] == ["bucket"]


def test_a_restart_does_not_end_temporary_credentials(processes, workdir):
    sidecar = Sidecar(processes, workdir)
    fetched = sidecar.fetch()
    processes.stop(sidecar.process, 40)
    again = Sidecar(processes, workdir)
    assert again.client(fetched).list_buckets()["Buckets"] == []


def test_a_sidecar_refuses_what_others_could_reach(workdir):
    for address, said in (("0.0.0.0:9000", "serves its pod only"), ("9000", "wants host:port")):
        done = subprocess.run(
            [program("skyvol-s3"), "--sidecar", "--listen", address, "--dir", workdir / "store",
             "--run-dir", workdir / "run"], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1 and said in done.stderr, done


def test_a_sidecar_serves_a_unix_socket_and_takes_over_that_of_a_dead_one(processes, workdir):
    def ask():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            reply = b""
            while chunk := client.recv(65536):
                reply += chunk
        return reply

    def answers():
        try:
            return b"AccessDenied" in ask()
        except OSError:
            return False

    path = workdir / "s3.sock"
    argv = [program("skyvol-s3"), "--sidecar", "--listen", f"unix:{path}", "--identity-listen",
            f"127.0.0.1:{free_port()}", "--dir", workdir / "store", "--run-dir", workdir / "run"]
    env = os.environ | {"LD_PRELOAD": PRELOAD}
    first = processes.start(argv, "first", env=env)
    wait_until(answers, what="answer on the socket", process=first)
    second = subprocess.run([*argv[:-1], workdir / "other"], capture_output=True, text=True, timeout=20, check=False, env=env)
    assert second.returncode == 1 and "another process listens there" in second.stderr, second
    processes.stop(first, 40)
    with socket.socket(socket.AF_UNIX) as dead:  # what a killed one leaves
        path.unlink(missing_ok=True)
        dead.bind(str(path))
    wait_until(path.exists, what="socket")
    third = processes.start(argv, "third", env=env)
    wait_until(answers, what="answer on the socket", process=third)


def test_sigterm_lets_a_transfer_under_way_end(sidecar):
    s3 = sidecar.client(sidecar.fetch())
    s3.create_bucket(Bucket="bucket")
    body = os.urandom(8 * 1024 * 1024)
    s3.put_object(Bucket="bucket", Key="key", Body=body)
    stream = s3.get_object(Bucket="bucket", Key="key")["Body"]
    begun = stream.read(1000)
    sidecar.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not listening(sidecar.port), what="end of listening")
    assert begun + stream.read() == body
    assert sidecar.process.wait(40) == 0


# ---- keys that are bound to buckets ----

@pytest.fixture
def bound(processes, workdir):
    endpoint = Endpoint(processes, workdir, more_keys=[
        {"access_key": "bound", "secret_key": "s", "buckets": ["mine", "also"]},
        {"access_key": "looks", "secret_key": "s", "buckets": ["mine"], "read_only": True}])
    all_of_it = endpoint.client()
    for bucket in ("mine", "other"):
        all_of_it.create_bucket(Bucket=bucket)
        all_of_it.put_object(Bucket=bucket, Key="key", Body=b"body")
    yield endpoint
    endpoint.close()


def test_a_bound_key_knows_of_its_buckets_only(bound):
    s3 = bound.client("bound", "s")
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["mine"]
    assert s3.get_object(Bucket="mine", Key="key")["Body"].read() == b"body"
    s3.create_bucket(Bucket="also")
    s3.copy_object(Bucket="also", Key="copy", CopySource="mine/key")
    denied = ("AccessDenied", 403)
    assert code_of(s3.get_object, Bucket="other", Key="key") == denied
    assert code_of(s3.put_object, Bucket="other", Key="new", Body=b"") == denied
    assert code_of(s3.list_objects_v2, Bucket="other") == denied
    assert code_of(s3.list_objects_v2, Bucket="absent") == denied  # no way to find out
    assert code_of(s3.create_bucket, Bucket="new") == denied
    assert code_of(s3.delete_bucket, Bucket="other") == denied
    assert code_of(s3.head_bucket, Bucket="other") == ("403", 403)
    assert code_of(s3.copy_object, Bucket="mine", Key="stolen", CopySource="other/key") == denied
    assert code_of(s3.copy_object, Bucket="mine", Key="stolen",
                   CopySource="mine/../other/key") != ("", 200)
    assert code_of(s3.delete_objects, Bucket="other",
                   Delete={"Objects": [{"Key": "key"}]}) == denied
    assert code_of(s3.create_multipart_upload, Bucket="other", Key="key") == denied
    owner = bound.client()
    assert [o["Key"] for o in owner.list_objects_v2(Bucket="other")["Contents"]] == ["key"]
    assert [o["Key"] for o in owner.list_objects_v2(Bucket="mine")["Contents"]] == ["key"]


def test_a_bound_key_that_only_reads_changes_nothing(bound):
    s3 = bound.client("looks", "s")
    assert s3.get_object(Bucket="mine", Key="key")["Body"].read() == b"body"
    assert code_of(s3.put_object, Bucket="mine", Key="key", Body=b"") == ("AccessDenied", 403)
    assert code_of(s3.delete_object, Bucket="mine", Key="key") == ("AccessDenied", 403)
    assert code_of(s3.get_object, Bucket="other", Key="key") == ("AccessDenied", 403)


# ---- keys that skyvol-meta knows ----

class Central:
    """skyvol-meta, skyvolctl, and a skyvol-s3 that takes its keys from there."""

    def __init__(self, processes, directory):
        self.processes, self.directory = processes, directory
        self.socket, self.port = directory / "meta.sock", free_port()
        self.start_meta()

    def start_meta(self):
        self.meta = self.processes.start(
            [program("skyvol-meta"), "--listen", f"unix:{self.socket}", "--database",
             self.directory / "meta.db", "--seal-key-file", self.directory / "seal.keys"])
        wait_until(lambda: self.socket.exists(), what="skyvol-meta", process=self.meta)

    def start_s3(self, *extra):
        self.process = self.processes.start(
            [program("skyvol-s3"), "--listen", f"127.0.0.1:{self.port}", "--dir",
             self.directory / "store", "--run-dir", self.directory / "run", "--meta",
             f"unix:{self.socket}", *extra], "skyvol-s3", env=os.environ | {"LD_PRELOAD": PRELOAD})
        wait_until(lambda: listening(self.port), what="S3 endpoint", process=self.process)

    def keys(self, *words, ok=True):
        done = subprocess.run([program("skyvolctl"), "keys", words[0], f"--meta=unix:{self.socket}",
                               *words[1:]], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode == 0) == ok, done
        return done.stdout if ok else done.stderr

    def create(self, *words):
        return json.loads(self.keys("create", "--json", *words))

    def client(self, key):
        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1",
            aws_access_key_id=key["access_key"], aws_secret_access_key=key["secret_key"],
            config=Config(signature_version="s3v4", retries={"max_attempts": 1}))

    def becomes(self, client, code):
        """Within some seconds; "" stands for success."""
        def is_so():
            try:
                client.list_buckets()
                return code == ""
            except botocore.exceptions.ClientError as error:
                return error.response["Error"]["Code"] == code
        wait_until(is_so, what=code or "success", process=self.process)


@pytest.fixture
def central(processes, workdir):
    return Central(processes, workdir)


def test_a_key_is_created_listed_disabled_and_deleted(central):
    key = central.create("--bucket", "mine", "--bucket", "also", "--read-only", "--comment", "ann")
    listed = json.loads(central.keys("list", "--json"))["keys"]
    assert [(k["id"], k["buckets"], k["readOnly"], k["comment"]) for k in listed] == [
        (key["access_key"], ["also", "mine"], True, "ann")]
    assert len(key["secret_key"]) == 40
    everything = central.keys("list") + central.keys("list", "--json")
    assert key["secret_key"] not in everything
    assert "disabled" in central.keys("disable", key["access_key"])
    assert "valid" in central.keys("enable", key["access_key"])
    central.keys("delete", key["access_key"])
    central.keys("delete", key["access_key"])
    assert json.loads(central.keys("list", "--json"))["keys"] == []
    assert "no access key" in central.keys("disable", key["access_key"], ok=False)
    assert "--all-buckets" in central.keys("create", ok=False)
    assert "cannot be a bucket" in central.keys("create", "--bucket", "No/such", ok=False)
    text = central.keys("create", "--all-buckets", "--expires", "1h")
    assert "secret key: " in text
    secret = text.split("secret key: ")[1].split()[0]
    for file in central.directory.glob("meta.db*"):
        assert secret.encode() not in file.read_bytes()
    assert secret not in central.meta.log.read_text()


def test_a_secret_for_a_claim_opens_its_bucket_and_no_other(central):
    def ctl(*words):
        done = subprocess.run([program("skyvolctl"), *words, f"--meta=unix:{central.socket}"], capture_output=True,
                              text=True, timeout=60, check=True)
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout
    ctl("store", "add", "default", f"dir://{central.directory}/store")
    own = ctl("volume", "create", "pvc-1", "--json")["volume"]
    shared = ctl("volume", "create", "pvc-2", "--bucket", "many", "--json")["volume"]
    assert "--shared-bucket" in central.keys("secret", shared["id"], "--claim", "data", ok=False)
    assert json.loads(central.keys("list", "--json"))["keys"] == []
    for words in (("Data_",), ("data-",), ("a..b",), ("d" * 251,), ("data", "--namespace", "a.b")):
        assert "cannot be the name of a" in central.keys("secret", "pvc-1", "--claim", *words, ok=False)
    assert "--claim is missing" in central.keys("secret", "pvc-1", "--claim", "", ok=False)
    assert json.loads(central.keys("list", "--json"))["keys"] == []  # none that no Secret can hold
    secret = json.loads(central.keys("secret", "pvc-1", "--claim", "data", "--namespace", "team"))
    assert (secret["apiVersion"], secret["kind"]) == ("v1", "Secret")
    about, data = secret["metadata"], secret["stringData"]
    pair = json.loads(data.pop("credentials"))
    assert about == {"name": "data-s3", "namespace": "team", "annotations": {"skyvol.io/access-key": pair["accessKey"]}}
    assert data == {"location": f"s3://{own['bucket']}", "endpoint": "http://skyvol-s3.skyvol-system.svc:9000",
                    "region": "us-east-1"}
    (key,) = json.loads(central.keys("list", "--json"))["keys"]
    assert (key["id"], key["buckets"], key["comment"]) == (pair["accessKey"], [own["bucket"]], "team/data")
    central.start_s3()
    client = central.client({"access_key": pair["accessKey"], "secret_key": pair["secretKey"]})
    central.becomes(client, "")
    client.put_object(Bucket=own["bucket"], Key="k", Body=b"v")
    assert code_of(client.list_objects_v2, Bucket="many") == ("AccessDenied", 403)
    secret = json.loads(central.keys("secret", shared["id"], "--claim", "data", "--shared-bucket"))
    assert secret["stringData"]["location"] == f"s3://many/{shared['prefix']}" and "namespace" not in secret["metadata"]


def test_what_create_prints_is_the_same_key_in_a_file(central):
    begin = int(time.time())
    key = central.create("--bucket", "mine", "--bucket", "also", "--read-only", "--expires", "1h",
                         "--requests-per-second", "5", "--upload-rate", "1MiB")
    assert begin + 3600 <= key.pop("expires_s") <= time.time() + 3600
    assert {k: v for k, v in key.items() if k not in ("access_key", "secret_key")} == {
        "buckets": ["also", "mine"], "read_only": True, "requests_per_second": 5, "upload_rate": 1048576}
    owner = central.create("--all-buckets")
    assert owner["read_only"] is False and set(owner) == {"access_key", "secret_key", "read_only"}
    file = central.directory / "keys.json"
    file.write_text(json.dumps({"keys": [key | {"requests_per_second": 1000}, owner]}))
    file.chmod(0o600)
    for each in (key, owner):
        central.keys("delete", each["access_key"])
    central.start_s3("--credentials-file", file)
    for bucket in ("mine", "other"):
        central.client(owner).create_bucket(Bucket=bucket)
    reader = central.client(key)
    assert [b["Name"] for b in reader.list_buckets()["Buckets"]] == ["mine"]
    assert code_of(reader.put_object, Bucket="mine", Key="k", Body=b"") == ("AccessDenied", 403)


def test_a_central_key_opens_its_buckets_until_it_is_disabled(central):
    owner = central.create("--all-buckets")
    bound = central.create("--bucket", "mine", "--read-only")
    central.start_s3()
    everything = central.client(owner)
    for bucket in ("mine", "other"):
        everything.create_bucket(Bucket=bucket)
    everything.put_object(Bucket="mine", Key="key", Body=b"body")
    reader = central.client(bound)
    assert [b["Name"] for b in reader.list_buckets()["Buckets"]] == ["mine"]
    assert reader.get_object(Bucket="mine", Key="key")["Body"].read() == b"body"
    assert code_of(reader.list_objects_v2, Bucket="other") == ("AccessDenied", 403)
    assert code_of(reader.put_object, Bucket="mine", Key="key", Body=b"") == ("AccessDenied", 403)
    central.keys("disable", bound["access_key"])
    central.becomes(reader, "InvalidAccessKeyId")
    assert len(everything.list_buckets()["Buckets"]) == 2
    central.keys("enable", bound["access_key"])
    central.becomes(reader, "")
    later = central.client(central.create("--all-buckets"))
    central.becomes(later, "")
    kept = central.directory / "run" / "meta-keys.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    log = central.process.log.read_text()
    assert owner["secret_key"] not in log and bound["secret_key"] not in log


def test_a_central_key_brings_its_limits(central):
    limited = central.create("--all-buckets", "--requests-per-second", "1", "--request-burst", "3",
                             "--upload-rate", "1MiB")
    free = central.create("--all-buckets")
    shown = {k["id"]: k.get("limits") for k in json.loads(central.keys("list", "--json"))["keys"]}
    assert shown == {limited["access_key"]: {"requestsPerSecond": "1", "requestBurst": "3",
                                             "uploadRate": "1048576"}, free["access_key"]: None}
    assert "1 KiB" in central.keys("create", "--all-buckets", "--upload-rate", "1000", ok=False)
    central.start_s3("--key-concurrent-requests", "50")
    s3 = central.client(limited)
    central.becomes(s3, "SlowDown")
    for _ in range(20):
        central.client(free).list_buckets()


def test_known_keys_go_on_without_skyvol_meta_and_over_a_restart(central):
    key = central.create("--all-buckets")
    gone = central.create("--all-buckets")
    central.start_s3()
    assert central.client(key).list_buckets()["Buckets"] == []
    central.keys("delete", gone["access_key"])
    central.processes.stop(central.meta, how=signal.SIGKILL)
    assert central.client(key).list_buckets()["Buckets"] == []
    central.processes.stop(central.process, 40)
    central.start_s3()
    assert central.client(key).list_buckets()["Buckets"] == []
    central.start_meta()
    central.becomes(central.client(gone), "InvalidAccessKeyId")
    assert central.client(key).list_buckets()["Buckets"] == []


def children(pid, name):
    """By the command: a thread of the parent may have started them."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found += [child for child in map(int, task.read_text().split())
                  if name in pathlib.Path(f"/proc/{child}/cmdline").read_text()]
    return found


def test_the_program_that_fetches_keys_is_started_again_and_ends_with_us(central):
    key = central.create("--all-buckets")
    central.start_s3()
    first, = children(central.process.pid, "skyvol-s3-keys")
    shown = b"".join(pathlib.Path(f"/proc/{first}/{file}").read_bytes()
                     for file in ("cmdline", "environ"))
    assert key["secret_key"].encode() not in shown
    os.kill(first, signal.SIGKILL)
    gone = central.create("--all-buckets")  # only a new one can bring it
    central.becomes(central.client(gone), "")
    second, = children(central.process.pid, "skyvol-s3-keys")
    assert second != first
    assert central.client(key).list_buckets()["Buckets"] == []
    central.process.send_signal(signal.SIGTERM)
    assert central.process.wait(40) == 0
    assert not pathlib.Path(f"/proc/{second}").exists()


def test_grpc_is_loaded_only_where_keys_are_fetched():
    def libraries(name):
        return subprocess.run(["ldd", program(name)], capture_output=True, text=True, timeout=60,
                              check=True).stdout
    assert "libgrpc" in libraries("skyvol-s3-keys")
    assert "libgrpc" not in libraries("skyvol-s3")


def test_keys_that_nobody_has_confirmed_are_not_accepted(central):
    key = central.create("--all-buckets")
    central.processes.stop(central.meta)
    central.start_s3()  # it has never been told
    assert code_of(central.client(key).list_buckets) == ("ServiceUnavailable", 503)
    central.start_meta()
    central.becomes(central.client(key), "")
    central.processes.stop(central.process, 40)
    central.processes.stop(central.meta)
    kept = central.directory / "run" / "meta-keys.json"
    known = json.loads(kept.read_text())
    kept.write_text(json.dumps(known | {"valid_until_s": int(time.time()) - 1}))
    central.start_s3()
    assert code_of(central.client(key).list_buckets) == ("ServiceUnavailable", 503)


def test_an_expired_key_is_refused_although_nobody_says_so(central):
    key = central.create("--all-buckets", "--expires", "4s")
    central.start_s3()
    central.becomes(central.client(key), "InvalidAccessKeyId")
    assert "expired" in central.keys("list")


def test_another_seal_keeps_the_secrets(central):
    key = central.create("--all-buckets")
    central.processes.stop(central.meta)
    seal = central.directory / "seal.keys"
    seal.write_text("k2 " + os.urandom(32).hex() + "\n" + seal.read_text())
    central.start_meta()
    central.processes.stop(central.meta)
    seal.write_text(seal.read_text().splitlines()[0] + "\n")  # the old key goes
    central.start_meta()
    central.start_s3()
    assert central.client(key).list_buckets()["Buckets"] == []


def test_keys_come_over_mutual_tls(processes, workdir):
    def ctl(*words):
        return subprocess.run([program("skyvolctl"), *map(str, words)], capture_output=True,
                              text=True, timeout=60, check=True).stdout

    certs, meta, port = workdir / "certs", free_port(), free_port()
    ctl("certs", "init", certs)
    for name in ("meta", "s3"):
        ctl("certs", "issue", certs, name, "--host", "127.0.0.1")
    ours = [certs / "ca.crt", certs / "meta.crt", certs / "meta.key"]
    server = processes.start(
        [program("skyvol-meta"), "--listen", f"127.0.0.1:{meta}", "--database", workdir / "db",
         "--seal-key-file", workdir / "seal.keys", "--tls-ca-file", ours[0], "--tls-cert-file",
         ours[1], "--tls-key-file", ours[2]])
    wait_until(lambda: listening(meta), what="skyvol-meta", process=server)
    key = json.loads(ctl("keys", "create", "--all-buckets", "--json", "--meta", f"127.0.0.1:{meta}",
                         "--tls-ca-file", ours[0], "--tls-cert-file", certs / "s3.crt",
                         "--tls-key-file", certs / "s3.key"))
    s3 = processes.start(
        [program("skyvol-s3"), "--listen", f"127.0.0.1:{port}", "--dir", workdir / "store",
         "--run-dir", workdir / "run", "--meta", f"127.0.0.1:{meta}", "--meta-ca-file", ours[0],
         "--meta-cert-file", certs / "s3.crt", "--meta-key-file", certs / "s3.key"],
        env=os.environ | {"LD_PRELOAD": PRELOAD})
    wait_until(lambda: listening(port), what="S3 endpoint", process=s3)
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                          aws_access_key_id=key["access_key"],
                          aws_secret_access_key=key["secret_key"])
    assert client.list_buckets()["Buckets"] == []

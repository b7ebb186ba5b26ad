# SPDX-License-Identifier: Apache-2.0
"""The scripts that deploy/kubernetes gives to containers, against an API server of our own."""
import ast
import base64
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import textwrap
import threading

import pytest
from conftest import BIN, ROOT, free_port, listening, program, wait_until

DEPLOY = ROOT / "deploy/kubernetes"
SCRIPTED = re.search(r"^SCRIPTED = (\[.*\])$", (ROOT / "scripts/images.py").read_text(), re.MULTILINE)


def script(file, name):
    """The text of a ConfigMap's member."""
    rest = (DEPLOY / file).read_text().split(f"\n  {name}: |\n", 1)[1].splitlines(True)
    lines = []
    for line in rest:
        if line.strip() and not line.startswith("    "):
            break
        lines.append(line)
    return textwrap.dedent("".join(lines))


def tools(workdir):
    """A PATH with what the image skyvol-setup has."""
    directory = workdir / "tools"
    if not directory.exists():
        directory.mkdir()
        for name in ast.literal_eval(SCRIPTED[1]):
            (directory / name).symlink_to(shutil.which(name))
        (directory / "skyvolctl").symlink_to(program("skyvolctl"))
    return str(directory)


class Secrets(http.server.ThreadingHTTPServer):
    """What the API server does with Secrets; one without the token gets 401."""

    def __init__(self, token, certs):
        super().__init__(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certs / "api.crt", certs / "api.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.token, self.kept, self.asked, self.refuse = token, {}, [], None


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body, indent=2).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def ask(self):
        server, body = self.server, self.rfile.read(int(self.headers.get("content-length", 0)))
        root, _, name = self.path.partition("/secrets")
        name = name.strip("/")
        if self.headers["authorization"] != f"Bearer {server.token}":
            return self.answer(401, {"message": "who?"})
        assert root == "/api/v1/namespaces/skyvol-system"
        given = json.loads(body) if body else {}
        name = name or given["metadata"]["name"]
        server.asked.append((self.command, name))
        if name == server.refuse:
            return self.answer(403, {"message": "forbidden for a test"})
        if self.command == "POST" and name in server.kept:
            return self.answer(409, {"message": "exists"})
        if self.command != "POST" and name not in server.kept:
            return self.answer(404, {"message": "absent"})
        if self.command == "POST":
            server.kept[name] = given
        elif self.command == "PATCH":
            assert self.headers["content-type"] == "application/merge-patch+json"
            server.kept[name]["data"].update(given["data"])
        return self.answer(201 if self.command == "POST" else 200, server.kept[name])

    do_GET = do_POST = do_PATCH = ask

    def log_message(self, *_):
        pass


@pytest.fixture
def api(workdir):
    pki = workdir / "pki"
    ctl = program("skyvolctl")
    subprocess.run([ctl, "certs", "init", pki], check=True, capture_output=True)
    subprocess.run([ctl, "certs", "issue", pki, "api", "--host", "127.0.0.1"], check=True,
                   capture_output=True)
    server = Secrets("a-token", pki)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    account = workdir / "account"
    account.mkdir()
    (account / "namespace").write_text("skyvol-system")
    (account / "token").write_text("a-token")
    (account / "ca.crt").write_bytes((pki / "ca.crt").read_bytes())
    server.account = account
    yield server
    server.shutdown()
    server.server_close()


def make_certs(api, workdir, mode="make", ok=True, **env):
    work = workdir / f"work-{len(api.asked)}"
    work.mkdir()
    done = subprocess.run(["/bin/sh", "-c", script("components/certs-job/certs.yaml", "certs.sh")],
                          text=True, capture_output=True, check=False, timeout=60, env={
                              "PATH": tools(workdir), "WORK": str(work), "CERTS": mode,
                              "ACCOUNT": str(api.account), "DAYS": "365",
                              "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                              "KUBERNETES_SERVICE_PORT": str(api.server_address[1]),
                              "STORE_ENDPOINT": "http://skyvol-s3:9000", **env})
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    for secret in api.kept.values():  # nothing of what must stay secret is told
        for name, value in secret["data"].items():
            if "key" in name and name != "access_key":
                assert base64.b64decode(value).decode() not in done.stdout + done.stderr
    return done


def member(api, secret, name):
    return base64.b64decode(api.kept[secret]["data"][name])


def verified(api, workdir, name):
    for part in ("ca.crt", "tls.crt"):
        (workdir / part).write_bytes(member(api, name, part))
    subprocess.run(["openssl", "verify", "-CAfile", workdir / "ca.crt", workdir / "tls.crt"],
                   check=True, capture_output=True)


CERTIFICATES = ("skyvol-meta-tls", "skyvol-client-tls", "skyvol-node-tls")
ALL = {*CERTIFICATES, "skyvol-ca", "skyvol-seal-keys", "skyvol-s3-keys",
       "skyvol-store-default"}


def test_the_job_makes_all_secrets_once(api, workdir):
    make_certs(api, workdir)
    assert set(api.kept) == ALL
    for name in CERTIFICATES:
        verified(api, workdir, name)
        assert api.kept[name]["type"] == "kubernetes.io/tls"
    assert json.loads(member(api, "skyvol-store-default", "credentials"))["secretKey"] == \
        member(api, "skyvol-s3-keys", "secret_key").decode()
    assert member(api, "skyvol-store-default", "location") == b"s3://"
    before = json.dumps(api.kept)
    make_certs(api, workdir)
    assert json.dumps(api.kept) == before


def test_a_job_that_was_cut_off_is_finished_by_the_next(api, workdir):
    for name in ("skyvol-client-tls", "skyvol-store-default"):
        api.refuse = name
        assert name in make_certs(api, workdir, ok=False).stderr
    api.refuse = None
    make_certs(api, workdir)
    assert set(api.kept) == ALL
    for name in CERTIFICATES:
        verified(api, workdir, name)
    assert json.loads(member(api, "skyvol-store-default", "credentials"))["secretKey"] == \
        member(api, "skyvol-s3-keys", "secret_key").decode()


def test_without_the_embedded_store_no_key_of_it_is_made(api, workdir):
    make_certs(api, workdir, STORE_ENDPOINT="")
    assert set(api.kept) == ALL - {"skyvol-s3-keys", "skyvol-store-default"}


def test_renewing_replaces_certificates_and_nothing_else(api, workdir):
    make_certs(api, workdir)
    before = json.loads(json.dumps(api.kept))
    make_certs(api, workdir, "renew")
    for name in ALL:
        changed = api.kept[name] != before[name]
        assert changed == (name in CERTIFICATES), name
    for name in CERTIFICATES:
        verified(api, workdir, name)
        assert member(api, name, "ca.crt") == member(api, "skyvol-ca", "ca.crt")


class Stores:
    """skyvol-meta with the Secrets' files beside it, and the script that tells it of them."""

    def __init__(self, workdir, processes):
        self.workdir, self.processes = workdir, processes
        self.flag = f"--meta=unix:{workdir}/meta.sock"
        self.made, self.script = 0, None
        (workdir / "stores/..2026").mkdir(parents=True)
        (workdir / "stores/..data").symlink_to("..2026")
        self.start_meta()

    def start_meta(self):
        self.made += 1
        self.meta = self.processes.start([
            program("skyvol-meta"), "--listen", f"unix:{self.workdir}/meta.sock", "--database",
            self.workdir / f"meta-{self.made}.db", "--seal-key-file", self.workdir / "seal.keys"])
        wait_until(lambda: self.list() is not None, 15, "skyvol-meta", self.meta)

    def start_script(self):
        self.made += 1
        state = self.workdir / f"state-{self.made}"
        state.mkdir()
        text = script("base/metaserver.yaml", "stores.sh").replace("nap 5", "nap 0.1")
        self.script = self.processes.start(["/bin/sh", "-c", text], "stores", env={
            "PATH": tools(self.workdir), "STORES": str(self.workdir / "stores"),
            "STATE": str(state), "SKYVOLCTL_META": f"unix:{self.workdir}/meta.sock"})

    def list(self):
        done = subprocess.run([program("skyvolctl"), "store", "list", "--json", self.flag], text=True,
                              capture_output=True, check=False, timeout=20)
        return {s["name"]: s for s in json.loads(done.stdout).get("stores", [])} \
            if done.returncode == 0 else None

    def write(self, name, **members):
        """As kubelet lays out a projected volume whose defaultMode is 0440."""
        at = self.workdir / "stores/..2026" / name
        if not at.exists():
            at.mkdir()
            (self.workdir / "stores" / name).symlink_to(f"..data/{name}")
        for member_name, value in members.items():
            new = at / f"{member_name}.new"
            new.write_text(value)
            new.chmod(0o440)
            new.rename(at / member_name)

    def remove(self, name):
        (self.workdir / "stores" / name).unlink()
        shutil.rmtree(self.workdir / "stores/..2026" / name)


@pytest.fixture
def stores(workdir, processes):
    return Stores(workdir, processes)


def test_stores_of_secrets_are_told_kept_up_to_date_and_found_again(stores, workdir, processes):
    stores.write("default", location=f"dir://{workdir}/one")
    stores.start_script()
    wait_until(lambda: "default" in (stores.list() or {}), what="store", process=stores.script)
    stores.write("second", location=f"dir://{workdir}/two")  # while it runs
    wait_until(lambda: "second" in (stores.list() or {}), what="second store", process=stores.script)
    stores.write("third", location="s3://", endpoint="http://127.0.0.1:1", credentials=json.dumps(
        {"access_key": "a", "secret_key": "b"}), **{"role-arn": "arn:aws:iam::1:role/r", "sts-duration": "2h"})
    wait_until(lambda: "third" in (stores.list() or {}), what="third store", process=stores.script)
    assert stores.list()["third"]["temporaryKeys"] == {"roleArn": "arn:aws:iam::1:role/r", "durationS": 7200}
    subprocess.run([program("skyvolctl"), "volume", "create", "kept", "--size", "1GiB", stores.flag],
                   check=True, capture_output=True)
    stores.remove("third")  # `rebuild` would wait for it
    # The database is lost, as with its pod in overlays/dev: volumes are found by their markers.
    processes.stop(stores.script)
    processes.stop(stores.meta)
    stores.start_meta()
    stores.start_script()

    def volumes():
        done = subprocess.run([program("skyvolctl"), "volume", "list", stores.flag], text=True,
                              capture_output=True, check=False)
        return done.stdout
    wait_until(lambda: "kept" in volumes(), what="the volume", process=stores.script)


def test_credentials_of_a_store_are_renewed_when_its_secret_changes(stores, workdir, processes):
    port, keys = free_port(), workdir / "keys.json"

    def allow(secret):
        new = workdir / "keys.new"
        new.write_text(json.dumps({"access_key": "app", "secret_key": secret, "internal": True}))
        new.chmod(0o600)
        new.rename(keys)

    allow("first-secret")
    s3 = processes.start([program("skyvol-s3"), "--listen", f"127.0.0.1:{port}", "--dir",
                          workdir / "store", "--credentials-file", keys, "--run-dir", workdir / "run"])
    wait_until(lambda: listening(port), what="skyvol-s3", process=s3)
    stores.write("default", location="s3://", endpoint=f"http://127.0.0.1:{port}",
                 credentials='{"accessKey": "app", "secretKey": "first-secret"}')
    stores.start_script()
    wait_until(lambda: "default" in (stores.list() or {}), what="store", process=stores.script)

    def create(name):
        return subprocess.run([program("skyvolctl"), "volume", "create", name, "--size", "1GiB",
                               stores.flag], check=False, capture_output=True, timeout=90).returncode == 0
    assert create("one")
    allow("second-secret")
    stores.write("default", credentials='{"accessKey": "app", "secretKey": "second-secret"}')
    wait_until(lambda: create("two"), 30, "volume by the new key", stores.script)
    assert b"secret" not in stores.script.log.read_bytes()


def test_one_machine_by_its_compose_files(workdir, processes):
    """What compose.yaml starts, without containers: its scripts, keys and variables."""
    compose = workdir / "deploy" / "compose"
    shutil.copytree(ROOT / "deploy", workdir / "deploy", ignore=shutil.ignore_patterns("secrets"))
    for _ in range(2):  # what is there is kept
        subprocess.run([compose / "keys"], check=True, capture_output=True, timeout=60, env={
            **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OWNER": str(os.geteuid())})
    ports = {7443: free_port(), 9000: free_port(), 9100: free_port(), 9101: free_port()}
    secrets = compose / "secrets"

    def variables(file, tls):
        text = (compose / file).read_text()
        for place, here in (("/etc/skyvol/tls", secrets / tls), ("/etc/skyvol/seal", secrets / "seal"),
                            ("/etc/skyvol/keys", secrets / "s3"), ("/var/lib/skyvol", workdir / file),
                            ("/tmp/s3", workdir / "run"), ("skyvol-meta:", "127.0.0.1:"),
                            ("0.0.0.0", "127.0.0.1")):
            text = text.replace(place, str(here))
        for port, free in ports.items():
            text = text.replace(f":{port}", f":{free}")
        (workdir / file).mkdir(exist_ok=True)
        return dict(line.split("=", 1) for line in text.splitlines() if line and line[0] != "#")

    meta = processes.start([program("skyvol-meta")], env=variables("meta.env", "meta"))
    s3 = processes.start([program("skyvol-s3")], env=variables("s3.env", "client"))
    for process, port in ((meta, 7443), (s3, 9000)):
        wait_until(lambda: listening(ports[port]), what=f"port {port}", process=process)
    (secrets / "stores/default/endpoint").write_text(f"http://127.0.0.1:{ports[9000]}")
    ctl = variables("stores.env", "client")
    text = (secrets / "stores.sh").read_text().replace("nap 5", "nap 0.1")
    stores = processes.start(["/bin/sh", "-c", text], "stores", env={
        **ctl, "PATH": tools(workdir), "STORES": str(secrets / "stores"), "STATE": str(workdir / "run")})
    wait_until(lambda: subprocess.run([program("skyvolctl"), "volume", "create", "one", "--size", "1GiB"], env=ctl,
                                      check=False, capture_output=True).returncode == 0, 30, "a volume", stores)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user needs root")
def test_a_gateway_reads_its_stores_keys_as_kubernetes_mounts_them(workdir, processes):
    """root's file, open to the group: by 0440 it is taken, by 0444 it is not."""
    workdir.chmod(0o711)
    home, keys = workdir / "home", workdir / "secret/credentials"
    home.mkdir()
    (workdir / "secret/..data").mkdir(parents=True)  # beside the names of each mounted Secret
    os.chown(home, 65532, 65532)
    keys.write_text("[default]\naws_access_key_id = AK\naws_secret_access_key = never-shown\n")
    os.chown(keys, 0, 65532)
    port = free_port()
    log = workdir / "gateway.log"  # as containers' runtimes give the output to the user
    log.touch()
    os.chown(log, 65532, 65532)
    for mode, good in ((0o444, False), (0o440, True)):
        keys.chmod(mode)
        s3 = processes.start(["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", program("skyvol-s3"),
                              "--listen", f"127.0.0.1:{port}", "--store", "s3://", "--store-endpoint",
                              "http://127.0.0.1:1", "--store-credentials-file", keys, "--sidecar",
                              "--identity-listen", f"127.0.0.1:{free_port()}", "--run-dir", home / "run"], "gateway")
        if good:
            wait_until(lambda: listening(port), what="skyvol-s3", process=s3)
        else:
            assert s3.wait(20) != 0 and "others may read it" in s3.log.read_text()
        assert "never-shown" not in s3.log.read_text()

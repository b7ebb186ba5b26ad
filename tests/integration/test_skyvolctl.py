# SPDX-License-Identifier: Apache-2.0
"""skyvolctl as an operator uses it: certificates, stores, volumes, a mount, CSI calls by hand."""
import json
import os
import stat
import subprocess
import time

import pytest
from conftest import BIN, ROOT, free_port, listening, mounts_below, program, tool, wait_until

SECRET = "s3cr3t-never-shown"


def ctl(*words, stdin="", ok=True, **kwargs):
    done = subprocess.run([program("skyvolctl"), *map(str, words)], input=stdin, text=True,
                          capture_output=True, check=False, timeout=60, **kwargs)
    assert SECRET not in done.stdout + done.stderr
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout if ok else done.stderr


@pytest.fixture
def certs(workdir):
    directory = workdir / "certs"
    ctl("certs", "init", directory)
    ctl("certs", "issue", directory, "meta", "--host", "127.0.0.1", "--host", "localhost")
    ctl("certs", "issue", directory, "operator")
    return directory


@pytest.fixture
def meta(workdir, processes):
    """skyvol-meta on a unix socket; gives the flag that names it."""
    address = f"unix:{workdir}/meta.sock"
    process = processes.start([program("skyvol-meta"), "--listen", address, "--database",
                               workdir / "meta.db", "--seal-key-file", workdir / "seal.keys"])
    wait_until((workdir / "meta.sock").exists, 15, "socket of skyvol-meta", process)
    flag = f"--meta={address}"
    ctl("store", "add", flag, "default", f"dir://{workdir}/store", "--credentials-file", "-",
        stdin=json.dumps({"accessKey": "AK", "secretKey": SECRET}))
    return flag


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_keys_are_private_and_certificates_verified_and_never_overwritten(certs):
    assert mode(certs) == 0o755
    assert [mode(certs / f"{n}.key") for n in ("ca", "meta")] == [0o600] * 2
    assert [mode(certs / f"{n}.crt") for n in ("ca", "meta")] == [0o644] * 2
    subprocess.run(["openssl", "verify", "-CAfile", certs / "ca.crt", certs / "meta.crt"],
                   check=True, capture_output=True)
    before = (certs / "meta.crt").read_bytes()
    assert "not overwritten" in ctl("certs", "issue", certs, "meta", ok=False)
    assert "not overwritten" in ctl("certs", "init", certs, ok=False)
    assert (certs / "meta.crt").read_bytes() == before
    ctl("certs", "renew", certs, "meta")
    assert (certs / "meta.crt").read_bytes() != before
    shown = json.loads(ctl("certs", "show", certs, "meta", "--json"))
    assert shown["commonName"] == "meta" and shown["names"] == ["127.0.0.1", "localhost"]
    # Whom the key was given to reads the next one, too.
    (certs / "meta.key").chmod(0o640)
    given = (65534, 65533) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(certs / "meta.key", *given)
    ctl("certs", "renew", certs, "meta")
    state = os.stat(certs / "meta.key")
    assert (state.st_uid, state.st_gid, mode(certs / "meta.key")) == (*given, 0o640)
    assert "cannot be the name" in ctl("certs", "issue", certs, "../x", ok=False)
    assert json.loads(ctl("certs", "show", certs, "operator", "--json"))["names"] == ["operator"]


def test_a_store_that_does_not_answer_is_told_when_it_is_added(meta, minio):
    def add(name, url, secret, *more, ok=True):
        done = subprocess.run(
            [program("skyvolctl"), "store", "add", meta, name, "s3://", "--endpoint", url,
             "--credentials-file", "-", *more], text=True, capture_output=True, check=False, timeout=60,
            input=json.dumps({"accessKey": minio.access_key, "secretKey": secret}))
        assert (done.returncode == 0) == ok and secret not in done.stdout + done.stderr, done
        return done.stderr
    nobody, wrong = f"http://127.0.0.1:{free_port()}", "not-the-secret-of-it"
    assert add("good", minio.url, minio.secret_key, "--check") == ""
    assert "is --endpoint right" in add("away", nobody, minio.secret_key)
    assert "does not accept these keys" in add("mine", minio.url, wrong)
    for refused, url, secret in (("away2", nobody, minio.secret_key), ("mine2", minio.url, wrong)):
        assert f"store {refused} is not added" in add(refused, url, secret, "--check", ok=False)
    listed = json.loads(ctl("store", "list", meta, "--json"))["stores"]
    assert sorted(s["name"] for s in listed) == ["away", "default", "good", "mine"]
    there = "the store was there already"
    assert there in add("mine", minio.url, minio.secret_key)  # as the warning says
    # One that is there is looked at, too, if that is asked for: with its own keys where none are given.
    assert there in add("mine", minio.url, minio.secret_key, "--check")
    said = add("mine", minio.url, wrong, "--check", ok=False)
    assert "store mine is there and stays as it is: the store does not accept these keys" in said
    same = ["store", "add", meta, "mine", "s3://", "--endpoint", minio.url, "--check"]
    assert json.loads(ctl(*same, "--json"))["existed"] is True
    said = add("away", nobody, minio.secret_key, "--check", ok=False)
    assert "store away is there and stays as it is" in said and "is --endpoint right" in said
    said = add("mine", minio.url, minio.secret_key, "--s3-region", "elsewhere", "--region", "there")
    assert "of it stay as they are: the region that requests are signed for; its region;" in said


def test_both_sides_show_certificates_which_reload_without_restart(workdir, processes, certs):
    port = free_port()
    process = processes.start(
        [program("skyvol-meta"), "--listen", f"127.0.0.1:{port}", "--database", workdir / "db",
         "--seal-key-file", workdir / "seal", "--tls-ca-file", certs / "ca.crt", "--tls-cert-file",
         certs / "meta.crt", "--tls-key-file", certs / "meta.key"], "meta")
    wait_until(lambda: listening(port), 15, "port of skyvol-meta", process)
    where = ["--meta", f"127.0.0.1:{port}"]
    mine = ["--tls-ca-file", certs / "ca.crt", "--tls-cert-file",
            certs / "operator.crt", "--tls-key-file", certs / "operator.key"]
    ctl("store", "list", *where, *mine)
    assert "UNAVAILABLE" in ctl("store", "list", *where, ok=False)
    assert "needs all of" in ctl("store", "list", *where, *mine[:2], ok=False)

    other = workdir / "other"
    ctl("certs", "init", other)
    ctl("certs", "issue", other, "operator")
    stranger = ["--tls-ca-file", certs / "ca.crt", "--tls-cert-file",
                other / "operator.crt", "--tls-key-file", other / "operator.key"]
    assert "UNAVAILABLE" in ctl("store", "list", *where, *stranger, ok=False)

    grpcurl = [tool("grpcurl"), "-max-time", "20", "-import-path", ROOT / "proto", "-proto",
               "skyvol/meta/v1/meta.proto", "-cacert", certs / "ca.crt", "-d", "{}"]
    call = [f"127.0.0.1:{port}", "skyvol.meta.v1.Stores/ListStores"]
    subprocess.run([*grpcurl, "-cert", certs / "operator.crt", "-key", certs / "operator.key",
                    *call], check=True, capture_output=True, timeout=30)
    assert subprocess.run([*grpcurl, *call], check=False, capture_output=True,
                          timeout=30).returncode != 0

    # The server serves the renewed certificate to the next connection.
    def serial():
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}"], input=b"",
                              capture_output=True, check=False, timeout=20).stdout
        return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=done, check=True,
                              capture_output=True).stdout
    before = serial()
    ctl("certs", "renew", certs, "meta")
    ctl("certs", "renew", certs, "operator")
    wait_until(lambda: serial() != before, 10, "new certificate")
    ctl("store", "list", *where, *mine)
    assert process.poll() is None


def test_a_volume_lives_and_dies_by_command(meta, workdir):
    stores = json.loads(ctl("store", "list", meta, "--json"))["stores"]
    assert stores[0]["name"] == "default" and stores[0]["hasCredentials"] is True
    assert "dir://" in ctl("store", "show", meta, "default")
    made = json.loads(ctl("volume", "create", meta, "mine", "--size", "1GiB", "--json"))["volume"]
    again = json.loads(ctl("volume", "create", meta, "mine", "--size", "1GiB", "--json"))["volume"]
    assert made["id"] == again["id"] and made["sizeBytes"] == str(1 << 30)
    for size, nothing in (("1MiB", True), ("1GiB", True), ("2GiB", False)):
        done = subprocess.run([program("skyvolctl"), "volume", "expand", meta, "mine", "--size", size],
                              text=True, capture_output=True, check=True, timeout=60)
        assert ("does not shrink, and has 1073741824 bytes" in done.stderr) == nothing, done
    table = ctl("volume", "list", meta).splitlines()
    assert table[0].split()[:3] == ["ID", "NAME", "STATE"] and "2.0 GiB" in table[1]
    assert json.loads(ctl("volume", "show", meta, made["id"], "--json"))["volume"]["name"] == "mine"
    assert "FAILED_PRECONDITION" in ctl("store", "delete", meta, "default", ok=False)
    assert "written on the server's disk" in ctl("backup", meta, workdir / "copy.db")
    assert "NOT_FOUND" in ctl("backup", meta, workdir / "none" / "copy.db", ok=False)
    assert "no store \"none\"" in ctl("volume", "create", meta, "x", "--store", "none", ok=False)
    assert (workdir / "copy.db").stat().st_size > 0
    assert json.loads(ctl("rebuild", meta, "default", "--json")) == {
        "volumesFound": 1, "volumesAdded": 0}
    assert "found: 1; not known before, added: 0" in ctl("rebuild", meta, "default")
    said = ctl("volume", "delete", meta, "mine", "--yes")
    assert said == f"volume mine ({made['id']}) is deleted, with all that was in it\n"
    assert ctl("volume", "list", meta).split()[:2] == ["ID", "NAME"]
    assert len(ctl("volume", "list", meta).splitlines()) == 1
    assert "NOT_FOUND" in ctl("volume", "show", meta, "mine", ok=False)
    ctl("store", "delete", meta, "default")


def test_a_volume_is_mounted_by_command(meta, workdir):
    ctl("volume", "create", meta, "mine", "--size", "1GiB")
    point = workdir / "mnt"
    point.mkdir()
    ctl("mount", meta, "mine", point)
    wait_until(lambda: str(point) in mounts_below(workdir), 15, "mount")
    (point / "hello").write_text("world")
    assert (point / "hello").read_text() == "world"
    subprocess.run(["umount", point], check=True, timeout=60)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and subprocess.run(
            ["pgrep", "-f", str(point)], check=False, capture_output=True).returncode == 0:
        time.sleep(0.1)
    ctl("volume", "delete", meta, "mine", "--yes")


def test_any_csi_call_can_be_made_by_hand(meta, workdir, processes):
    socket = workdir / "csi.sock"
    process = processes.start([program("skyvol-controller"), "--endpoint", f"unix:{socket}",
                               meta], "controller")
    wait_until(socket.exists, 15, "socket of skyvol-controller", process)
    info = json.loads(ctl("csi", "info", socket))
    assert info == json.loads(ctl("csi", "call", socket, "Identity.GetPluginInfo", "{}"))
    volume = json.loads(ctl("csi", "create", socket, "pvc-1", "--size=1GiB", "--secrets-file", "-",
                            stdin=json.dumps({"note": SECRET})))["volume"]
    assert volume["volumeId"] in ctl("csi", "list", socket)
    refused = ctl("csi", "call", socket, "DeleteVolume",
                  json.dumps({"volumeId": volume["volumeId"], "secrets": {"a": "b"}}), ok=False)
    assert "--secrets-file" in refused
    assert "INVALID_ARGUMENT" in ctl("csi", "call", socket, "CreateVolume", "{}", ok=False)
    for _ in range(50):
        done = subprocess.run([program("skyvolctl"), "csi", "delete", str(socket),
                               volume["volumeId"]], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert "ABORTED" in done.stderr
        time.sleep(0.2)
    assert volume["volumeId"] not in ctl("csi", "list", socket)
    assert "Node.NodeStageVolume" in ctl("csi", "services")


def test_deleting_asks_a_person_at_a_terminal(meta):
    def at_terminal(answer, *words):
        master, slave = os.openpty()
        try:
            os.write(master, answer)
            return subprocess.run([program("skyvolctl"), "volume", "delete", meta, "mine", *words],
                                  stdin=slave, capture_output=True, text=True, timeout=60,
                                  check=False)
        finally:
            os.close(master)
            os.close(slave)
    ctl("volume", "create", meta, "mine")
    said = ctl("volume", "delete", meta, "mine", stdin="y\n", ok=False)
    assert "--yes deletes volume mine without asking" in said
    assert "mine" in ctl("volume", "list", meta)
    done = at_terminal(b"\n")
    assert done.returncode == 1 and "Delete volume mine" in done.stderr
    assert "nothing was deleted" in done.stderr
    assert "mine" in ctl("volume", "list", meta)
    assert at_terminal(b"y\n").returncode == 0
    ctl("volume", "create", meta, "mine")
    done = at_terminal(b"", "--yes")
    assert done.returncode == 0 and "[y/N]" not in done.stderr


def test_a_server_that_is_not_there_is_told(workdir):
    said = ctl("store", "list", f"--meta=unix:{workdir}/none.sock", ok=False)
    assert f"skyvol-meta does not answer at unix:{workdir}/none.sock: is it running" in said
    said = ctl("store", "list", f"--meta=127.0.0.1:{free_port()}", ok=False)
    assert "With TLS it needs --tls-ca-file" in said


def test_options_that_cannot_be_are_refused_by_skyvol_s3(workdir):
    if not (BIN / "skyvol-s3").exists():
        pytest.skip("skyvol-s3 is not built")
    for words, why in ((["--listen", "9000"], "wants host:port"),
                       (["--log-level", "loud"], "warn, info or debug, not 'loud'")):
        done = subprocess.run([BIN / "skyvol-s3", "--credentials-file", workdir / "keys", *words],
                              capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode != 0 and why in done.stderr


def test_every_help_text_ends_with_a_line():
    for name in ("skyvol-controller", "skyvol-holder", "skyvol-meta", "skyvol-mount", "skyvol-node",
                 "skyvol-s3", "skyvolctl"):
        if (BIN / name).exists():
            assert subprocess.run([BIN / name, "--help"], capture_output=True, check=True,
                                  timeout=20).stdout.endswith(b"\n")


def test_part_of_the_tls_files_is_refused(workdir, certs):
    done = subprocess.run([program("skyvol-meta"), "--listen", "127.0.0.1:0", "--database",
                           workdir / "db", "--tls-cert-file", certs / "meta.crt"], check=False,
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "needs all of --tls-ca-file" in done.stderr


def test_credentials_that_the_key_file_does_not_open_are_told_at_the_start(workdir, processes):
    def start(name, log):
        process = processes.start(
            [program("skyvol-meta"), "--listen", f"unix:{workdir}/m.sock", "--database",
             workdir / "db", "--seal-key-file", workdir / name], log)
        wait_until(lambda: "serving" in process.log.read_text(), 15, "skyvol-meta", process)
        return process
    flag = f"--meta=unix:{workdir}/m.sock"
    process = start("keys", "first")
    ctl("store", "add", flag, "default", f"dir://{workdir}/store", "--credentials-file", "-",
        stdin=json.dumps({"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": SECRET}))
    processes.stop(process)
    process = start("other-keys", "second")
    said = [line for line in process.log.read_text().splitlines() if "cannot be opened" in line]
    assert len(said) == 1 and "store=default" in said[0] and "restore the key file" in said[0]
    assert "credentials of store default cannot be opened" in ctl("volume", "create", flag, "x",
                                                                  ok=False)
    processes.stop(process)
    process = start("keys", "third")
    assert "cannot be opened" not in process.log.read_text()
    ctl("volume", "create", flag, "x")


def test_a_second_server_of_a_database_is_refused(meta, workdir):
    done = subprocess.run([program("skyvol-meta"), "--listen", f"unix:{workdir}/2.sock",
                           "--database", workdir / "meta.db", "--seal-key-file",
                           workdir / "seal.keys"], capture_output=True, text=True, check=False,
                          timeout=20)
    assert done.returncode == 1 and "another skyvol-meta has the database" in done.stderr
    ctl("store", "list", meta)


def test_a_relative_path_is_a_socket_not_a_host(workdir):
    assert "unix:run/x.sock" in ctl("csi", "info", "run/x.sock", ok=False)


def test_controller_without_a_metaserver_says_so(workdir):
    done = subprocess.run([program("skyvol-controller"), "--endpoint", f"unix:{workdir}/c.sock"],
                          capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2 and "--meta is missing" in done.stderr


def skyvol_mount(*words, **variables):
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | variables
    return subprocess.run([program("skyvol-mount"), *words], capture_output=True, text=True,
                          check=False, timeout=60, env=env)


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse")
def test_mounting_by_hand_says_what_is_wrong(workdir):
    (workdir / "m").mkdir()
    (workdir / "credentials").write_text("[one]\naws_access_key_id = a\n")
    done = skyvol_mount("mem://bucket", workdir / "m", AWS_PROFILE="two",
                        AWS_SHARED_CREDENTIALS_FILE=str(workdir / "credentials"))
    assert done.returncode == 1 and "no profile 'two' (AWS_PROFILE) in" in done.stderr
    done = skyvol_mount(f"dir://{workdir}/none/bucket", workdir / "m")
    assert done.returncode == 1 and f"no directory store in {workdir}/none" in done.stderr
    assert not (workdir / "none").exists()
    done = skyvol_mount("mem://bucket", workdir / "m", "--size", "-5")
    assert done.returncode == 2 and "--size '-5'" in done.stderr
    assert skyvol_mount("mem://bucket", workdir / "m", "--size", "1GiB").returncode == 0
    done = skyvol_mount("mem://bucket", workdir / "m")
    assert done.returncode == 1 and "is mounted already" in done.stderr
    subprocess.run(["fusermount3", "-u", workdir / "m"], check=True, timeout=20)
    assert mounts_below(workdir) == []

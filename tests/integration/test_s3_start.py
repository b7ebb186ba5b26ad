# SPDX-License-Identifier: Apache-2.0
"""How skyvol-s3 starts, refuses to, and takes what is replaced under it."""
import contextlib
import ctypes
import http.client
import os
import signal
import socket
import ssl
import subprocess
import urllib.request

import botocore.exceptions
import pytest

from conftest import free_port, program, wait_until
from holder_client import children
from test_s3 import MIB, SECRET, Endpoint, listening, make_certificate


def refused(*options):
    """What it says, in our words only: nginx was not started."""
    done = subprocess.run([program("skyvol-s3"), *map(str, options)], capture_output=True, text=True, timeout=30)
    assert done.returncode in (1, 2) and "emerg" not in done.stderr, done.stderr
    return done.stderr.strip()


@pytest.fixture
def usual(workdir):
    """The options of one that would start."""
    keys = workdir / "keys.json"
    keys.write_text('{"keys": [{"access_key": "a", "secret_key": "b"}]}')
    keys.chmod(0o600)
    return ["--dir", workdir / "store", "--credentials-file", keys, "--run-dir", workdir / "run"]


def test_a_run_dir_is_of_one_endpoint(processes, workdir, usual):
    first = Endpoint(processes, workdir)
    run, conf = workdir / "run", (workdir / "run/nginx.conf").read_bytes()
    said = refused(*usual, "--listen", f"127.0.0.1:{free_port()}")
    assert said == f"skyvol-s3: --run-dir {run} is in use by pid {first.process.pid}: give another one"
    assert (run / "nginx.conf").read_bytes() == conf
    first.client().list_buckets()
    first.process.send_signal(signal.SIGKILL)  # leaves its lock file
    first.process.wait()
    again = Endpoint(processes, workdir, name="again")
    again.client().list_buckets()
    again.close()


def test_nobody_but_the_launcher_holds_the_lock(processes, workdir):
    served = Endpoint(processes, workdir)
    lock = (workdir / "run/lock").stat()
    holders = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fds = [os.stat(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        holders += [int(pid) for fd in fds if os.path.samestat(fd, lock)]
    assert holders == [served.process.pid]
    served.close()


@pytest.mark.parametrize("listen, why", [
    ("127.0.0.1:notaport", "'notaport' is not a port: wants 1 to 65535"),
    ("127.0.0.1:0", "'0' is not a port: wants 1 to 65535"),
    ("127.0.0.1:70000", "'70000' is not a port: wants 1 to 65535"),
    ("[::1]", "'1]' is not a port: wants 1 to 65535"),
    ("9000", "wants host:port, :port or unix:/path"),
    ("no.such.host.invalid:9000", "that host has no address"),
    ("192.0.2.1:9000", "Cannot assign requested address")])
def test_an_address_that_is_none_is_told(usual, listen, why):
    assert refused(*usual, "--listen", listen) == f"skyvol-s3: --listen {listen}: {why}"


@pytest.mark.parametrize("address", ["127.0.0.1:%d", ":%d"])
def test_a_port_that_another_has_is_told(usual, address):
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = address % other.getsockname()[1]
        said = refused(*usual, "--listen", listen)
    assert said == f"skyvol-s3: --listen {listen}: another process listens there"


def test_a_key_of_another_certificate_is_told(usual, workdir):
    (workdir / "other").mkdir()
    cert, key = make_certificate(workdir)[0], make_certificate(workdir / "other")[1]
    options = [*usual, "--listen", f"127.0.0.1:{free_port()}"]
    both = f"skyvol-s3: --tls-cert-file {cert}, --tls-key-file %s: "
    assert refused(*options, "--tls-cert-file", cert, "--tls-key-file", key) == \
        both % key + "the key is not that of the certificate"
    assert refused(*options, "--tls-cert-file", cert, "--tls-key-file", cert) == \
        both % cert + "the key file holds no unencrypted PEM private key"


@pytest.mark.parametrize("workers", ["0", "257"])
def test_workers_are_as_many_as_the_help_says(usual, workers):
    assert refused(*usual, "--workers", workers).endswith(f"'{workers}' is not between 1 and 256")


@pytest.mark.parametrize("volume, why", [
    ("Foo=dir:///tmp/x/b", "'Foo' cannot be a bucket: names are 3 to 63 of a-z, 0-9, '.' and '-', a letter or digit first and last"),
    ("=dir:///tmp/x/b", "wants BUCKET=LOCATION"),
    ("data", "wants BUCKET=LOCATION")])
def test_a_volume_that_is_none_is_told(usual, volume, why):
    assert refused("--listen", f"127.0.0.1:{free_port()}", *usual, "--volume", volume) == \
        f"skyvol-s3: --volume {volume}: {why}"


def test_a_location_without_a_bucket_is_told_with_its_volume(usual):
    said = refused("--listen", f"127.0.0.1:{free_port()}", *usual, "--volume", "foo=dir:///tmp/x")
    assert said.startswith("skyvol-s3: --volume foo=dir:///tmp/x: ") and "dir:///ROOT/BUCKET" in said


def test_the_log_has_what_its_level_says(processes, workdir):
    for level, there in (("info", True), ("warn", False)):
        place = workdir / level
        place.mkdir()
        served = Endpoint(processes, place, serve=["--dir", place / "store", "--workers", "1",
                                                  "--log-level", level], name=level)
        served.client().list_buckets()  # a worker has read the first ones
        served.write_keys([{"access_key": "fresh", "secret_key": "fresh-secret"}])

        def taken():
            try:
                return served.client("fresh", "fresh-secret").list_buckets()
            except botocore.exceptions.ClientError:
                return False
        wait_until(taken, what="the new keys")
        served.close()
        assert ("credentials reloaded" in served.process.log.read_text()) is there


def lines(served, message):
    return [line for line in served.process.log.read_text().splitlines() if f'msg="{message}' in line or f"msg={message} " in line]


def test_the_log_tells_that_it_serves_was_reloaded_and_has_ended(processes, workdir):
    served = Endpoint(processes, workdir)
    wait_until(lambda: lines(served, "serving S3"), what="the first line")
    said, = lines(served, "serving S3")
    for field in ("version=", f"listen=127.0.0.1:{served.port} ", "scheme=http ", f"store=dir://{workdir}/store ",
                  "volumes=0 ", "keys=3 ", "status=none ", "workers=2 ", "body_memory=16777216"):
        assert field in said, said
    assert SECRET not in served.process.log.read_text()
    served.process.send_signal(signal.SIGHUP)
    wait_until(lambda: lines(served, "reloaded"), what="a line about new workers")
    client = served.client()
    client.create_bucket(Bucket="drained")
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        url = client.generate_presigned_url("put_object", {"Bucket": "drained", "Key": "k"})
        target = url.removeprefix(served.url)
        slow.sendall(f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Length: 200000\r\n"
                     "Expect: 100-continue\r\n\r\n".encode())
        assert slow.recv(4096).startswith(b"HTTP/1.1 100")
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listening(served.port), what="the drain")
        slow.sendall(bytes(200000))
        assert slow.recv(4096).startswith(b"HTTP/1.1 200")
    served.close()
    said, = lines(served, "ended")
    assert "drained_requests=1 cut_off_requests=0 seconds=" in said, said


def test_what_a_second_signal_cuts_off_is_told(processes, workdir):
    served = Endpoint(processes, workdir)
    client = served.client()
    client.create_bucket(Bucket="cut")
    url = client.generate_presigned_url("put_object", {"Bucket": "cut", "Key": "k"})
    with socket.create_connection(("127.0.0.1", served.port)) as slow:
        slow.sendall(f"PUT {url.removeprefix(served.url)} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
                     "Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n".encode())
        assert slow.recv(4096).startswith(b"HTTP/1.1 100")
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listening(served.port), what="the drain")
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
    assert "drained_requests=0 cut_off_requests=1 " in lines(served, "ended")[0]


def test_a_full_disk_is_told_in_the_log_and_counted(processes, workdir):
    store, status = workdir / "store", free_port()
    store.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "none", store], check=False, capture_output=True)
    if made.returncode != 0:
        pytest.skip("needs to mount a tmpfs")
    try:
        served = Endpoint(processes, workdir, serve=["--dir", store, "--workers", "1", "--status", f"127.0.0.1:{status}"])
        client = served.client()
        client.create_bucket(Bucket="full")
        client.put_object(Bucket="full", Key="small", Body=b"1" * 5000)
        for _ in range(3):
            with pytest.raises(botocore.exceptions.ClientError) as refused:
                client.put_object(Bucket="full", Key="large", Body=bytes(40 * MIB))
            assert refused.value.response["Error"]["Code"] == "XStorageFull"
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 507
        said, = lines(served, "store: no room left")
        assert "level=error" in said and "free_bytes=" in said and "free_files=" in said, said

        def counted():
            with urllib.request.urlopen(f"http://127.0.0.1:{status}/metrics", timeout=20) as reply:
                return b"\ns3_store_full_total 3\n" in reply.read()
        wait_until(counted, what="the metric")  # when the connection has ended
        assert client.get_object(Bucket="full", Key="small")["Body"].read() == b"1" * 5000
        client.delete_object(Bucket="full", Key="small")
        client.put_object(Bucket="full", Key="after", Body=b"2" * 5000)
        served.close()
    finally:
        subprocess.run(["umount", "-l", store], check=False, timeout=20)


def test_plain_http_on_a_tls_port_is_told_what_it_is(processes, workdir):
    served = Endpoint(processes, workdir, make_certificate(workdir))
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/")
    reply = connection.getresponse()
    body = reply.read()
    assert reply.status == 400 and b"<Code>BadRequest</Code>" in body
    assert b"<Message>This port speaks https, the request came in plain HTTP</Message>" in body
    served.close()


def secret(directory, generation, pair):
    """A Secret as kubelet mounts and swaps it: names that lead through one link to what is valid now."""
    new = directory / generation
    new.mkdir(parents=True)
    for path, name in zip(pair, ("tls.crt", "tls.key")):
        (new / name).write_bytes(path.read_bytes())
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"..data/{name}")
    link = directory / "..fresh"
    link.symlink_to(generation)
    old = directory / "..data"
    before = old.resolve() if old.is_symlink() else None
    link.rename(old)
    if before is not None:
        for name in ("tls.crt", "tls.key"):
            (before / name).unlink()
        before.rmdir()
    return directory / "tls.crt", directory / "tls.key"


def test_a_renewed_certificate_is_taken_without_a_signal(processes, workdir):
    pairs = []
    for name in ("first", "second", "third"):
        (workdir / name).mkdir()
        pairs.append(make_certificate(workdir / name))
    mounted = workdir / "secret"
    served = Endpoint(processes, workdir, secret(mounted, "..1", pairs[0]))
    client = served.client()
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="large", Body=bytes(32 * MIB))
    under_way = client.get_object(Bucket="bucket", Key="large")["Body"]
    assert len(under_way.read(1000)) == 1000
    address = ("127.0.0.1", served.port)

    def shown():
        return {ssl.get_server_certificate(address).strip() for _ in range(8)}

    # The certificate of one and the key of another: told once, and the old one stays.
    secret(mounted, "..2", (pairs[1][0], pairs[2][1]))
    wait_until(lambda: "the old one stays" in served.process.log.read_text(), what="a word about it")
    assert shown() == {pairs[0][0].read_text().strip()}
    secret(mounted, "..3", pairs[1])
    new = pairs[1][0].read_text().strip()
    wait_until(lambda: shown() == {new}, what="the new certificate from every worker")
    log = served.process.log.read_text()
    assert log.count("the old one stays") == 1 and "emerg" not in log
    assert len(under_way.read()) == 32 * MIB - 1000  # begun before, ended after
    served.tls = pairs[1]
    served.client().head_bucket(Bucket="bucket")
    served.close()


def sent_by(pid, port, peer):
    """The congestion control of the process's connection with that port of ours, if it has it."""
    handle = os.pidfd_open(pid)
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            copy = ctypes.CDLL(None).syscall(438, handle, int(fd), 0)  # pidfd_getfd
            if copy < 0:
                continue
            if not os.readlink(f"/proc/self/fd/{copy}").startswith("socket:"):
                os.close(copy)
                continue
            with socket.socket(fileno=copy) as sock:
                if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                with contextlib.suppress(OSError):
                    if sock.getsockname()[1] == port and sock.getpeername()[1] == peer:
                        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    finally:
        os.close(handle)
    return None


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_within_one_machine_nothing_is_spread_over_time(processes, workdir, listen):
    """Whatever the machine sends by to others; where that is Reno anyway this cannot fail."""
    port = free_port()
    keys = workdir / "keys.json"
    keys.write_text('{"keys": [{"access_key": "a", "secret_key": "%s"}]}' % SECRET)
    keys.chmod(0o600)
    process = processes.start(
        [program("skyvol-s3"), "--listen", f"{listen}:{port}", "--dir", workdir / "store",
         "--credentials-file", keys, "--run-dir", workdir / "run"], "skyvol-s3")
    wait_until(lambda: listening(port), what="S3 endpoint", process=process)
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 403")

        def family(pid):
            return [pid, *(each for child in children(pid) for each in family(child))]
        found = [sent_by(pid, port, sock.getsockname()[1]) for pid in family(process.pid)]
        assert [by for by in found if by] == [b"reno"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0

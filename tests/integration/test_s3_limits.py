# SPDX-License-Identifier: Apache-2.0
"""What a key, an address and all together may take of skyvol-s3, across its workers, by real sockets."""
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import signal
import socket
import ssl
import struct
import time
import urllib.request

import pytest

from conftest import free_port, program, wait_until
from test_s3 import ACCESS, MIB, SECRET, Endpoint, make_certificate
from test_s3_hostile import PATH, signed, status, talk, whole

OTHER = {"access_key": "other", "secret_key": SECRET}
MINE = {"access_key": ACCESS, "secret_key": SECRET}


@pytest.fixture
def start(processes, workdir):
    started = []

    def one(*options, keys=()):
        started.append(Endpoint(processes, workdir, more_keys=[OTHER, *keys], serve=[
            "--dir", workdir / "store", "--workers", "3", *options]))
        started[0].killed = False  # a worker of it, which would be called a crash
        wait_until(lambda: status(ask(started[0])) in (200, 503), what="an answer")
        return started[0]
    yield one
    for served in started:
        if not served.killed:
            served.close()


def ask(endpoint, access=ACCESS, path="/", method="GET", extra=(), body=b""):
    """One request on a connection of its own, whichever worker takes it."""
    return talk(endpoint, [*signed(endpoint, method, path, access=access), *extra], body,
                line=f"{method} {path} HTTP/1.1")


def codes(endpoint, count, access=ACCESS):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(lambda _: status(ask(endpoint, access)), range(count)))


def put_head(endpoint, size, access=ACCESS, path=PATH, extra=()):
    lines = [f"PUT {path} HTTP/1.1", *signed(endpoint, path=path, access=access),
             f"Content-Length: {size}", *extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def opened(endpoint, stack):
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), 10))
    sock.settimeout(20)
    return sock


def reply_of(sock):
    out = b""
    while not whole(out):
        data = sock.recv(65536)
        if not data:
            break
        out += data
    return out


def begin_put(endpoint, stack, access=ACCESS, path=PATH):
    """A PUT that is under way: it was asked for its body, and gives none."""
    sock = opened(endpoint, stack)
    sock.sendall(put_head(endpoint, 2 * MIB, access, path, ["Expect: 100-continue"]))
    return sock, sock.recv(65536)


def test_requests_beyond_the_rate_are_told_to_slow_down(start):
    """All workers together let through a burst and what the time since has earned."""
    served = start("--key-requests-per-second", "1", "--key-request-burst", "20")
    began = time.monotonic()
    got = codes(served, 60)
    earned = time.monotonic() - began
    assert set(got) == {200, 503}
    assert got.count(200) <= 20 + earned + 1
    assert got.count(200) >= 15  # but for those with which it was looked whether it answers
    reply = ask(served)
    assert status(reply) == 503 and b"<Code>SlowDown</Code>" in reply, reply
    assert b"\r\nretry-after: 1\r\n" in reply.lower() and b"x-amz-request-id" in reply.lower()
    assert set(codes(served, 10, "other")) == {200}  # it has its own
    assert status(ask(served, method="HEAD", path="/bucket")) == 503


def test_a_reload_gives_no_fresh_burst_and_a_new_limit_counts(start):
    served = start("--key-requests-per-second", "1", "--key-request-burst", "20")
    assert 503 in codes(served, 60)
    served.process.send_signal(signal.SIGHUP)
    began = time.monotonic()
    got = codes(served, 30)
    assert got.count(200) <= 2 + time.monotonic() - began
    served.write_keys([MINE | {"requests_per_second": 0}, OTHER | {
        "requests_per_second": "1", "request_burst": "3"}])
    wait_until(lambda: set(codes(served, 30)) == {200}, what="the key without a limit")
    wait_until(lambda: 503 in codes(served, 8, "other"), what="the other's own limit")


def test_a_refused_body_is_not_asked_for_and_the_connection_goes_on(start):
    served = start("--key-concurrent-requests", "1")
    served.client().create_bucket(Bucket="bucket")
    with contextlib.ExitStack() as stack:
        busy, said = begin_put(served, stack)
        assert said == b"HTTP/1.1 100 Continue\r\n\r\n"
        _, said = begin_put(served, stack, path="/bucket/second")
        assert status(said) == 503 and b"SlowDown" in said and b"100 Continue" not in said
        again = opened(served, stack)
        for _ in range(3):  # without Expect the body comes anyway, and is thrown away
            again.sendall(put_head(served, 100_000, path="/bucket/third") + b"x" * 100_000)
            assert status(reply_of(again)) == 503
        busy.sendall(b"y" * 2 * MIB)
        assert status(reply_of(busy)) == 200

        def goes():
            again.sendall(put_head(served, 5, path="/bucket/third") + b"later")
            return status(reply_of(again)) == 200
        wait_until(goes, what="the same connection to be served")
    s3 = served.client()
    assert s3.get_object(Bucket="bucket", Key="third")["Body"].read() == b"later"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="bucket")["Contents"]] == ["k", "third"]


def test_concurrent_requests_are_counted_over_all_workers(start):
    served = start("--key-concurrent-requests", "6")
    served.client().create_bucket(Bucket="bucket")
    with contextlib.ExitStack() as stack:
        said = [begin_put(served, stack, path=f"/bucket/{i}")[1] for i in range(20)]
        assert [status(s) for s in said].count(100) == 6
        assert [status(s) for s in said].count(503) == 14
        assert status(begin_put(served, stack, "other")[1]) == 100
    wait_until(lambda: status(ask(served)) == 200, what="those that went away to count no more")


def test_a_worker_that_is_killed_takes_no_place_with_it(start):
    served = start("--key-concurrent-requests", "6")
    served.client().create_bucket(Bucket="bucket")
    with contextlib.ExitStack() as stack:
        for i in range(6):
            assert status(begin_put(served, stack, path=f"/bucket/{i}")[1]) == 100
        assert status(ask(served)) == 503
        master, = children(served.process.pid)
        served.killed = True
        for worker in children(master):
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: status_or_none(served) == 200, what="new workers to know who is gone")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_one_key_cannot_take_all_and_what_is_shed_comes_again(start):
    served = start("--max-requests", "12")
    served.client().create_bucket(Bucket="bucket")
    with contextlib.ExitStack() as stack:
        said = [begin_put(served, stack, path=f"/bucket/{i}")[1] for i in range(20)]
        assert [status(s) for s in said].count(100) == 8
        assert b"share" in said[-1]
        for _ in range(5):  # the other has room, request for request
            assert status(ask(served, "other")) == 200
        said = [begin_put(served, stack, "other", f"/bucket/other-{i}")[1] for i in range(10)]
        assert [status(s) for s in said].count(100) >= 2
        assert status(talk(served, signed(served, "GET", "/", secret="wrong"),
                           line="GET / HTTP/1.1")) == 403  # who is a stranger is told so
    wait_until(lambda: set(codes(served, 6)) == {200}, what="all to have ended")


@pytest.mark.parametrize("way", ["up", "down"])
def test_bytes_of_a_key_are_shaped_over_its_connections(start, way):
    """Never faster than the rate; that it is not much slower would be a matter of the machine."""
    served = start("--key-upload-rate" if way == "up" else "--key-download-rate", "1MiB",
                   "--client-timeout", "1s")
    body = bytes(range(256)) * (MIB // 256)
    served.client("other").create_bucket(Bucket="bucket")
    served.client("other" if way == "down" else ACCESS).put_object(
        Bucket="bucket", Key="key", Body=body)

    def move(i):
        s3 = served.client()
        if way == "up":
            s3.put_object(Bucket="bucket", Key=f"key-{i}", Body=body)
        return s3.get_object(Bucket="bucket", Key="key")["Body"].read() == body
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(pool.map(move, range(4)))
    # a quarter of a second may run ahead; of an upload what one read brings is known afterwards
    assert time.monotonic() - began > 4 - 0.25 - (4 * 0.25 + 0.5)
    if way == "up":
        assert served.client().get_object(Bucket="bucket", Key="key-3")["Body"].read() == body


def test_bytes_of_small_objects_are_shaped_too(start):
    """Also what fits into one packet with its head, and what one connection asks for before it has a reply."""
    served = start("--key-upload-rate", "256KiB", "--key-download-rate", "256KiB")
    served.client("other").create_bucket(Bucket="bucket")
    body, count = bytes(32 * 1024), 16
    put = put_head(served, len(body)) + body
    get = "\r\n".join([f"GET {PATH} HTTP/1.1", *signed(served, "GET"), "", ""]).encode()
    for request in (put, get):
        with contextlib.ExitStack() as stack:
            sock = opened(served, stack)
            began = time.monotonic()
            sock.sendall(request * count)
            out = b""
            while out.count(b"HTTP/1.1 200 ") < count or not whole(out[out.rfind(b"HTTP/1.1"):]):
                data = sock.recv(1 << 20)
                assert data, out[-500:]
                out += data
            assert out.count(b"HTTP/1.1 200 ") == count, out[:500]
            # a quarter of a second may run ahead, and of a reply its own bytes
            assert time.monotonic() - began > (count - 1) * len(body) / (256 * 1024) - 0.25


@pytest.mark.parametrize("how", ["length", "chunked", "reset"])
def test_a_client_that_goes_away_while_its_upload_is_paced_holds_nothing(start, how):
    """What it has sent would last for long at that rate. (Of more than the kernel takes for a socket the end is
    behind the rest, and nobody can know of it.)"""
    served = start("--key-upload-rate", "1KiB")
    served.client("other").create_bucket(Bucket="bucket")

    def sockets():
        """The server's ends of connections that some process of it still holds."""
        lines = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(1 for line in lines if line[1].endswith(f":{served.port:04X}")
                   and line[3] != "0A" and line[9] != "0")
    wait_until(lambda: sockets() == 0, what="nobody to be connected")
    with contextlib.ExitStack() as stack:
        sock = opened(served, stack)
        if how == "chunked":
            lines = [f"PUT {PATH} HTTP/1.1", *signed(served), "Transfer-Encoding: chunked", "", "100000", ""]
            sock.sendall("\r\n".join(lines).encode() + bytes(60_000))
        else:
            sock.sendall(put_head(served, 2 * MIB) + bytes(60_000))
        wait_until(lambda: sockets() == 1, what="the upload")
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: sockets() == 0, 10, "its descriptor to be free")  # else 16 s after the first read
    assert "Contents" not in served.client("other").list_objects_v2(Bucket="bucket")
    assert "Uploads" not in served.client("other").list_multipart_uploads(Bucket="bucket")


def test_an_upload_that_is_all_there_goes_on_when_its_client_only_listens(start):
    served = start("--key-upload-rate", "256KiB")
    served.client("other").create_bucket(Bucket="bucket")
    body = os.urandom(300_000)
    for _ in range(2):  # the second has to wait for what the first owes
        with contextlib.ExitStack() as stack:
            sock = opened(served, stack)
            sock.sendall(put_head(served, len(body)) + body)
            sock.shutdown(socket.SHUT_WR)
            assert status(reply_of(sock)) == 200
    assert served.client("other").get_object(Bucket="bucket", Key="k")["Body"].read() == body


def closed_of(socks):
    """How many of them the server has closed."""
    count = 0
    for sock in socks:
        sock.setblocking(False)
        try:
            count += sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            pass
        except OSError:
            count += 1
    return count


def test_heads_that_trickle_take_no_place_from_others(start):
    """Ten times as many as there are places; every honest request is served, and most are ended."""
    served = start("--max-connections", "64", "--client-timeout", "600s")
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(400):
            slow.append(opened(served, stack))
            slow[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        assert set(codes(served, 20)) == {200}
        wait_until(lambda: closed_of(slow) >= 400 - 3 * 32, what="all but half of the places to be free again")
        assert set(codes(served, 20)) == {200}


def trickle(sock, pieces):
    """Sends until the server ends it: what it said, or None if it took all."""
    sock.settimeout(0.2)
    for piece in pieces:
        try:
            sock.sendall(piece)
            data = sock.recv(65536)
            return data
        except TimeoutError:
            continue
        except OSError:
            return b""
    return None


def test_a_trickling_head_is_cut_off(start):
    served = start("--client-timeout", "2s")
    with contextlib.ExitStack() as stack:
        sock = opened(served, stack)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert trickle(sock, [b"X-Slow: 1\r\n"] * 150) == b""


@pytest.mark.parametrize("expect", [[], ["Expect: 100-continue"]], ids=["plain", "expect"])
def test_a_trickling_body_is_cut_off_and_leaves_nothing(start, expect):
    """Each byte comes in time, and all of them would take a week."""
    served = start("--client-timeout", "2s")
    served.client().create_bucket(Bucket="bucket")
    with contextlib.ExitStack() as stack:
        sock = opened(served, stack)
        sock.sendall(put_head(served, 3 * MIB, extra=expect))
        if expect:
            assert status(sock.recv(65536)) == 100
        said = trickle(sock, [b"x"] * 150)
        assert said is not None and b"<Code>RequestTimeout</Code>" in said, said
    s3 = served.client()
    assert "Contents" not in s3.list_objects_v2(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"x" * 3 * MIB)  # who sends is not bothered


def test_a_reply_that_is_read_too_slowly_is_given_up(start):
    """Read steadily, so that no pause is too long, but below the rate."""
    port = free_port()
    served = start("--client-timeout", "3s", "--client-rate", "1GiB", "--status",
                   f"127.0.0.1:{port}", "--key-concurrent-requests", "1")
    served.client("other").create_bucket(Bucket="bucket")
    served.client("other").put_object(Bucket="bucket", Key="k", Body=b"x" * 64 * MIB)

    def cut_off():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
            return b'\ns3_limited_total{reason="slow"} 1\n' in reply.read()
    with contextlib.ExitStack() as stack:
        sock = opened(served, stack)
        sock.sendall(("\r\n".join([f"GET {PATH} HTTP/1.1", *signed(served, "GET")]) +
                      "\r\n\r\n").encode())
        got = len(sock.recv(100))
        assert status(ask(served)) == 503 and not cut_off()

        def read_some():
            nonlocal got
            with contextlib.suppress(ConnectionResetError):
                got += len(sock.recv(128 * 1024))
            return cut_off()
        wait_until(read_some, what="the reader to be cut off")
        assert got < 64 * MIB
        wait_until(lambda: status(ask(served)) == 200, what="its place to be free")


def test_memory_for_bodies_goes_to_who_has_them_and_back(start):
    """Uploads, whichever of three workers has them; it may keep their memory for a few seconds."""
    port = free_port()
    served = start("--status", f"127.0.0.1:{port}", "--body-memory", "6MiB")

    def memory():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
            lines = reply.read().decode().splitlines()
        return next(int(float(line.split()[1])) for line in lines if line.startswith("s3_body_memory_bytes "))
    served.client().create_bucket(Bucket="bucket")
    with contextlib.ExitStack() as stack:
        socks = [opened(served, stack) for _ in range(12)]
        for i, sock in enumerate(socks):
            sock.sendall(put_head(served, 4 * MIB, path=f"/bucket/{i}") + b"x" * 3 * MIB)
        wait_until(lambda: memory() >= 2 * MIB, what="memory for them")
        assert memory() <= 6 * MIB
        for sock in socks:
            sock.sendall(b"x" * MIB)
            assert status(sock.recv(4096)) == 200
    wait_until(lambda: memory() == 0, what="it to go back")


def test_uploads_wait_for_the_memory_of_others_and_for_nobody_who_stalls(start):
    """Far more at a time than there is memory for, beside some that hold it and send nothing."""
    port = free_port()
    served = start("--status", f"127.0.0.1:{port}", "--body-memory", "6MiB")
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")

    def waited():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
            return b'\ns3_limited_total{reason="memory"} 0\n' not in reply.read()

    def upload(name):
        body = hashlib.sha256(name.encode()).digest() * (3 * MIB // 32)
        etag = s3.put_object(Bucket="bucket", Key=name, Body=body)["ETag"]
        assert etag == f'"{hashlib.md5(body).hexdigest()}"'
        assert s3.get_object(Bucket="bucket", Key=name)["Body"].read() == body

    def upload_many(name):
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            list(pool.map(upload, [f"{name}{i}" for i in range(48)]))
    upload_many("a")
    for turn in range(20):
        if waited():
            break
        upload_many(f"{turn}-")
    assert waited()
    with contextlib.ExitStack() as stack:
        for i in range(8):
            opened(served, stack).sendall(put_head(served, 4 * MIB, path=f"/bucket/s{i}") + b"x" * 2 * MIB)
        upload_many("b")


def test_an_address_has_so_many_connections_over_all_workers(start):
    served = start("--max-connections-per-address", "10")
    with contextlib.ExitStack() as stack:
        socks = [opened(served, stack) for _ in range(30)]
        wait_until(lambda: closed_of(socks) >= 20, what="20 of 30 to be closed")
        assert closed_of(socks) <= 22  # those with which was looked whether it answers may count
    wait_until(lambda: status_or_none(served) == 200, what="the address to have room again")


def status_or_none(served):
    try:
        reply = ask(served)
    except OSError:
        return None
    return status(reply) if reply else None


def test_a_limit_that_is_none_is_told(processes, workdir):
    for option, value in (("--key-upload-rate", "100"), ("--max-connections", "1"),
                          ("--key-requests-per-second", "many")):
        process = processes.start([program("skyvol-s3"), "--listen", f"127.0.0.1:{free_port()}",
                                   "--sidecar", "--dir", workdir / "store", "--run-dir",
                                   workdir / "run", option, value], "wrong")
        assert process.wait(20) != 0
        assert option[2:] in process.log.read_text()


def test_limits_of_a_key_that_are_none_are_refused(start):
    served = start()
    served.write_keys([MINE | {"upload_rate": 100}, OTHER])
    def told():  # the file is looked at when somebody asks
        return ask(served) and "at least 1024" in served.process.log.read_text()
    wait_until(told,
               what="the file to be refused")
    assert status(ask(served)) == 200


def test_by_tls_what_openssl_has_read_already_is_there_too(processes, workdir):
    """Several sizes, so that not all end where a record does."""
    served = Endpoint(processes, workdir, make_certificate(workdir), more_keys=[OTHER],
                      serve=["--dir", workdir / "store", "--workers", "1", "--key-upload-rate", "256KiB"])
    served.client("other").create_bucket(Bucket="bucket")
    trusting = ssl.create_default_context(cafile=served.tls[0])
    for size in (264_000, 270_000, 280_000, 290_000, 300_000, 310_000):
        body = os.urandom(size)
        with contextlib.ExitStack() as stack:
            sock = trusting.wrap_socket(opened(served, stack), server_hostname="127.0.0.1")
            stack.callback(sock.close)
            sock.sendall(put_head(served, size) + body)
            with socket.socket(fileno=os.dup(sock.fileno())) as below:
                below.shutdown(socket.SHUT_WR)
            assert status(reply_of(sock)) == 200
        assert served.client("other").get_object(Bucket="bucket", Key="k")["Body"].read() == body
    served.close()

# SPDX-License-Identifier: Apache-2.0
"""What all that goes through one skyvol-s3 has in common: connections of volumes, memory."""
import concurrent.futures
import hashlib
import http.client
import http.server
import os
import pathlib
import signal
import socket
import socketserver
import threading

import pytest

from conftest import wait_until
from test_s3 import MIB, Endpoint
from test_s3_gateway import store_keys
from test_s3_post import encoded, send

VOLUMES, CONNECTIONS = 24, 8


def pieces(body):
    """Of an aws-chunked body."""
    at = 0
    while True:
        line = body.index(b"\r\n", at)
        size = int(body[at:line].split(b";")[0], 16)
        if size == 0:
            return
        yield body[line + 2:line + 2 + size]
        at = line + 2 + size + 2


class HoldingStore(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Every object has the bytes of its key; those of bucket0 come, and bodies are taken, when
    `go` is set."""

    daemon_threads = True
    request_queue_size = 256

    def server_bind(self):
        # What the kernel keeps for us is little: the rest waits in skyvol-s3.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        super().server_bind()

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.go, self.lock = threading.Event(), threading.Lock()
        self.open = self.most = self.held = 0
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.open += 1
            self.server.most = max(self.server.most, self.server.open)

    def finish(self):
        super().finish()
        with self.server.lock:
            self.server.open -= 1

    def do_GET(self):
        body = self.path.encode()
        if self.path.startswith("/bucket0/"):
            with self.server.lock:
                self.server.held += 1
            self.server.go.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Sat, 01 Nov 2025 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        with self.server.lock:
            self.server.held += 1
        self.server.go.wait(60)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "x-amz-decoded-content-length" in self.headers:
            body = b"".join(pieces(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.end_headers()


@pytest.fixture
def store():
    store = HoldingStore()
    yield store
    store.go.set()
    store.shutdown()
    store.server_close()


def test_a_volume_whose_store_hangs_leaves_connections_to_the_others(store, processes, workdir):
    volumes = [a for i in range(VOLUMES) for a in ("--volume", f"vol{i}=s3://bucket{i}/p")]
    served = Endpoint(processes, workdir, serve=[
        *volumes, "--store-endpoint", store.url, "--workers", "1", "--store-connections",
        str(CONNECTIONS), "--store-credentials-file", store_keys(workdir, "a", "b" * 20)])
    s3 = served.client(max_pool_connections=64)

    def read(bucket, key):
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        hanging = [pool.submit(read, "vol0", f"k{i}") for i in range(30)]
        wait_until(lambda: store.held >= 2, what="requests that hang")
        others = [pool.submit(read, f"vol{i}", "k") for i in range(1, VOLUMES)]
        for i, other in enumerate(others, 1):
            assert other.result(20) == f"/bucket{i}/p/k"
        assert not any(h.done() for h in hanging) and store.held < CONNECTIONS
        store.go.set()
        for i, h in enumerate(hanging):
            assert h.result(20) == f"/bucket0/p/k{i}"
    assert store.most <= CONNECTIONS
    served.close()


@pytest.fixture
def narrow(store, processes, workdir):
    """Of one worker, with the least memory for bodies."""
    served = Endpoint(processes, workdir, serve=[
        "--volume", "vol=s3://bucket1/p", "--store-endpoint", store.url, "--workers", "1",
        "--body-memory", "1MiB", "--max-requests", "1000", "--store-credentials-file",
        store_keys(workdir, "a", "b" * 20)])
    yield served
    served.close()


def memory(pid):
    """Of all processes of it, resident and theirs alone, in bytes."""
    fields = dict(line.split(":") for line in
                  pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024 + sum(memory(c) for c in children(pid))


def test_uploads_wait_for_their_store_and_take_no_more_memory(store, narrow):
    s3, count, body = narrow.client(max_pool_connections=64), 40, b"0123456789abcdef" * (MIB // 4)
    before = memory(narrow.process.pid)
    with concurrent.futures.ThreadPoolExecutor(count + 1) as pool:
        puts = [pool.submit(s3.put_object, Bucket="vol", Key=f"k{i}", Body=body)
                for i in range(count)]
        wait_until(lambda: store.held == count, what="uploads at the store")
        assert memory(narrow.process.pid) - before < count * MIB
        store.go.set()
        for put in puts:
            assert put.result(30)["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'


def children(pid):
    return [int(c) for c in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def unread(port):
    """Bytes that wait in the kernel for who serves that port."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(int(f[4].split(":")[1], 16) for f in map(str.split, lines)
               if int(f[1].split(":")[1], 16) == port and f[3] == "01")


def test_a_form_goes_on_in_little_memory(store, narrow):
    s3, body, half = narrow.client(), b"0123456789abcdef" * (MIB // 8), b"1" * (256 * 1024)
    url = s3.generate_presigned_url("put_object", {"Bucket": "vol", "Key": "k"})
    fields = s3.generate_presigned_post("vol", "form", {"x-ignore-a": "a" * 16000})["fields"]
    worker = children(children(narrow.process.pid)[0])[0]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        # Two bodies have all there is until their store has answered.
        puts = [pool.submit(put, narrow, url, half) for _ in range(2)]
        wait_until(lambda: store.held == 2, what="uploads at the store")
        os.kill(worker, signal.SIGSTOP)  # so that much of the form is there when it is looked at
        form = pool.submit(send, narrow, encoded(fields, body), "vol")
        wait_until(lambda: unread(narrow.port) > 100000, what="bytes of the form")
        os.kill(worker, signal.SIGCONT)
        wait_until(lambda: store.held == 3 or form.done(), what="the form at the store")
        store.go.set()
        assert form.result(30)[0].status == 204
        assert [p.result(30) for p in puts] == [200, 200]


def put(narrow, url, body):
    connection = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=30)
    connection.request("PUT", url[len(narrow.url):], body)
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status


def put_without_length(narrow, url, body):
    connection = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=30)
    connection.request("PUT", url[len(narrow.url):], iter([body]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, reply.headers["Retry-After"], text


def test_bodies_that_must_be_whole_first_are_refused_when_others_have_the_memory(store, narrow):
    url = narrow.client().generate_presigned_url("put_object", {"Bucket": "vol", "Key": "k"})
    small, large = b"1" * 20000, b"2" * (3 * MIB)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        first = pool.submit(put_without_length, narrow, url, large)  # alone it may
        wait_until(lambda: store.held == 1, what="the first at the store")
        for status, again, text in pool.map(lambda _: put_without_length(narrow, url, large),
                                            range(10)):
            assert status == 503 and again == "1" and b"<Code>SlowDown</Code>" in text
        little = pool.submit(put_without_length, narrow, url, small)
        wait_until(lambda: store.held == 2, what="the small one at the store")
        store.go.set()
        assert first.result(30)[0] == little.result(30)[0] == 200
    assert put_without_length(narrow, url, large)[0] == 200

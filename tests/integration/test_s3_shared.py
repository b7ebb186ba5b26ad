# SPDX-License-Identifier: Apache-2.0
"""Many volumes in one skyvol-s3, which have their connections in common."""
import concurrent.futures
import http.server
import socketserver
import threading

from conftest import wait_until
from test_s3 import Endpoint
from test_s3_gateway import store_keys

VOLUMES, CONNECTIONS = 24, 8


class HoldingStore(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Every object has the bytes of its key; those of bucket0 come when `go` is set."""

    daemon_threads = True
    request_queue_size = 256

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


def test_a_volume_whose_store_hangs_leaves_connections_to_the_others(processes, workdir):
    store = HoldingStore()
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
    store.shutdown()
    store.server_close()

# SPDX-License-Identifier: Apache-2.0
"""An S3 store with as many keys as wanted, which exist only as a rule: for tests of large listings.

    with ListingStore(directories=1000, files=1000) as store:    # d000/f000000 ... d999/f000999
        ... store.url ..., bucket "bucket", any credentials
        store.counts["LIST"]

Those objects cannot be changed. What is PUT beside them is kept in memory, for small objects only.
"""
import bisect
import collections
import hashlib
import heapq
import http.server
import threading
import urllib.parse
from xml.sax.saxutils import escape

PAGE = 1000
DATE = "Sat, 01 Nov 2025 00:00:00 GMT"
ISO = "2025-11-01T00:00:00.000Z"


class Keys(collections.abc.Sequence):
    """The keys in order, made when they are looked at."""

    def __init__(self, directories, files):
        self.directories, self.files = directories, files
        self.width = len(str(directories - 1))

    def __len__(self):
        return self.directories * self.files

    def __getitem__(self, at):
        return f"d{at // self.files:0{self.width}}/f{at % self.files:06}"


def size_of(key):
    return 100 + sum(key.encode()) % 900


def body_of(key):
    return (key.encode() + b"\n") * (size_of(key) // len(key) + 1)


def etag_of(data):
    return hashlib.md5(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, code, name):
        self.answer(code, f"<Error><Code>{name}</Code></Error>".encode(),
                    Content_Type="application/xml")

    def parse(self):
        url = urllib.parse.urlsplit(self.path)
        parts = urllib.parse.unquote(url.path).split("/", 2)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        return parts[2] if len(parts) > 2 else "", query

    def count(self, what):
        with self.server.store.lock:
            self.server.store.counts[what] += 1

    def do_HEAD(self):
        self.count("HEAD")
        self.read(self.parse()[0])

    def do_GET(self):
        key, query = self.parse()
        if key:
            self.count("GET")
            self.read(key)
        elif "list-type" in query:
            self.count("LIST")
            self.list(query)
        else:
            self.answer(200, b"<x/>", Content_Type="application/xml")

    def read(self, key):
        store = self.server.store
        data = store.data(key)
        if data is None:
            return self.error(404, "NoSuchKey")
        etag = f'"{etag_of(data) if key in store.other else store.etag(key)}"'
        if self.headers.get("If-Match", etag) != etag:
            return self.error(412, "PreconditionFailed")
        headers = {"ETag": etag, "Last_Modified": DATE, **store.meta.get(key, {})}
        if "Range" in self.headers:
            first, last = self.headers["Range"].split("=")[1].split("-")
            last = min(int(last or len(data)), len(data) - 1)
            part = data[int(first):last + 1]
            headers["Content_Range"] = f"bytes {first}-{last}/{len(data)}"
            return self.answer(206, part, **headers)
        return self.answer(200, data, **headers)

    def list(self, query):
        found, prefixes, following = self.server.store.page(
            query.get("prefix", ""), query.get("delimiter", ""),
            query.get("continuation-token") or query.get("start-after", ""),
            min(int(query.get("max-keys", PAGE)), PAGE))
        store = self.server.store
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{ISO}</LastModified>"
            f'<ETag>"{store.etag(key)}"</ETag><Size>{store.size(key)}</Size></Contents>'
            for key in found)
        entries += "".join(f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>"
                           for p in prefixes)
        more = (f"<IsTruncated>true</IsTruncated><NextContinuationToken>{escape(following)}"
                "</NextContinuationToken>" if following else "<IsTruncated>false</IsTruncated>")
        self.answer(200, ("<?xml version='1.0'?><ListBucketResult>" + more + entries +
                          "</ListBucketResult>").encode(), Content_Type="application/xml")

    def do_PUT(self):
        key, _ = self.parse()
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        store = self.server.store
        self.count("PUT")
        exists = store.data(key) is not None
        if self.headers.get("If-None-Match") == "*" and exists:
            return self.error(412, "PreconditionFailed")
        with store.lock:
            store.other[key] = data
            store.order = sorted(store.other)
            store.meta[key] = {n: v for n, v in self.headers.items()
                               if n.lower().startswith("x-amz-meta-")}
        return self.answer(200, ETag=f'"{etag_of(data)}"')

    def do_DELETE(self):
        key, _ = self.parse()
        store = self.server.store
        self.count("DELETE")
        with store.lock:
            store.other.pop(key, None)
            store.order = sorted(store.other)
        self.answer(204)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.error(501, "NotImplemented")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


class ListingStore:
    def __init__(self, directories, files):
        self.keys = Keys(directories, files)
        self.other, self.order, self.meta = {}, [], {}
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.store = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def has(self, key):
        at = bisect.bisect_left(self.keys, key)
        return at < len(self.keys) and self.keys[at] == key

    def data(self, key):
        if key in self.other:
            return self.other[key]
        return body_of(key)[:size_of(key)] if self.has(key) else None

    def size(self, key):
        return len(self.other[key]) if key in self.other else size_of(key)

    def etag(self, key):
        return etag_of(self.other[key]) if key in self.other else f"{hash(key) & (1 << 64) - 1:032x}"

    def page(self, prefix, delimiter, after, limit):
        """Keys, common prefixes, and where the next page begins ("": nowhere)."""
        found, prefixes, last = [], [], after
        following = self.following(prefix, after)
        while True:
            key = next(following, None)
            if key is None:
                return found, prefixes, ""
            if len(found) + len(prefixes) == limit:
                return found, prefixes, last
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                prefixes.append(key[:cut + 1])
                last = key[:cut + 1] + "\U0010ffff"
                following = self.following(prefix, last)
            else:
                found.append(key)
                last = key

    def following(self, prefix, after):
        """The keys of the prefix that come after this, in order."""
        def tail(keys):
            at = bisect.bisect_left(keys, prefix) if prefix > after \
                else bisect.bisect_right(keys, after)
            while at < len(keys) and keys[at].startswith(prefix):
                yield keys[at]
                at += 1
        return heapq.merge(tail(self.keys), tail(self.order))

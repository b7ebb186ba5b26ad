# SPDX-License-Identifier: Apache-2.0
"""An HTTP proxy before an S3 endpoint that does to requests and answers what networks and stores do.

    with FaultProxy("http://127.0.0.1:9000") as proxy:
        proxy.add("status", op="PUT", code=503, count=3)     # the next three PUTs
        proxy.add("lost", op="COMPLETE", probability=0.05)   # done, but the answer never comes
        ... the program under test, with endpoint=proxy.url
        assert proxy.seen["PUT"] == 5

Or by itself: `fault_proxy.py --backend http://127.0.0.1:9000 --port 9001 --control 9002`, and then
POST a JSON object such as {"what": "status", "op": "PUT", "code": 503} to /rules of the control port,
DELETE /rules, GET /counts.

What a rule does (`what`), with its arguments:
  reset    close with RST: when="before" the store hears of it; "during" the body's transfer, of the
           request if it has one, else of the answer; "after" it was done (the answer is lost)
  lost     done, and the answer never comes: the connection stays open for `seconds`, then ends
  stall    nothing happens for `seconds` before it is passed on
  late     passed on when `go` (a threading.Event) is set, `taken` is set before; of a COPY the source is
           read at once and the copy made then, by `store` (a boto3 client): a store whose commit waits
  blind    a COPY keeps to no condition on its target (what many stores do); `store` as above
  status   `code` at once; s3="SlowDown" makes the body an S3 error, otherwise it is `body`
  short    the answer's body ends after `bytes` (default: half), and so does the connection
  corrupt  one byte of the answer's body is another, its headers are as they were
  garbled  the same of the request's body
  error200 done, and answered 200 with an <Error> of s3="InternalError" as its body
  undone200  the same, but the store never hears of it
  slow     the answer comes at `rate` bytes a second
  old      LIST answers of before come again for `seconds` (per request line; what a listing that
           lags does)
  replace  the answer's body is `body`, its length right
  expired  requests signed with `access_key` (default: any) get 403 ExpiredToken (or `s3`)
  skewed   403 RequestTimeTooSkewed with a Date that is `seconds` off
Which requests: `op` (one of OPS, several by "|", or "*"), `key` (a regular expression over the decoded
path), `first` (the number of the first match that counts, from 1), `count` (how many; None: all),
`probability`. The first rule that applies is taken.
"""
import argparse
import asyncio
import collections
import email.utils
import json
import random
import re
import socket
import struct
import threading
import time
import urllib.parse

OPS = ("GET", "HEAD", "PUT", "COPY", "DELETE", "LIST", "DELETE_BATCH", "CREATE_UPLOAD", "UPLOAD_PART",
       "UPLOAD_PART_COPY", "COMPLETE", "ABORT", "LIST_UPLOADS", "LIST_PARTS", "BUCKET", "OTHER")
HEAD_MAX = 1 << 20
REASONS = {200: "OK", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests",
           500: "Internal Server Error", 503: "Slow Down"}


class Head:
    """Start line and headers of a request or an answer."""

    def __init__(self, raw):
        lines = raw.decode("latin-1").split("\r\n")
        self.raw, self.first = raw, lines[0].split(" ", 2)
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.strip().lower()] = value.strip()

    def get(self, name, default=""):
        return self.headers.get(name, default)

    @property
    def status(self):
        return int(self.first[1])


def operation(head):
    method, target = head.first[0], head.first[1]
    path, _, query = target.partition("?")
    asked = urllib.parse.parse_qs(query, keep_blank_values=True)
    has_key = len(path.strip("/").split("/", 1)) == 2 or path.count("/") >= 2 and len(path) > 2 \
        and path.split("/", 2)[2] != ""
    copies = head.get("x-amz-copy-source") != ""
    if not has_key:
        if method == "POST" and "delete" in asked:
            return "DELETE_BATCH"
        if method == "GET" and "uploads" in asked:
            return "LIST_UPLOADS"
        if method == "GET" and ("list-type" in asked or "prefix" in asked or not asked):
            return "LIST"
        return "BUCKET"
    if "uploadId" in asked:
        if method == "PUT":
            return "UPLOAD_PART_COPY" if copies else "UPLOAD_PART"
        return {"POST": "COMPLETE", "DELETE": "ABORT", "GET": "LIST_PARTS"}.get(method, "OTHER")
    if method == "POST":
        return "CREATE_UPLOAD" if "uploads" in asked else "OTHER"
    if method == "PUT" and copies:
        return "COPY"
    return method if method in ("GET", "HEAD", "PUT", "DELETE") else "OTHER"


class Rule:
    def __init__(self, what, op="*", key=None, first=1, count=None, probability=1.0, **how):
        known = {"reset", "lost", "stall", "late", "blind", "status", "short", "corrupt", "garbled", "error200", "undone200",
                 "slow", "old", "replace", "expired", "skewed"}
        if what not in known:
            raise ValueError(f"no such fault: {what}")
        self.what, self.how = what, how
        self.ops = None if op == "*" else set(op.split("|"))
        if self.ops and not self.ops <= set(OPS):
            raise ValueError(f"no such operation: {op}")
        self.key = re.compile(key) if key else None
        self.first, self.count, self.probability = first, count, probability
        self.matched = self.done = 0

    def applies(self, op, path, access_key):
        if self.ops is not None and op not in self.ops:
            return False
        if self.key is not None and not self.key.search(path):
            return False
        if self.what == "expired" and self.how.get("access_key") not in (None, access_key):
            return False
        self.matched += 1
        if self.matched < self.first or (self.count is not None and self.done >= self.count):
            return False
        if self.probability < 1 and random.random() >= self.probability:
            return False
        self.done += 1
        return True


def s3_error(code, message="injected"):
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}'
            f"</Message><RequestId>0</RequestId></Error>").encode()


def answer(code, body=b"", headers=(), with_body=True):
    lines = [f"HTTP/1.1 {code} {REASONS.get(code, 'Injected')}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if not any(name == "Date" for name, _ in headers):
        lines.append(f"Date: {email.utils.formatdate(usegmt=True)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body if with_body else b"")


class Reset(Exception):
    """End the client's connection with RST."""


async def read_chunked(reader):
    """The chunks as they come, framing and all."""
    raw = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        raw += line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            while True:
                line = await reader.readuntil(b"\r\n")
                raw += line
                if line == b"\r\n":
                    return bytes(raw)
        raw += await reader.readexactly(size + 2)


async def read_body(reader, head, writer=None, stop_half=False):
    if head.get("expect").lower() == "100-continue" and writer is not None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if "chunked" in head.get("transfer-encoding").lower():
        return await read_chunked(reader)
    size = int(head.get("content-length", "0") or 0)
    if stop_half and size > 0:
        await reader.readexactly(size // 2)
        raise Reset
    return await reader.readexactly(size) if size else b""


class FaultProxy:
    """Runs in a thread of its own. add(), clear() and the counters: from any thread."""

    def __init__(self, backend, port=0, control=None):
        url = urllib.parse.urlsplit(backend)
        self.backend = (url.hostname, url.port or 80)
        self.port, self.control = port, control
        self.rules = []
        self.seen = collections.Counter()      # requests by operation
        self.bytes = collections.Counter()     # of the store's answers' bodies, by operation
        self.injected = collections.Counter()  # faults by their name
        self.in_flight = self.most_in_flight = 0
        self.log = collections.deque(maxlen=2000)  # (seconds, operation, path, fault or status)
        self.heads = collections.deque(maxlen=2000)  # (operation, path, Head) of requests
        self._idle, self._old, self._tasks = [], {}, set()
        self._ready = threading.Event()
        self._failed = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    # ---- for tests ----

    def start(self):
        self._thread.start()
        self._ready.wait(20)
        if self._failed:
            raise self._failed
        return self

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(20)

    __enter__ = start

    def __exit__(self, *error):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def add(self, what, **how):
        rule = Rule(what, **how)
        self.rules = [*self.rules, rule]
        return rule

    def clear(self):
        self.rules = []

    def reset_counts(self):
        self.seen.clear()
        self.bytes.clear()
        self.injected.clear()
        self.log.clear()
        self.heads.clear()
        self.most_in_flight = 0

    def total(self):
        return sum(self.seen.values())

    # ---- the thread ----

    def _run(self):
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._listen())
        except OSError as error:
            self._failed = error
            return
        finally:
            self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _listen(self):
        server = await asyncio.start_server(self._client, "127.0.0.1", self.port, limit=HEAD_MAX,
                                            backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        if self.control is not None:
            control = await asyncio.start_server(self._controlled, "127.0.0.1", self.control)
            self.control = control.sockets[0].getsockname()[1]

    async def _client(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                head = Head(await reader.readuntil(b"\r\n\r\n"))
                self.in_flight += 1
                self.most_in_flight = max(self.in_flight, self.most_in_flight)
                try:
                    await self._request(head, reader, writer)
                finally:
                    self.in_flight -= 1
                if head.get("connection").lower() == "close":
                    break
        except Reset:
            sock = writer.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _rule(self, op, path, head):
        found = re.search(r"Credential=([^/]+)/", head.get("authorization"))
        access_key = found.group(1) if found else None
        for rule in self.rules:
            if rule.applies(op, path, access_key):
                self.injected[rule.what] += 1
                return rule
        return None

    async def _request(self, head, reader, writer):
        op = operation(head)
        path = urllib.parse.unquote(head.first[1].partition("?")[0])
        self.seen[op] += 1
        rule = self._rule(op, path, head)
        what, how = (rule.what, rule.how) if rule else (None, {})
        entry = [time.monotonic(), op, head.first[1], what]
        self.log.append(entry)
        self.heads.append((op, path, head))
        when = how.get("when", "after") if what == "reset" else None
        if when == "before":
            raise Reset
        body = await read_body(reader, head, writer, stop_half=when == "during")
        if what == "garbled" and body:
            at = how.get("at", len(body) // 2)
            body = body[:at] + bytes([body[at] ^ 0x20]) + body[at + 1:]
        early = self._early(what, how, op, head)
        if what == "stall":
            await asyncio.sleep(how["seconds"])
        if what in ("late", "blind") and (what == "late" or op == "COPY"):
            early = await self._loop.run_in_executor(None, self._late, op, path, head, how)
        if early is not None:
            writer.write(early)
            await writer.drain()
            return
        if what == "old" and (op, head.first[1]) in self._old:
            until, reply, content = self._old[(op, head.first[1])]
            if time.monotonic() < until:
                writer.write(reply + content)
                await writer.drain()
                return
        reply, content = await self._forward(head, body)
        entry[3] = what or reply.status
        self.bytes[op] += len(content)
        if what == "old" and reply.status == 200:
            self._old[(op, head.first[1])] = (time.monotonic() + how["seconds"], reply.raw, content)
        await self._reply(what, how, head, reply, content, writer)

    @staticmethod
    def _late(op, path, head, how):
        """A copy's answer; None: the store gives it."""
        store, copied = how["store"], None
        try:
            if op == "COPY":
                source = urllib.parse.unquote(head.get("x-amz-copy-source")).lstrip("/").partition("/")
                condition = {"IfMatch": head.get("x-amz-copy-source-if-match")}
                copied = store.get_object(Bucket=source[0], Key=source[2],
                                          **{k: v for k, v in condition.items() if v})
                content = copied["Body"].read()
        except store.exceptions.ClientError as error:
            return answer(404 if "NoSuchKey" in str(error) else 412,
                          s3_error(error.response["Error"]["Code"]))
        if "go" in how:
            how["taken"].set()
            how["go"].wait(60)
        if copied is None:
            return None
        meta = {k[len("x-amz-meta-"):]: v for k, v in head.headers.items()
                if k.startswith("x-amz-meta-")}
        replaced = head.get("x-amz-metadata-directive") == "REPLACE"
        condition = {ours: head.get(theirs) for ours, theirs in
                     (("IfMatch", "if-match"), ("IfNoneMatch", "if-none-match"))
                     if head.get(theirs) and not how.get("blind", "go" not in how)}
        bucket, _, key = path.lstrip("/").partition("/")
        try:
            made = store.put_object(Bucket=bucket, Key=key, Body=content,
                                           Metadata=meta if replaced else copied["Metadata"],
                                           **condition)
        except store.exceptions.ClientError as error:
            return answer(412, s3_error(error.response["Error"]["Code"]))
        return answer(200, f"<CopyObjectResult><ETag>{made['ETag']}</ETag></CopyObjectResult>".encode())

    @staticmethod
    def _early(what, how, op, head):
        """An answer that the store knows nothing of."""
        with_body = head.first[0] != "HEAD"
        if what == "status":
            code = how.get("code", 503)
            s3 = how.get("s3")
            body = s3_error(s3) if s3 else how.get("body", "").encode()
            extra = [("Content-Type", "application/xml")] if s3 else []
            return answer(code, body, extra + list(how.get("headers", {}).items()), with_body)
        if what == "undone200":
            return answer(200, s3_error(how.get("s3", "InternalError")), (), with_body)
        if what == "expired":
            return answer(403, s3_error(how.get("s3", "ExpiredToken")), (), with_body)
        if what == "skewed":
            date = email.utils.formatdate(time.time() + how["seconds"], usegmt=True)
            return answer(403, s3_error("RequestTimeTooSkewed"), [("Date", date)], with_body)
        return None

    async def _forward(self, head, body):
        """The store's answer, whole."""
        while True:
            reused = bool(self._idle)
            reader, writer = self._idle.pop() if reused else \
                await asyncio.open_connection(*self.backend, limit=HEAD_MAX)
            try:
                raw = re.sub(rb"(?i)\r\nexpect: 100-continue", b"", head.raw)
                writer.write(raw + body)
                reply = Head(await reader.readuntil(b"\r\n\r\n"))
                while reply.status == 100:
                    reply = Head(await reader.readuntil(b"\r\n\r\n"))
                break
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                if not reused:
                    raise
        bare = head.first[0] == "HEAD" or reply.status in (204, 304)
        content = b"" if bare else await read_body(reader, reply)
        if reply.get("connection").lower() == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return reply, content

    async def _reply(self, what, how, head, reply, content, writer):
        raw = reply.raw
        if what == "reset":
            if how.get("when") == "during":
                writer.write(raw + content[:len(content) // 2])
                await writer.drain()
                await asyncio.sleep(0.01)
            raise Reset
        if what == "lost":
            await asyncio.sleep(how.get("seconds", 3600))
            raise Reset
        if what == "error200":
            raw, content = answer(200, s3_error(how.get("s3", "InternalError"))), b""
        elif what == "replace":
            raw, content = answer(reply.status, how["body"].encode()), b""
        elif what == "corrupt" and content:
            at = how.get("at", len(content) // 2)
            content = content[:at] + bytes([content[at] ^ 0x20]) + content[at + 1:]
        elif what == "short":
            writer.write(raw + content[:how.get("bytes", len(content) // 2)])
            await writer.drain()
            writer.close()
            raise ConnectionError
        if what == "slow":
            await self._trickle(raw + content, how["rate"], writer)
        else:
            writer.write(raw + content)
            await writer.drain()

    @staticmethod
    async def _trickle(data, rate, writer):
        piece = max(1, int(rate / 20))
        for at in range(0, len(data), piece):
            writer.write(data[at:at + piece])
            await writer.drain()
            await asyncio.sleep(0.05)

    # ---- control ----

    async def _controlled(self, reader, writer):
        try:
            head = Head(await reader.readuntil(b"\r\n\r\n"))
            body = await read_body(reader, head)
            method, path = head.first[0], head.first[1]
            code, told = 200, {}
            if path == "/rules" and method == "POST":
                try:
                    self.add(**json.loads(body))
                except (ValueError, TypeError) as error:
                    code, told = 400, {"error": str(error)}
            elif path == "/rules" and method == "DELETE":
                self.clear()
            elif path == "/counts":
                told = {"seen": dict(self.seen), "injected": dict(self.injected),
                        "most_in_flight": self.most_in_flight}
            else:
                code = 404
            writer.write(answer(code, json.dumps(told).encode()))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def main():
    parser = argparse.ArgumentParser(description="S3 proxy that injects faults")
    parser.add_argument("--backend", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control", type=int, default=0)
    parser.add_argument("--rule", action="append", default=[], help="a rule as JSON")
    arguments = parser.parse_args()
    proxy = FaultProxy(arguments.backend, arguments.port, arguments.control)
    for rule in arguments.rule:
        proxy.add(**json.loads(rule))
    with proxy:
        print(f"{proxy.url} control http://127.0.0.1:{proxy.control}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""As much of the Kubernetes API as our programs ask for, in memory: a FakeKube per test.

    kube = FakeKube()                        # kube.url, kube.token_file after kube.save_token(path)
    kube.put("v1", "pods", {"metadata": {"name": "web", "namespace": "default"}, ...})
    kube.tokens["TOKEN"] = {"username": ..., "audiences": [...], "extra": {...}}    # for TokenReview
    kube.fault(times=1, path="/pods/", status=429, headers={"Retry-After": "1"})
    kube.calls("PATCH", "/nodes/")           # what was asked, in order
    kube.close()

It demands a bearer token, keeps resourceVersions, knows conflicts, JSON and merge patches, lists in pages
and watches; faults come before anything else: a status, a delay, an answer that is cut off, or nothing.
"""
import copy
import http.server
import itertools
import json
import re
import ssl
import threading
import time
import urllib.parse
import uuid

PATH = re.compile(r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))"
                  r"(?:/namespaces/(?P<space>[^/]+)(?=/))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
                  r"(?:/(?P<sub>[^/]+))?$")


class Refused(Exception):
    def __init__(self, code, reason, message=""):
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def body(self):
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code,
                "reason": self.reason, "message": self.message}


def merge(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge(target.get(key), value)
    return target


def apply_operations(document, operations):
    """RFC 6902 as far as it is used: test, add, replace, remove."""
    for operation in operations:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        parent, last = document, parts[-1]
        try:
            for part in parts[:-1]:
                parent = parent[int(part)] if isinstance(parent, list) else parent[part]
            if isinstance(parent, list):
                last = len(parent) if last == "-" else int(last)
            if operation["op"] == "add":
                parent.insert(last, operation["value"]) if isinstance(parent, list) else \
                    parent.update({last: operation["value"]})
                continue
            found = parent[last]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Refused(422, "Invalid", f"no {operation['path']}") from None
        if operation["op"] == "test" and found != operation["value"]:
            raise Refused(422, "Invalid", f"test of {operation['path']} failed")
        if operation["op"] == "replace":
            parent[last] = operation["value"]
        elif operation["op"] == "remove":
            del parent[last]
    return document


class FakeKube:
    def __init__(self, tls=None):
        """tls: (certificate file, key file), else plain HTTP on 127.0.0.1."""
        self.lock = threading.Condition()
        self.objects = {}  # (api, plural, namespace, name): object
        self.events = []  # (version, api, plural, namespace, type, object)
        self.version = 100
        self.forgotten = 0  # watches and continues from before this are 410
        self.tokens, self.own_tokens = {}, {"own-token"}
        self.faults, self.seen = [], []
        self.closing = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do(self):
                outer.handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        with self.lock:
            self.closing = True
            self.lock.notify_all()
        self.server.shutdown()
        self.server.server_close()

    # ---- for tests ----

    def save_token(self, path, token="own-token"):
        """A file as a pod has it, and replaced as kubelet does."""
        new = path.with_suffix(".new")
        new.write_text(token)
        new.rename(path)
        return path

    def options(self, directory):
        """What tells our programs of this server."""
        return ["--kube-api", self.url, "--kube-token-file", self.save_token(directory / "kube-token"),
                "--kube-ca-file", ""]

    def put(self, api, plural, obj, kind="MODIFIED"):
        with self.lock:
            meta = obj.setdefault("metadata", {})
            meta.setdefault("uid", str(uuid.uuid4()))
            self.version += 1
            meta["resourceVersion"] = str(self.version)
            key = (api, plural, meta.get("namespace"), meta["name"])
            kind = kind if key in self.objects or kind == "DELETED" else "ADDED"
            if kind == "DELETED":
                self.objects.pop(key, None)
            else:
                self.objects[key] = copy.deepcopy(obj)
            self.events.append((self.version, api, plural, meta.get("namespace"), kind,
                                copy.deepcopy(obj)))
            self.lock.notify_all()
            return copy.deepcopy(obj)

    def get(self, api, plural, name, space=None):
        with self.lock:
            return copy.deepcopy(self.objects.get((api, plural, space, name)))

    def remove(self, api, plural, name, space=None):
        found = self.get(api, plural, name, space)
        if found:
            self.put(api, plural, found, "DELETED")

    def fault(self, times=1, method="", path="", **what):
        """what: status, headers, body; delay seconds; cut bytes of the body; drop."""
        with self.lock:
            self.faults.append({"times": times, "method": method, "path": path, **what})

    def calls(self, method="", path=""):
        with self.lock:
            return [c for c in self.seen if c["method"].startswith(method) and path in c["path"]]

    # ---- the server ----

    def handle(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        address = urllib.parse.urlsplit(request.path)
        call = {"method": request.command, "path": address.path, "body": body.decode(),
                "query": dict(urllib.parse.parse_qsl(address.query)),
                "type": request.headers.get("Content-Type", ""),
                "token": request.headers.get("Authorization", "").removeprefix("Bearer ")}
        with self.lock:
            self.seen.append(call)
            fault = next((f for f in self.faults if f["times"] > 0 and f["path"] in call["path"] and
                          call["method"].startswith(f["method"])), None)
            if fault:
                fault["times"] -= 1
        if fault and self.misbehave(request, fault):
            return
        try:
            if call["token"] not in self.own_tokens:
                raise Refused(401, "Unauthorized", "Unauthorized")
            answer = self.answer(call, request)
        except Refused as why:
            self.send(request, why.code, why.body())
            return
        if answer is not None:
            self.send(request, 201 if call["method"] == "POST" else 200, answer)

    def misbehave(self, request, fault):
        if fault.get("delay"):
            with self.lock:
                self.lock.wait_for(lambda: self.closing, fault["delay"])
        if fault.get("drop"):
            request.close_connection = True
            return True
        if "status" not in fault:
            return False
        self.send(request, fault["status"], fault.get("body", {"kind": "Status"}),
                  fault.get("headers", {}), fault.get("cut"))
        return True

    @staticmethod
    def send(request, status, body, headers=None, cut=None):
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(text if cut is None else text[:cut])
        if cut is not None:
            request.close_connection = True

    def answer(self, call, request):
        match = PATH.match(call["path"])
        if not match:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        api = match["core"] or match["group"]
        plural, space, name = match["plural"], match["space"], match["name"]
        unquote = urllib.parse.unquote
        space, name = space and unquote(space), name and unquote(name)
        if plural == "tokenreviews":
            return self.review(json.loads(call["body"]))
        if call["method"] == "GET" and name is None:
            if call["query"].get("watch") == "true":
                return self.watch(api, plural, space, call["query"], request)
            return self.listing(api, plural, space, call["query"])
        with self.lock:
            return self.change(call, (api, plural, space, name))

    def review(self, review):
        known = self.tokens.get(review["spec"]["token"])
        asked = review["spec"].get("audiences", [])
        both = [a for a in asked if known and a in known["audiences"]]
        if not both:
            status = {"authenticated": False, "error": "invalid bearer token"}
        else:
            status = {"authenticated": True, "audiences": both,
                      "user": {"username": known["username"], "extra": known.get("extra", {})}}
        return {**review, "status": status}

    def selected(self, api, plural, space, query):
        field = query.get("fieldSelector", "")
        name = field.removeprefix("metadata.name=") if field else None
        return [o for (a, p, s, n), o in sorted(self.objects.items(), key=lambda i: str(i[0]))
                if (a, p) == (api, plural) and space in (None, s) and name in (None, n)]

    def listing(self, api, plural, space, query):
        with self.lock:
            found = self.selected(api, plural, space, query)
            at = 0
            if "continue" in query:
                version, at = map(int, query["continue"].split("-"))
                if version < self.forgotten:
                    raise Refused(410, "Expired", "the continue parameter is too old")
            limit = int(query.get("limit") or len(found) or 1)
            meta = {"resourceVersion": str(self.version)}
            if at + limit < len(found):
                meta["continue"] = f"{self.version}-{at + limit}"
            return {"kind": "List", "apiVersion": api, "metadata": meta,
                    "items": copy.deepcopy(found[at:at + limit])}

    def watch(self, api, plural, space, query, request):
        version = int(query["resourceVersion"])
        if version < self.forgotten:
            raise Refused(410, "Expired", "too old resource version")
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        field = query.get("fieldSelector", "").removeprefix("metadata.name=")
        end = time.monotonic() + float(query.get("timeoutSeconds", 300))
        sent = 0
        while time.monotonic() < end and not self.closing:
            with self.lock:
                self.lock.wait_for(lambda at=sent: len(self.events) > at or self.closing, 0.5)
                new, sent = self.events[sent:], len(self.events)
            for at, a, p, s, kind, obj in new:
                if at > version and (a, p) == (api, plural) and space in (None, s) and \
                        field in ("", obj["metadata"]["name"]):
                    line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
                    request.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        request.wfile.write(b"0\r\n\r\n")

    def change(self, call, key):
        api, plural, space, name = key
        method = call["method"]
        if method == "POST":
            obj = json.loads(call["body"])
            obj["metadata"].setdefault("namespace", space)
            if (api, plural, space, obj["metadata"]["name"]) in self.objects:
                raise Refused(409, "AlreadyExists", f"{plural} already exists")
            if space is None:
                obj["metadata"].pop("namespace")
            return self.put(api, plural, obj)
        found = copy.deepcopy(self.objects.get(key))
        applies = call["type"] == "application/apply-patch+yaml"
        if found is None and not (method == "PATCH" and applies):
            raise Refused(404, "NotFound", f'{plural} "{name}" not found')
        if method == "GET":
            return found
        if method == "DELETE":
            self.put(api, plural, found, "DELETED")
            return {"kind": "Status", "status": "Success"}
        body = json.loads(call["body"])
        if method == "PUT":
            new = body
        elif call["type"] == "application/json-patch+json":
            new = apply_operations(found, body)
        else:
            new = merge(found or {}, body)
        version = body.get("metadata", {}).get("resourceVersion") if isinstance(body, dict) else None
        if found and version and version != found["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", "the object has been modified")
        return self.put(api, plural, new)


_numbers = itertools.count(1)


def add_pod(kube, claim="data", volume="v-1", node="node-1", space="team", name=None, **more):
    """A pod with a claim bound to a volume, as kubelet and the provisioner leave them; its token."""
    name = name or f"pod-{next(_numbers)}"
    pod = kube.put("v1", "pods", {
        "metadata": {"name": name, "namespace": space},
        "spec": {"nodeName": node, "serviceAccountName": "default",
                 "volumes": [{"name": "config", "configMap": {"name": "x"}},
                             {"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}})
    if kube.get("v1", "persistentvolumeclaims", claim, space) is None:
        bound = kube.put("v1", "persistentvolumeclaims", {
            "metadata": {"name": claim, "namespace": space}, "spec": {"volumeName": f"pv-{volume}"}})
        kube.put("v1", "persistentvolumes", {
            "metadata": {"name": f"pv-{volume}"},
            "spec": {"csi": {"driver": "csi.skyvol.io", "volumeHandle": volume},
                     "claimRef": {"namespace": space, "name": claim,
                                  "uid": bound["metadata"]["uid"]}}})
    token = more.get("token") or f"token-of-{name}-{uuid.uuid4()}"
    kube.tokens[token] = {
        "username": f"system:serviceaccount:{space}:default", "audiences": ["skyvol-meta"],
        "extra": {"authentication.kubernetes.io/pod-name": [name],
                  "authentication.kubernetes.io/pod-uid": [pod["metadata"]["uid"]],
                  "authentication.kubernetes.io/node-name": [node]}}
    return pod, token

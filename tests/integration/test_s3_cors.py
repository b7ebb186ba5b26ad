# SPDX-License-Identifier: Apache-2.0
"""Pages of other origins that use skyvol-s3 (CORS)."""
import http.client

from test_s3 import code_of, plain, s3  # noqa: F401  (fixtures)

RULES = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*suffix"]},
         {"AllowedMethods": ["GET"], "AllowedOrigins": ["start*end"]},
         {"AllowedMethods": ["PUT", "GET"], "AllowedOrigins": ["http://page.example"],
          "AllowedHeaders": ["x-amz-meta-*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]


def ask(plain, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=20)
    connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
    reply = connection.getresponse()
    reply.text = reply.read().decode()
    connection.close()
    return reply


def test_set_cors(s3):
    assert code_of(s3.get_bucket_cors, Bucket="bucket") == ("NoSuchCORSConfiguration", 404)
    s3.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": RULES})
    assert s3.get_bucket_cors(Bucket="bucket")["CORSRules"] == RULES
    s3.delete_bucket_cors(Bucket="bucket")
    assert code_of(s3.get_bucket_cors, Bucket="bucket") == ("NoSuchCORSConfiguration", 404)
    for rules, want in (([], "MalformedXML"),
                        ([{"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}], "InvalidRequest"),
                        ([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*a*"]}], "InvalidRequest")):
        assert code_of(s3.put_bucket_cors, Bucket="bucket",
                       CORSConfiguration={"CORSRules": rules}) == (want, 400)
    assert code_of(s3.put_bucket_cors, Bucket="absent",
                   CORSConfiguration={"CORSRules": RULES}) == ("NoSuchBucket", 404)


def test_cors_origin_response_cors_origin_wildcard_cors_header_option(plain, s3):
    origin = "http://page.example"
    for reply in (ask(plain, "OPTIONS", "/bucket/k", Origin=origin, Access_Control_Request_Method="PUT"),
                  ask(plain, "OPTIONS", "/bucket", Origin="http://other",
                      Access_Control_Request_Method="GET")):
        assert (reply.status, "AccessForbidden" in reply.text) == (403, True)
    s3.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": RULES})
    reply = ask(plain, "OPTIONS", "/bucket/k", Origin=origin, Access_Control_Request_Method="PUT",
                Access_Control_Request_Headers="X-Amz-Meta-A, x-amz-meta-b")
    assert (reply.status, reply.text) == (200, "")
    assert {k: v for k, v in reply.getheaders() if k.startswith("Access-Control") or k == "Vary"} == {
        "Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "PUT, GET", "Access-Control-Expose-Headers": "ETag",
        "Access-Control-Allow-Headers": "x-amz-meta-a, x-amz-meta-b", "Access-Control-Max-Age": "60",
        "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"}
    for page, method, headers, want in (
            ("foo.suffix", "GET", None, 200), ("foo.suffix", "PUT", None, 403),
            ("start1end", "GET", None, 200), ("start1end.com", "GET", None, 403),
            (origin, "PUT", "x-other", 403), (None, "GET", None, 400), (origin, None, None, 400),
            (origin, "get", None, 400), (origin, "GET", "a b", 400)):
        asked = {"Origin": page, "Access_Control_Request_Method": method,
                 "Access_Control_Request_Headers": headers}
        reply = ask(plain, "OPTIONS", "/bucket/k", **{k: v for k, v in asked.items() if v})
        assert reply.status == want, (asked, reply.text)
    reply = ask(plain, "OPTIONS", "/absent", Origin=origin, Access_Control_Request_Method="GET")
    assert (reply.status, "NoSuchBucket" in reply.text) == (404, True)


def test_cors_presigned_get_object_and_put_object(plain, s3):
    s3.put_bucket_cors(Bucket="bucket", CORSConfiguration={"CORSRules": RULES})
    path = {verb: s3.generate_presigned_url(call, {"Bucket": "bucket", "Key": "k"})[len(plain.url):]
            for verb, call in (("PUT", "put_object"), ("GET", "get_object"), ("DELETE", "delete_object"))}
    origin, allowed = "http://page.example", "Access-Control-Allow-Origin"
    body = b"x" * 3000000
    for verb in ("PUT", "GET"):
        reply = ask(plain, verb, path[verb], body if verb == "PUT" else None, Origin=origin)
        assert reply.status == 200 and reply.headers[allowed] == origin, reply.text
        assert reply.headers["Vary"].startswith("Origin")
    assert len(reply.text) == len(body)
    reply = ask(plain, "GET", path["GET"], Origin="http://other")
    assert reply.status == 200 and reply.headers[allowed] is None
    reply = ask(plain, "GET", path["GET"])
    assert reply.status == 200 and reply.headers[allowed] is None
    reply = ask(plain, "DELETE", path["DELETE"], Origin=origin)
    assert reply.status == 204 and reply.headers[allowed] is None
    reply = ask(plain, "GET", path["GET"], Origin=origin)  # so that a page can read the error
    assert reply.status == 404 and reply.headers[allowed] == origin
    reply = ask(plain, "PUT", "/bucket/k", body, Origin=origin)
    assert reply.status == 403 and reply.headers[allowed] == origin
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", plain.port, timeout=20)
        connection.request("GET", "/bucket/k", headers={"Origin": origin})
        connection.close()  # gone before its reply
    assert ask(plain, "GET", path["GET"], Origin=origin).status == 404

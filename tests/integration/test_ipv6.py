# SPDX-License-Identifier: Apache-2.0
"""Addresses of IPv6, as in clusters that have nothing else, and ":port", by which manifests mean all of both."""
import http.client
import os
import pathlib
import socket
import subprocess

import boto3
import pytest
from botocore.config import Config

from conftest import free_port, listening, program, wait_until
from test_s3 import ACCESS, SECRET, Endpoint


@pytest.fixture(autouse=True)
def ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


def client(url):
    return boto3.client("s3", endpoint_url=url, aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                        region_name="us-east-1", config=Config(s3={"addressing_style": "path"},
                                                               retries={"max_attempts": 1}))


def healthy(host, port):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


@pytest.fixture
def everywhere(processes, workdir):
    """skyvol-s3 as manifests start it: on all addresses."""
    port, status = free_port(), free_port()
    keys = workdir / "keys.json"
    keys.write_text(f'{{"keys": [{{"access_key": "{ACCESS}", "secret_key": "{SECRET}", "internal": true}}]}}')
    keys.chmod(0o600)
    server = processes.start([program("skyvol-s3"), "--listen", f":{port}", "--status", f":{status}", "--dir",
                              workdir / "store", "--credentials-file", keys, "--run-dir", workdir / "run"])
    wait_until(lambda: listening(port), what="S3 endpoint", process=server)
    assert healthy("127.0.0.1", status) and healthy("::1", status)
    return port


def test_an_endpoint_of_all_addresses_serves_both_families(everywhere):
    six, four = client(f"http://[::1]:{everywhere}"), client(f"http://127.0.0.1:{everywhere}")
    six.create_bucket(Bucket="bucket")
    six.put_object(Bucket="bucket", Key="k", Body=b"by six")
    assert four.get_object(Bucket="bucket", Key="k")["Body"].read() == b"by six"
    signed = six.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "k"})
    done = subprocess.run(["curl", "-gsf", signed], check=True, capture_output=True, timeout=20)
    assert done.stdout == b"by six"
    # A policy's condition means the client's own address, not a mapped one.
    four.put_bucket_policy(Bucket="bucket", Policy="""{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*",
        "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}}]}""")
    for host, good in (("127.0.0.1", True), ("[::1]", False)):
        done = subprocess.run(["curl", "-gsf", f"http://{host}:{everywhere}/bucket/k"], check=False,
                              capture_output=True, timeout=20)
        assert (done.returncode == 0) is good, host


def test_a_mount_of_a_store_with_an_ipv6_address(everywhere, processes, workdir):
    url, point = f"http://[::1]:{everywhere}", workdir / "mnt"
    client(url).create_bucket(Bucket="bucket")
    point.mkdir()
    mount = processes.start([program("skyvol-mount"), "s3://bucket", point, "-f", "-o", f"endpoint={url}"],
                            env=dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET))
    try:
        wait_until(lambda: os.path.ismount(point), what="mount", process=mount)
        (point / "f").write_bytes(b"six")
        assert client(url).get_object(Bucket="bucket", Key="f")["Body"].read() == b"six"
    finally:
        subprocess.run(["umount", "-l", point], check=False, timeout=60)


def test_a_gateway_in_front_of_a_store_with_an_ipv6_address(everywhere, processes, workdir):
    url = f"http://[::1]:{everywhere}"
    client(url).create_bucket(Bucket="bucket")
    keys = workdir / "behind.json"
    keys.write_text(f'{{"access_key": "{ACCESS}", "secret_key": "{SECRET}"}}')
    keys.chmod(0o600)
    (workdir / "front").mkdir()
    front = Endpoint(processes, workdir / "front", name="front", serve=[
        "--store", "s3://", "--store-endpoint", url, "--store-credentials-file", keys])
    front.client().put_object(Bucket="bucket", Key="k", Body=b"through")
    assert client(url).get_object(Bucket="bucket", Key="k")["Body"].read() == b"through"
    front.close()


def test_the_metaserver_on_all_addresses(processes, workdir):
    ctl, pki, port = program("skyvolctl"), workdir / "pki", free_port()
    subprocess.run([ctl, "certs", "init", pki], check=True, capture_output=True, timeout=60)
    for name in ("meta", "client"):
        subprocess.run([ctl, "certs", "issue", pki, name, "--host", "127.0.0.1", "--host", "::1"], check=True,
                       capture_output=True, timeout=60)
    server = processes.start([program("skyvol-meta"), "--listen", f":{port}", "--database", workdir / "db",
                              "--seal-key-file", workdir / "seal", "--tls-ca-file", pki / "ca.crt", "--tls-cert-file",
                              pki / "meta.crt", "--tls-key-file", pki / "meta.key"])
    wait_until(lambda: listening(port), what="skyvol-meta", process=server)
    for host in ("127.0.0.1", "[::1]"):
        subprocess.run([ctl, "store", "list", "--meta", f"{host}:{port}", "--tls-ca-file", pki / "ca.crt",
                        "--tls-cert-file", pki / "client.crt", "--tls-key-file", pki / "client.key"], check=True,
                       capture_output=True, timeout=30)
    assert pathlib.Path(workdir / "db").exists()

# SPDX-License-Identifier: Apache-2.0
"""A mount over https: whose certificate it takes."""
import os
import subprocess

import pytest
from conftest import program
from test_s3 import SECRET, Endpoint, make_certificate


@pytest.fixture
def secure(processes, workdir):
    served = Endpoint(processes, workdir, make_certificate(workdir))
    served.client("inner").create_bucket(Bucket="bucket")
    yield served
    served.close()


def mount(endpoint, directory, options):
    point = directory / "mnt"
    point.mkdir(exist_ok=True)
    done = subprocess.run(
        [program("skyvol-mount"), "s3://bucket", point, "-o", f"endpoint={endpoint.url},{options}"],
        capture_output=True, text=True, timeout=60,
        env=os.environ | {"AWS_ACCESS_KEY_ID": "inner", "AWS_SECRET_ACCESS_KEY": SECRET})
    return done, point


def test_an_unknown_certificate_is_refused_and_the_option_named(secure, workdir):
    done, _ = mount(secure, workdir, "region=us-east-1")
    assert done.returncode == 1
    assert "certificate" in done.stderr, done.stderr


@pytest.mark.parametrize("how", ["ca_file", "insecure_tls"])
def test_files_go_over_https(secure, workdir, how):
    done, point = mount(secure, workdir, how + (f"={secure.tls[0]}" if how == "ca_file" else ""))
    assert done.returncode == 0, done.stderr
    (point / "file").write_bytes(b"bytes" * 1000)
    assert secure.client("inner").get_object(Bucket="bucket", Key="file")["Body"].read() == b"bytes" * 1000
    subprocess.run(["fusermount3", "-u", point], check=True)

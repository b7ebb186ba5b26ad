# SPDX-License-Identifier: Apache-2.0
"""An object `a` beside objects `a/...`: the directory is `a`, the file is `.%file%a`, and each goes by itself."""
import os
import subprocess

import pytest
from rig import BUCKET


@pytest.fixture(params=["close", "fsync"])
def mount(rig, request):
    s3 = rig.client()
    for key in ("pair/", "pair/a", "pair/a/", "pair/a/b", "pair/implied", "pair/implied/b"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"" if key.endswith("/") else key.encode())
    one = rig.mount(sync=request.param, attr_timeout=60)
    yield one
    rig.proxy.clear()
    if one.process.poll() is None:
        one.end()


BOTH = {".%file%a", ".%file%implied", "a", "implied"}


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ["a", "implied"])
def test_the_directory_stays_when_the_file_beside_it_goes(rig, mount, name, listed):
    rig.proxy.add("status", op="DELETE|DELETE_BATCH", code=503, s3="SlowDown")  # the file's grave stays open
    pair = mount.point / "pair"
    if listed:
        assert set(os.listdir(pair)) == BOTH
    (pair / f".%file%{name}").unlink()
    assert (pair / name).is_dir()
    assert (pair / name / "b").read_text() == f"pair/{name}/b"
    assert set(os.listdir(pair)) == BOTH - {f".%file%{name}"}
    assert not (pair / f".%file%{name}").exists()
    rig.proxy.clear()
    mount.end()
    keys = rig.keys("pair/")
    assert f"pair/{name}" not in keys and f"pair/{name}/b" in keys
    mount.begin()
    assert set(os.listdir(pair)) == BOTH - {f".%file%{name}"}


@pytest.mark.parametrize("name", ["a", "implied"])
def test_the_file_stays_when_the_directory_beside_it_goes(rig, mount, name):
    pair = mount.point / "pair"
    subprocess.run(["rm", "-r", pair / name], check=True, timeout=30)
    assert (pair / f".%file%{name}").read_text() == f"pair/{name}"
    mount.end()
    keys = rig.keys("pair/")
    assert f"pair/{name}" in keys and f"pair/{name}/b" not in keys

# SPDX-License-Identifier: Apache-2.0
"""Keys with a part that is too long for a file name: the mount cannot show them, but says so."""
import errno
import os
import subprocess

import pytest

from conftest import program, wait_until
from test_s3 import Endpoint


@pytest.mark.parametrize("below", ["", "/file"])
def test_rmdir_names_the_object_that_nobody_sees(workdir, processes, below):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse")
    point = workdir / "mnt"
    point.mkdir()
    endpoint = Endpoint(processes, workdir)
    s3 = endpoint.client()
    s3.create_bucket(Bucket="bucket")
    longest, longer = f"d/{'x' * 255}", f"d/{'y' * 256}{below}"
    for key in ("d/", longest, longer):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x" if key != "d/" else b"")
    mount = processes.start([program("skyvol-mount"), f"dir://{workdir}/store/bucket", point, "-f"])
    wait_until(lambda: os.path.ismount(point), what="mount", process=mount)
    try:
        assert os.listdir(point / "d") == ["x" * 255]
        os.unlink(point / longest)
        with pytest.raises(OSError) as why:
            os.rmdir(point / "d")
        assert why.value.errno == errno.ENOTEMPTY
        wait_until(lambda: "too long to be shown" in mount.log.read_text(), what="the log")
        assert longer in mount.log.read_text()
        s3.delete_object(Bucket="bucket", Key=longer)  # as docs/skyvol-mount.md says
        os.rmdir(point / "d")
    finally:
        subprocess.run(["umount", point], check=False, timeout=60)
    endpoint.close()

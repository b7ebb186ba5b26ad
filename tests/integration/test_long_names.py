# SPDX-License-Identifier: Apache-2.0
"""Keys with a part that is too long for a file name have another name on the mount."""
import errno
import os
import subprocess

import pytest

from conftest import program, wait_until
from test_s3 import Endpoint


@pytest.mark.parametrize("below", ["", "/file"])
def test_a_long_part_of_a_key_has_a_name(workdir, processes, below):
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
        shown = sorted(os.listdir(point / "d"))
        assert shown[1] == "x" * 255
        assert shown[0].startswith(".%long%yyy") and len(shown[0]) <= 255
        assert (point / "d" / (shown[0] + below)).read_bytes() == b"x"
        with pytest.raises(OSError) as why:
            (point / "d" / ".%long%zzz%0123456789abcdef0123456789abcdef").write_bytes(b"")
        assert why.value.errno in (errno.EINVAL, errno.ENOENT)  # nobody can make such a name
        os.unlink(point / longest)
        os.unlink(point / "d" / (shown[0] + below))
        if below:
            os.rmdir(point / "d" / shown[0])
        os.rmdir(point / "d")
    finally:
        subprocess.run(["umount", point], check=False, timeout=60)
    endpoint.close()

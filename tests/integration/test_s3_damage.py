# SPDX-License-Identifier: Apache-2.0
"""Files of the embedded store that were cut or removed behind its back: an error at once, and a word in the log."""
import json

import botocore.exceptions
import pytest

from conftest import wait_for_files, wait_until
from test_s3 import MIB, code_of, plain, s3  # noqa: F401  (fixtures)

B = {"Bucket": "bucket"}
BROKEN = ("InternalError", 500)


def file_of(plain, key):
    wait_for_files(plain.directory / "store")
    found = [p for p in (plain.directory / "store" / "data" / "bucket").rglob(f"*.{key}")]
    assert len(found) == 1
    return found[0]


def log(plain):
    return plain.process.log.read_text().splitlines()


def failed(plain):
    return sum(line.startswith("{") and json.loads(line)["status"] == 500 for line in log(plain))


@pytest.mark.parametrize("size", [10, 100_000, 9 * MIB], ids=["small", "file", "large"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_object_is_an_error_at_once(plain, s3, size, how):
    s3.put_object(**B, Key="whole", Body=b"x" * size)
    s3.put_object(**B, Key="bad", Body=b"x" * size)
    path = file_of(plain, "bad")
    if how == "cut":
        with open(path, "r+b") as file:
            file.truncate(size // 2)
    else:
        path.unlink()
    for call, more in ((s3.get_object, {"Key": "bad"}), (s3.get_object, {"Key": "bad", "Range": "bytes=0-3"}),
                       (s3.copy_object, {"Key": "copy", "CopySource": "bucket/bad"})):
        assert code_of(call, **B, **more) == BROKEN
    # one try of the store each: it is told as often as it was asked for, with the file and why
    wait_until(lambda: failed(plain) >= 6, what="the log")  # boto3 tries twice
    words = [line for line in log(plain) if "is damaged" in line]
    assert len(words) == failed(plain) == 6
    assert all(path.name in line and "key=bad" in line for line in words)
    assert all(("shorter" in line) == (how == "cut") for line in words)
    assert s3.head_object(**B, Key="bad")["ContentLength"] == size
    assert code_of(s3.head_object, **B, Key="copy") == ("404", 404)
    assert s3.get_object(**B, Key="whole")["Body"].read() == b"x" * size
    s3.put_object(**B, Key="bad", Body=b"again")
    assert s3.get_object(**B, Key="bad")["Body"].read() == b"again"
    s3.delete_object(**B, Key="bad")

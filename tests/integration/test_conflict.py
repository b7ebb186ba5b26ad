# SPDX-License-Identifier: Apache-2.0
"""Somebody else replaces or removes an object while a program has its file open and dirty."""
import errno
import os
import pathlib

import boto3
import pytest

SMALL, LARGE = 3000, 10 << 20  # one PUT; several parts


@pytest.fixture(scope="module")
def mount(stack):
    volume = stack.create_volume("conflicts", 1 << 30)
    target = pathlib.Path(stack.publish(volume))
    s3 = boto3.client("s3", endpoint_url=stack.s3_url, region_name="us-east-1",
                      aws_access_key_id=stack.access_key, aws_secret_access_key=stack.secret_key)
    yield target, s3, s3.list_buckets()["Buckets"][0]["Name"]
    stack.unpublish(volume)
    stack.delete_volume(volume)


def objects(s3, bucket, prefix):
    return {o["Key"]: s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read()
            for o in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])}


@pytest.mark.parametrize("theirs", [b"theirs", None], ids=["replaced", "removed"])
@pytest.mark.parametrize("size, offset, mode", [
    (SMALL, 0, "r+b"), (SMALL, 100, "r+b"), (SMALL, 0, "wb"), (LARGE, LARGE, "r+b"),
    (LARGE, 100, "r+b")],
    ids=["begin", "middle", "all anew", "end of large", "begin of large"])
def test_what_was_written_here_is_kept_beside(mount, request, size, offset, mode, theirs):
    target, s3, bucket = mount
    name = f"f{abs(hash(request.node.name))}"
    (target / name).write_bytes(b"b" * size)
    with open(target / name, mode, buffering=0) as file:
        if theirs is None:
            s3.delete_object(Bucket=bucket, Key=name)
        else:
            s3.put_object(Bucket=bucket, Key=name, Body=theirs)
        os.pwrite(file.fileno(), b"OURS", offset)
        with pytest.raises(OSError) as caught:
            os.fsync(file.fileno())
        assert caught.value.errno == errno.ESTALE
    found = objects(s3, bucket, name)
    assert found.pop(name, None) == theirs
    (copy, kept), = found.items()
    assert copy.startswith(f"{name}.conflict-")
    assert kept[offset:offset + 4] == b"OURS"
    if mode == "r+b":  # what lay between is gone with the object, unless it is cached: the name says so
        assert len(kept) == max(size, offset + 4)
        between = set(kept[:offset] + kept[offset + 4:])
        assert between <= {0, ord("b")}
        assert copy.startswith(f"{name}.conflict-partial-") == (0 in between)
    # The name is theirs now, and can be used as if nothing had been.
    if theirs is None:
        assert not (target / name).exists()
    else:
        assert (target / name).read_bytes() == theirs
    (target / name).write_bytes(b"new")
    assert s3.get_object(Bucket=bucket, Key=name)["Body"].read() == b"new"


def test_the_copy_of_a_very_long_name_has_a_key_that_fits(mount):
    target, s3, bucket = mount
    directory = target / "/".join(["d" * 200] * 4)
    directory.mkdir(parents=True)
    name = "\u00e4" * 110
    (directory / name).write_bytes(b"b" * SMALL)
    key = str((directory / name).relative_to(target))
    assert len(key.encode()) == 1024
    with open(directory / name, "r+b", buffering=0) as file:
        s3.put_object(Bucket=bucket, Key=key, Body=b"theirs")
        file.write(b"OURS")
        with pytest.raises(OSError):
            os.fsync(file.fileno())
    copies = [k for k in objects(s3, bucket, key[:850]) if ".conflict-" in k]
    assert len(copies) == 1 and len(copies[0].encode()) <= 1024

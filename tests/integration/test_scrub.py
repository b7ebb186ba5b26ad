# SPDX-License-Identifier: Apache-2.0
"""skyvolctl scrub finds what a disk changed behind skyvol-s3's back."""
import json
import os
import subprocess

import pytest

from conftest import program, wait_for_files
from test_s3 import MIB, Endpoint


@pytest.fixture
def served(processes, workdir):
    return Endpoint(processes, workdir)


def scrub(location, *arguments):
    done = subprocess.run([program("skyvolctl"), "scrub", location, "--json", *arguments],
                          capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def upload(s3, key, bodies, kind):
    upload_id = s3.create_multipart_upload(Bucket="bucket", Key=key, ChecksumAlgorithm=kind)["UploadId"]
    name, parts = f"Checksum{kind}", []
    for number, body in enumerate(bodies, 1):
        done = s3.upload_part(Bucket="bucket", Key=key, UploadId=upload_id, PartNumber=number, Body=body,
                              ChecksumAlgorithm=kind)
        parts.append({"PartNumber": number, "ETag": done["ETag"], name: done[name]})
    s3.complete_multipart_upload(Bucket="bucket", Key=key, UploadId=upload_id,
                                 MultipartUpload={"Parts": parts})


def flip(path, offset):
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_each_kind_of_damage_is_found_and_nothing_else(served, workdir):
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")
    s3.create_bucket(Bucket="other")
    for kind in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        s3.put_object(Bucket="bucket", Key=f"d/{kind}", Body=os.urandom(5 * MIB), ChecksumAlgorithm=kind)
    s3.put_object(Bucket="bucket", Key="empty", Body=b"")
    s3.put_object(Bucket="other", Key="good", Body=b"good")
    s3.put_object(Bucket="bucket", Key="gone", Body=b"gone")
    s3.put_object(Bucket="bucket", Key="short", Body=b"short")
    upload(s3, "parts", [os.urandom(6 * MIB), b"tail"], "SHA256")
    upload(s3, "whole", [os.urandom(6 * MIB), b"tail"], "CRC64NVME")
    location = f"dir://{workdir}/store"
    code, found = scrub(location)
    assert (code, found["objects"], found["damaged"], found["unchecked"]) == (0, 11, [], 0)
    assert found["bytes"] == 5 * 5 * MIB + 2 * (6 * MIB + 4) + 13

    wait_for_files(workdir / "store")
    files = {p.name.split(".", 1)[1]: p for p in (workdir / "store" / "data").rglob("*") if p.is_file()}
    wanted = set()
    for name, path in files.items():
        if name.startswith("d%2F"):
            flip(path, 5 * MIB - 1)
            wanted.add(name.replace("%2F", "/"))
    flip(files["parts"], 6 * MIB + 1)
    flip(files["whole"], 0)
    files["gone"].unlink()
    os.truncate(files["short"], 2)
    code, found = scrub(location)
    assert code == 3 and found["objects"] == 11
    assert {(d["bucket"], d["key"]) for d in found["damaged"]} == {
        ("bucket", key) for key in wanted | {"parts", "whole", "gone", "short"}}
    assert len(wanted) == 5
    assert scrub(location, "--bucket", "other")[0] == 0
    assert scrub(location, "--bucket", "bucket", "--prefix", "empty")[0] == 0


def test_what_is_no_store_stays_none(workdir):
    (workdir / "files").mkdir()
    code, text = scrub(str(workdir))
    assert code == 1 and "dir:///ROOT, the root of its buckets" in text
    code, text = scrub(f"dir://{workdir}/files")
    assert code == 1 and "there is no store" in text
    assert not list((workdir / "files").iterdir())


def test_another_store_is_read_by_s3_with_its_etags(served, workdir):
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="a", Body=b"a" * 5000)
    keys = workdir / "keys.json"
    keys.write_text(json.dumps({"accessKey": "test", "secretKey": "test-secret"}))
    keys.chmod(0o600)
    to = ["--endpoint", served.url, "--credentials-file", keys]
    code, found = scrub("s3://", *to)
    assert (code, found["objects"], found["damaged"], found["unchecked"]) == (0, 1, [], 0)
    wait_for_files(workdir / "store")
    [path] = [p for p in (workdir / "store" / "data").rglob("*") if p.is_file()]
    flip(path, 4999)
    code, found = scrub("s3://", *to)
    assert code == 3 and [d["key"] for d in found["damaged"]] == ["a"]


def test_older_versions_are_read_too(served, workdir):
    s3 = served.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="bucket", Key="k", Body=b"first")["VersionId"]
    s3.put_object(Bucket="bucket", Key="k", Body=b"second")
    s3.delete_object(Bucket="bucket", Key="k")
    code, found = scrub(f"dir://{workdir}/store")
    assert (code, found["objects"], found["damaged"]) == (0, 2, [])
    wait_for_files(workdir / "store")
    flip(next(p for p in (workdir / "store" / "data").rglob("*.k") if p.read_bytes() == b"first"), 1)
    code, found = scrub(f"dir://{workdir}/store")
    assert code != 0 and len(found["damaged"]) == 1
    assert first in json.dumps(found["damaged"])

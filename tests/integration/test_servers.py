# SPDX-License-Identifier: Apache-2.0
"""The servers that other tests compare with are what they say they are."""


def test_minio_answers_what_was_put(minio):
    client = minio.client()
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="k", Body=b"one")
    assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"one"


def test_versitygw_answers_what_was_put(versitygw):
    client = versitygw.client()
    client.create_bucket(Bucket="bucket")
    client.put_object(Bucket="bucket", Key="k", Body=b"one")
    assert client.get_object(Bucket="bucket", Key="k")["Body"].read() == b"one"

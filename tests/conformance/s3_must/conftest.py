# SPDX-License-Identifier: Apache-2.0
import pytest

import common


def pytest_collection_modifyitems(items):
    assert common.URL, "run this by tests/conformance/run_s3_must, which starts the server"


@pytest.fixture
def s3():
    return common.client()


@pytest.fixture
def alt():
    return common.client("alt")


@pytest.fixture
def bucket():
    return common.new_bucket()

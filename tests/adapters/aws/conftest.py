"""The emulators run once for all tests of the adapter; each test has its own table and queues."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from settled_aws import Addresses, AwsUrl, DynamoDBStore
from settled_runtime import CompositeBackend
from tests.adapters.aws.fixtures import Cloud, aws_url, backend, cloud_at, create, create_table
from tests.adapters.aws.harness import AwsHarness
from tests.emulators.dynamodb import dynamodb_local
from tests.emulators.ministack import ministack, ministack_and_its_clock
from tests.emulators.running import NotHere
from tests.support.builders import fresh_name


@contextmanager
def _or_skip() -> Generator[None]:
    try:
        yield
    except NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def dynamodb_endpoint() -> Iterator[str]:
    with _or_skip(), dynamodb_local() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def cloud(dynamodb_endpoint: str) -> Iterator[Cloud]:
    with _or_skip(), ministack() as endpoint:
        cloud = cloud_at(endpoint, dynamodb_endpoint)
        yield cloud
        cloud.close()


@pytest.fixture(scope="session")
def harness(dynamodb_endpoint: str) -> Iterator[AwsHarness]:
    """A harness whose clock the test moves."""
    with _or_skip(), ministack_and_its_clock() as (endpoint, clock):
        cloud = cloud_at(endpoint, dynamodb_endpoint)
        yield AwsHarness(cloud, clock)
        cloud.close()


@pytest.fixture
def url() -> AwsUrl:
    return aws_url(fresh_name())


@pytest.fixture
def addresses(cloud: Cloud, url: AwsUrl) -> Addresses:
    return create(cloud, url)


@pytest.fixture
def aws(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> CompositeBackend:
    return backend(cloud, url, addresses)


@pytest.fixture
def table(cloud: Cloud) -> str:
    name = fresh_name()
    create_table(cloud.dynamodb, name)
    return name


@pytest.fixture
def store(cloud: Cloud, table: str) -> DynamoDBStore:
    return DynamoDBStore(cloud.dynamodb, table)

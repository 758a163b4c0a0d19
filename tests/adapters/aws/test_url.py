"""Parsing of ``aws://`` URLs, and opening a backend by one."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

import pytest

from settled import BackendConfigError
from settled_aws import Addresses, AwsUrl, find_addresses
from settled_aws.url import parse_url
from settled_runtime import connect
from tests.adapters.aws.fixtures import LEASE, REGION, Cloud, aws_url
from tests.emulators.ministack import ACCOUNT
from tests.support.builders import ADA, fresh_name, ids, message, stored


def test_names_default_to_the_name_in_the_url() -> None:
    assert parse_url("aws://eu-central-1/signup") == aws_url("signup", lease=timedelta(seconds=30))


def test_each_resource_may_have_its_own_name() -> None:
    options = {
        "table": "t",
        "queue": "q.fifo",
        "delays": "d",
        "schedules": "s",
        "schedules_dead": "sd",
        "role": "arn:aws:iam::123456789012:role/r",
        "account": "123456789012",
        "lease": "60",
        "keep_finished": "2592000",
        "largest_message": "131072",
        "queues": "order:o.fifo,a:b:c.fifo",
    }
    assert parse_url(f"aws://eu-central-1/signup?{urlencode(options)}") == AwsUrl(
        "eu-central-1",
        "t",
        "q.fifo",
        "d",
        "s",
        "sd",
        "arn:aws:iam::123456789012:role/r",
        "123456789012",
        timedelta(seconds=60),
        timedelta(days=30),
        131_072,
        {"order": "o.fifo", "a:b": "c.fifo"},
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("aws://", "expected aws://REGION/NAME"),
        ("aws://eu-central-1", "expected aws://REGION/NAME"),
        ("aws:///signup", "expected aws://REGION/NAME"),
        ("aws://eu-central-1/a/b", "expected aws://REGION/NAME"),
        ("aws://eu-central-1/a?leese=5", "no option 'leese'; known are account, delays"),
        ("aws://eu-central-1/a?lease=0.5", "lease=0.5: expected a whole number"),
        ("aws://eu-central-1/a?lease=50000", "expected whole seconds, from 1 to 43200"),
        ("aws://eu-central-1/a?account=12", "expected the 12 digits"),
        ("aws://eu-central-1/a?queue=", "expected a name"),
        ("aws://eu-central-1/a?keep_finished=-1", "expected a number of seconds above 0"),
        ("aws://eu-central-1/a?largest_message=10", "expected a number of bytes"),
        ("aws://eu-central-1/a?largest_message=491521", "from 1024 to 491520: more may not fit into SQS"),
        ("aws://eu-central-1/a?queues=order", "expected MACHINE:QUEUE"),
        ("aws://eu-central-1/a?queues=order:a.fifo,order:b.fifo", "each machine once"),
    ],
)
def test_an_invalid_url_is_a_configuration_error(url: str, says: str) -> None:
    with pytest.raises(BackendConfigError, match=says):
        parse_url(url)


def test_the_addresses_of_the_resources() -> None:
    addresses = find_addresses(aws_url("signup"), "https://sqs.cn-north-1.amazonaws.com.cn/123456789012", "aws-cn")
    assert addresses == Addresses(
        queue="https://sqs.cn-north-1.amazonaws.com.cn/123456789012/signup.fifo",
        delays="https://sqs.cn-north-1.amazonaws.com.cn/123456789012/signup-delays",
        schedules_dead="https://sqs.cn-north-1.amazonaws.com.cn/123456789012/signup-schedules-dead",
        schedules_dead_arn=f"arn:aws-cn:sqs:{REGION}:123456789012:signup-schedules-dead",
        queue_arn=f"arn:aws-cn:sqs:{REGION}:123456789012:signup.fifo",
        role_arn="arn:aws-cn:iam::123456789012:role/signup-scheduler",
    )


@pytest.mark.parametrize("options", ["", f"&account={ACCOUNT}"])
def test_a_backend_opens_by_its_url(
    cloud: Cloud, url: AwsUrl, addresses: Addresses, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert addresses.queue.endswith(url.queue)
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    backend = connect(f"aws://{REGION}/{url.table}?lease={LEASE}{options}")
    backend.store.commit(ADA, stored(1), 0)
    backend.queue.send([message(ADA, "1")])
    assert ids(backend.queue.receive(1)) == ["1"]
    backend.timers.cancel("never scheduled")
    backend.close()
    backend.close()


def test_a_missing_queue_is_a_configuration_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BackendConfigError, match="looking for the queue nowhere"):
        connect(f"aws://{REGION}/nowhere{fresh_name()}")

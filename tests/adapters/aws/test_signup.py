"""The sign-up example end to end: HTTP, SQS, the Lambda runtime, DynamoDB and a schedule, up to the click."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from settled.durable.ports import DELETED
from settled_aws import Addresses, AwsUrl, DynamoDBStore
from settled_aws.client_protocols import DynamoDBClient, SchedulerClient, SqsClient
from settled_aws.iam_permissions import worker_permissions
from settled_aws.store import MAX_TRANSACTION_ITEMS
from tests.adapters.aws.fixtures import REGION, Cloud
from tests.emulators.lambda_runtime import ROOT, Environment
from tests.emulators.lambda_source import EventSource
from tests.examples.processes import mail_server
from tests.support.builders import ADA, dead_letter, stored, until

HERE = ROOT / "examples" / "aws-signup"


def test_from_the_form_to_the_click(cloud: Cloud, url: AwsUrl, addresses: Addresses) -> None:
    with mail_server() as mail:
        variables = {
            **cloud.environment,
            "SETTLED_URL": f"aws://{REGION}/{url.table}?lease={url.lease.seconds}",
            "SIGNUP_SMTP": mail.address,
            "PYTHONPATH": f"{HERE}:{ROOT}",
        }
        http = Environment("functions.http", variables, timeout=30.0)
        with EventSource(
            cloud.sqs, addresses.queue, lambda: Environment("functions.work", variables, timeout=30.0), pollers=1
        ):
            try:
                assert asked(http, "PUT", "")["value"] == "form"
                waiting = asked(http, "POST", '{"type":"SUBMIT","email":"ada@example.org"}')
                assert waiting["value"] == {"waitingForCode": "codeSent"}
                until(lambda: scheduled(cloud, url) == 1)  # it follows the commit
                (code,) = re.findall(r"\d{6}", str(mail.mails[0]["Subject"]))
                wrong = asked(http, "POST", '{"type":"VERIFY","code":"no"}', status=409)
                assert wrong["value"] == {"waitingForCode": "wrongCode"}
                active = asked(http, "POST", json.dumps({"type": "VERIFY", "code": code}))
                assert (active["value"], active["status"]) == ("active", "done")
                until(lambda: scheduled(cloud, url) == 0)
            finally:
                http.close()
    assert len(mail.mails) == 1


def scheduled(cloud: Cloud, url: AwsUrl) -> int:
    return len(cloud.scheduler.list_schedules(GroupName=url.schedules)["Schedules"])


def asked(http: Environment, method: str, body: str, status: int = 200) -> Any:
    ended = http.invoke(
        {
            "rawPath": "/signup/ada",
            "requestContext": {"http": {"method": method}},
            "queryStringParameters": {"wait": "20"},
            "body": body,
        }
    )
    assert ended.error is None, ended
    assert ended.payload["statusCode"] == status, ended.payload
    return json.loads(ended.payload["body"])


class TestTheTemplate:
    def test_cfn_lint_accepts_it(self) -> None:
        assert lint(HERE / "template.yaml") == ""

    def test_cfn_lint_finds_a_broken_one(self, tmp_path: Path) -> None:
        broken = tmp_path / "template.yaml"
        text = (HERE / "template.yaml").read_text(encoding="utf-8")
        for right, wrong in (("FifoQueue: true", "FifoQeue: true"), ("Timeout: 60", "Timeot: 60")):
            broken.write_text(text.replace(right, wrong))
            assert wrong.partition(":")[0] in lint(broken)


def lint(template: Path) -> str:
    lint = Path(sys.executable).with_name("cfn-lint")
    return subprocess.run([lint, template], capture_output=True, text=True, check=False).stdout


class TestTheModule:
    """The Terraform module, by Terraform itself where there is one."""

    def test_terraform_can_read_it(self) -> None:
        ended = terraform(HERE / "terraform", "fmt", "-check", "-diff")
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr

    if any((Path.home() / ".terraform.d" / "plugins").glob("*/hashicorp/aws")):
        # Terraform validates only with the AWS provider, which no package registry has.
        def test_terraform_finds_it_valid(self, tmp_path: Path) -> None:
            module = shutil.copytree(HERE / "terraform", tmp_path / "terraform")
            prepared = terraform(module, "init", "-backend=false", "-no-color")
            assert prepared.returncode == 0, prepared.stderr
            ended = terraform(module, "validate", "-no-color")
            assert ended.returncode == 0, ended.stderr


def terraform(module: Path, *words: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("terraform") is None:
        pytest.skip("there is no terraform on this machine")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = ["terraform", f"-chdir={module}", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_doctor_checks_what_the_requests_need(
    cloud: Cloud, store: DynamoDBStore, url: AwsUrl, addresses: Addresses
) -> None:
    """IAM allows a transaction if it allows the operation of each of its items."""
    needed = set[str]()
    for service, client in (("dynamodb", DynamoDBClient), ("sqs", SqsClient), ("scheduler", SchedulerClient)):
        calls = [name.removesuffix("_batch") for name in vars(client) if not name.startswith("_")]
        needed |= {f"{service}:{name.title().replace('_', '')}" for name in calls}
    needed -= {"dynamodb:TransactWriteItems", "dynamodb:Scan"}  # whoever lists needs the last one: no worker does
    with transactions(cloud.dynamodb) as items:
        letters = [dead_letter(ADA, f"{number}") for number in range(MAX_TRANSACTION_ITEMS - 1)]
        store.commit(ADA, stored(1), 0, letters)
        store.commit(ADA, stored(2), 1, letters[:2], 1)
        store.delete(ADA, stored(3, status=DELETED), 2)
    needed |= {f"dynamodb:{operation.removesuffix('Item')}Item" for item in items for operation in item}
    checked = {action for actions in worker_permissions(url, addresses).values() for action in actions}
    assert checked == needed | {"iam:PassRole"}


@contextmanager
def transactions(dynamodb: Any) -> Generator[list[Any]]:
    """Collect the items of all transactions that are written."""
    items, event = list[Any](), "provide-client-params.dynamodb.TransactWriteItems"

    def collect(params: Any, **_: Any) -> None:
        items.extend(params["TransactItems"])

    dynamodb.meta.events.register(event, collect)
    try:
        yield items
    finally:
        dynamodb.meta.events.unregister(event, collect)


@pytest.mark.parametrize("file", ["template.yaml", "terraform/main.tf"])
def test_the_policies_allow_what_the_doctor_checks(file: str, url: AwsUrl, addresses: Addresses) -> None:
    allowed = set(re.findall(r"\b(?:dynamodb|sqs|scheduler|iam):[A-Z]\w+", (HERE / file).read_text(encoding="utf-8")))
    checked = {action for actions in worker_permissions(url, addresses).values() for action in actions}
    assert checked <= allowed
    assert allowed - checked == {"iam:PassedToService"}  # a condition

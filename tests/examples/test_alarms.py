"""The alarms in the templates of the examples: each tells somebody, and none is missing.

Where messages end that nobody will take, how long the oldest one waits, and a function that fails: each has an alarm.
The alarm on settled's own dead letters looks for the line that settled logs.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import pytest
from attrs import frozen

from settled import Key
from settled.durable import DeadLetter, Message
from settled_runtime import DeadLettered, log
from tests.examples.processes import ROOT

PATTERNS = {
    "aws-signup/template.yaml": r"FilterPattern: '\"(.+)\"'",
    "aws-signup/terraform/main.tf": r'pattern +=\s"\\"(.+)\\""',
    "gcp-signup/terraform/main.tf": r'filter +=.+service_name.+ \\"([^\\]+)\\""\n +metric_descriptor',
}
"""Where each template says which text it looks for."""

yaml: Any = import_module("yaml")
hcl2: Any = import_module("hcl2")


@pytest.mark.parametrize(("template", "pattern"), PATTERNS.items(), ids=PATTERNS.keys())
def test_the_filter_is_in_the_log_line(template: str, pattern: str, caplog: pytest.LogCaptureFixture) -> None:
    (text,) = re.findall(pattern, read(template))
    key = Key("signup", "ada")
    with caplog.at_level(logging.ERROR, "settled"):
        log(DeadLettered(key, DeadLetter(Message(key, "m1", "{}"), "the reason", 0.0)))
    assert text in caplog.text


@frozen
class Alarm:
    """What an alarm watches: a metric, and the resource that has it, as the template refers to it."""

    metric: str
    resource: str


@frozen
class Template:
    """What a template has alarms for.

    Attributes:
        alarms: its alarms.
        silent: the names of alarms that tell nobody, when they begin or when they end.
        wanted: the alarms that it should have.
    """

    alarms: frozenset[Alarm]
    silent: frozenset[str]
    wanted: frozenset[Alarm]


class TestEachTemplate:
    @pytest.fixture(params=PATTERNS)
    def template(self, request: pytest.FixtureRequest) -> Template:
        return parse(request.param, read(request.param))

    def test_has_alarms_that_tell_somebody(self, template: Template) -> None:
        assert template.silent == set()

    def test_has_an_alarm_for_all_that_ends_or_stops_unseen(self, template: Template) -> None:
        assert len(template.wanted) >= 4
        assert template.wanted - template.alarms == set()


NOBODY = {
    "aws-signup/template.yaml": "AssertDescription: Give AlarmEmail or AlarmTopic",
    "aws-signup/terraform/main.tf": "length(local.told) > 0",
    "gcp-signup/terraform/main.tf": "length(local.told) > 0",
}
"""How each template says that it is not deployed with nobody to tell."""


@pytest.mark.parametrize("template", PATTERNS)
def test_a_template_is_not_deployed_with_nobody_to_tell(template: str) -> None:
    assert NOBODY[template] in read(template)


def test_the_commands_make_the_alarms_of_the_module() -> None:
    module = json.loads(json.dumps(hcl2.loads(read("gcp-signup/terraform/main.tf"))).replace('\\"', ""))
    resource = re.compile(r"\$\{google_(\w+)\.(\w+)\.name\}")
    expected = {
        name: (each["threshold"], each["aligner"], resource.sub(_name_by_hand, each["filter"].replace("\\", "")))
        for name, each in terraform_alarms(module).items()
    }
    commands = re.findall(r"\$ alarm (\S+) (\d+) (\w+) \\\n    '(.+)'", read("gcp-signup/README.md"))
    assert {each[0]: (int(each[1]), each[2], each[3].replace('"', "")) for each in commands} == expected


def _name_by_hand(resource: re.Match[str]) -> str:
    name = resource[2]
    # The module calls its main resources of a kind so.
    return "signup" if name in ("messages", "timers") else f"signup-{name.replace('_', '-')}"


@pytest.mark.parametrize(
    ("template", "cut", "silent", "missing"),
    [
        ("aws-signup/template.yaml", "      OKActions: [!If [MakeTopic, !Ref Alarms, !Ref AlarmTopic]]\n", 11, 0),
        ("aws-signup/template.yaml", "DeadDelays.QueueName", 0, 1),
        ("aws-signup/template.yaml", "DeadSchedules.QueueName", 0, 1),
        ("aws-signup/terraform/main.tf", "aws_sqs_queue.dead_schedules.name", 0, 1),
        ("aws-signup/terraform/main.tf", "  alarm_actions       = local.told\n", 1, 0),
        ("aws-signup/terraform/main.tf", "aws_sqs_queue.dead_delays.name", 0, 1),
        ("gcp-signup/terraform/main.tf", "  notification_channels = local.told\n", 1, 0),
        ("gcp-signup/terraform/main.tf", "google_pubsub_subscription.messages.name", 0, 1),
    ],
)
def test_what_is_cut_out_of_a_template_is_missed(template: str, cut: str, silent: int, missing: int) -> None:
    text = read(template)
    assert cut in text
    found = parse(template, text.replace(cut, "" if cut.endswith("\n") else "nothing"))
    assert (len(found.silent), len(found.wanted - found.alarms)) == (silent, missing)


def read(template: str) -> str:
    return (ROOT / "examples" / template).read_text(encoding="utf-8")


def parse(template: str, text: str) -> Template:
    if template.endswith(".yaml"):
        return from_cloudformation(yaml.load(text, _CloudFormation)["Resources"])
    module = json.loads(json.dumps(hcl2.loads(text)).replace('\\"', ""))
    return from_terraform_on_aws(module) if "aws" in template else from_terraform_on_google(module)


class _CloudFormation(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Reads ``!GetAtt Queue.Arn`` and the like as their arguments."""


def _argument(loader: Any, _tag: str, node: Any) -> Any:
    make = {"scalar": loader.construct_scalar, "sequence": loader.construct_sequence}[node.id]
    return make(node)


_CloudFormation.add_multi_constructor("!", _argument)


def from_cloudformation(resources: Mapping[str, Any]) -> Template:
    def of(kind: str) -> Iterator[tuple[str, Any]]:
        return ((name, each["Properties"]) for name, each in resources.items() if each["Type"] == kind)

    alarms, silent, wanted = set[Alarm](), set[str](), set[Alarm]()
    for name, alarm in of("AWS::CloudWatch::Alarm"):
        (resource,) = [each["Value"] for each in alarm.get("Dimensions", [])] or [""]
        alarms.add(Alarm(alarm["MetricName"], resource.removesuffix(".QueueName")))
        if not alarm.get("AlarmActions") or not alarm.get("OKActions"):
            silent.add(name)
    for name, queue in of("AWS::SQS::Queue"):
        if "RedrivePolicy" in queue:
            dead = queue["RedrivePolicy"]["deadLetterTargetArn"].removesuffix(".Arn")
            wanted |= {Alarm("ApproximateAgeOfOldestMessage", name), Alarm("ApproximateNumberOfMessagesVisible", dead)}
        else:
            wanted.add(Alarm("ApproximateNumberOfMessagesVisible", name))  # it is a dead-letter queue
    for name, _ in of("AWS::Serverless::Function"):
        wanted |= {Alarm("Errors", name), Alarm("Throttles", name)}
    wanted |= {Alarm("InvocationDroppedCount", name) for name, _ in of("AWS::Scheduler::ScheduleGroup")}
    for _, found in of("AWS::Logs::MetricFilter"):
        wanted |= {Alarm(each["MetricName"], "") for each in found["MetricTransformations"]}
    return Template(frozenset(alarms), frozenset(silent), frozenset(wanted))


def terraform(module: Any, kind: str) -> Iterator[tuple[str, Any]]:
    return ((name, each) for block in module["resource"] for name, each in block.get(kind, {}).items())


def terraform_alarms(module: Any) -> Mapping[str, Any]:
    (found,) = [each["alarms"] for each in module["locals"] if "alarms" in each]
    return dict(found)


def from_terraform_on_aws(module: Any) -> Template:
    alarms, wanted = set[Alarm](), set[Alarm]()
    for alarm in terraform_alarms(module).values():
        (resource,) = list(alarm["dimensions"].values()) or [""]
        alarms.add(Alarm(alarm["metric"], resource))
    (shared,) = [each for _, each in terraform(module, "aws_cloudwatch_metric_alarm")]
    silent = frozenset[str]() if shared.get("alarm_actions") and shared.get("ok_actions") else frozenset(["all"])
    for name, queue in terraform(module, "aws_sqs_queue"):
        if "redrive_policy" in queue:
            (dead,) = re.findall(r"aws_sqs_queue\.(\w+)\.arn", str(queue["redrive_policy"]))
            wanted |= {
                Alarm("ApproximateAgeOfOldestMessage", f"${{aws_sqs_queue.{name}.name}}"),
                Alarm("ApproximateNumberOfMessagesVisible", f"${{aws_sqs_queue.{dead}.name}}"),
            }
        else:
            wanted.add(Alarm("ApproximateNumberOfMessagesVisible", f"${{aws_sqs_queue.{name}.name}}"))
    for name, _ in terraform(module, "aws_lambda_function"):
        function = f"${{aws_lambda_function.{name}.function_name}}"
        wanted |= {Alarm("Errors", function), Alarm("Throttles", function)}
    for name, _ in terraform(module, "aws_scheduler_schedule_group"):
        wanted.add(Alarm("InvocationDroppedCount", f"${{aws_scheduler_schedule_group.{name}.name}}"))
    for _, found in terraform(module, "aws_cloudwatch_log_metric_filter"):
        wanted.add(Alarm(found["metric_transformation"][0]["name"], ""))
    return Template(frozenset(alarms), silent, frozenset(wanted))


def from_terraform_on_google(module: Any) -> Template:
    alarms, wanted = set[Alarm](), set[Alarm]()
    for alarm in terraform_alarms(module).values():
        (metric,) = re.findall(r"metric\.type=\\*([\w./$\{\}-]+)", alarm["filter"])
        (resource,) = re.findall(r"resource\.labels\.\w+=\\*(\$\{[\w.]+\})", alarm["filter"]) or [""]
        alarms.add(Alarm(metric.rpartition("googleapis.com/")[2], resource))
    (shared,) = [each for _, each in terraform(module, "google_monitoring_alert_policy")]
    silent = frozenset[str]() if shared.get("notification_channels") else frozenset(["all"])
    for name, _ in terraform(module, "google_pubsub_subscription"):
        wanted.add(Alarm("subscription/oldest_unacked_message_age", f"${{google_pubsub_subscription.{name}.name}}"))
    for name, _ in terraform(module, "google_cloud_run_v2_service"):
        wanted.add(Alarm("request_count", f"${{google_cloud_run_v2_service.{name}.name}}"))
    for name, _ in terraform(module, "google_cloud_tasks_queue"):
        wanted.add(Alarm("queue/task_attempt_count", f"${{google_cloud_tasks_queue.{name}.name}}"))
    for name, _ in terraform(module, "google_logging_metric"):
        wanted.add(Alarm(f"user/${{google_logging_metric.{name}.name}}", ""))
    return Template(frozenset(alarms), silent, frozenset(wanted))

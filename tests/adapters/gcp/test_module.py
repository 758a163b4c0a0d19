"""The Terraform module of the example: it is valid HCL, and sets up what the doctor checks."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

import pytest

from settled_gcp.documents import EXEMPT_DEAD_LETTER_FIELDS, EXEMPT_RECORD_FIELDS, EXPIRES
from tests.examples.processes import ROOT

HERE = ROOT / "examples" / "gcp-signup"
TEXT = (HERE / "terraform" / "main.tf").read_text(encoding="utf-8")
hcl2: Any = import_module("hcl2")


def read(text: str) -> Any:
    """Parse HCL, without the quotation marks that hcl2 leaves around names and strings."""
    return json.loads(json.dumps(hcl2.loads(text)).replace('\\"', ""))


MODULE = read(TEXT)


def resource(kind: str, name: str) -> Any:
    (found,) = [each[kind][name] for each in MODULE["resource"] if name in each.get(kind, {})]
    return found


def test_invalid_hcl_is_not_parsed() -> None:
    with pytest.raises(Exception, match="Unexpected"):
        read(TEXT.replace("push_config {", "push_config {{", 1))


def test_the_subscription_has_the_settings_that_the_doctor_checks() -> None:
    found = resource("google_pubsub_subscription", "messages")
    (policy,), (push,) = found["retry_policy"], found["push_config"]
    assert found["enable_message_ordering"] is True
    assert found["ack_deadline_seconds"] == "${var.lease}"
    assert found["expiration_policy"][0]["ttl"] == ""
    assert "dead_letter_policy" not in found
    assert policy["maximum_backoff"] == "600s"
    assert push["oidc_token"][0]["audience"] == "${local.audience}"
    assert 'retention = "2678400s"' in TEXT


def test_fields_that_no_query_needs_are_not_indexed() -> None:
    exempt = [set(re.findall(r'"(\w+)"', fields)) for fields in re.findall(r"^    \S+ +=\s*\[(\".*\")\]$", TEXT, re.M)]
    assert exempt == [set(EXEMPT_RECORD_FIELDS) - {EXPIRES}, set(EXEMPT_DEAD_LETTER_FIELDS)]
    commands = (HERE / "README.md").read_text(encoding="utf-8")
    assert [{*fields.split()} for fields in re.findall(r"for FIELD in ([a-z ]+); do", commands)] == exempt
    expires = resource("google_firestore_field", "expires")
    assert (expires["field"], "ttl_config" in expires, "index_config" in expires) == (EXPIRES, True, True)


def test_tasks_are_retried_for_ever() -> None:
    assert resource("google_cloud_tasks_queue", "timers")["retry_config"][0]["max_attempts"] == -1


def test_no_role_is_granted_that_is_not_documented() -> None:
    granted = set(re.findall(r"roles/[\w.]+", TEXT))
    assert granted == {
        "roles/pubsub.publisher",
        "roles/datastore.user",
        "roles/datastore.viewer",
        "roles/cloudtasks.enqueuer",
        "roles/cloudtasks.taskDeleter",
        "roles/iam.serviceAccountUser",
        "roles/iam.serviceAccountTokenCreator",
        "roles/run.invoker",
    }
    readme = (HERE / "README.md").read_text(encoding="utf-8").replace("cloudtasks.$ROLE", "cloudtasks.enqueuer")
    assert set(re.findall(r"roles/[\w.]+", readme)) | {"roles/cloudtasks.taskDeleter"} == granted

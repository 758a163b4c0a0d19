"""The alarms on dead letters, in the templates of the examples, match the line that settled logs."""

from __future__ import annotations

import logging
import re

import pytest

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


@pytest.mark.parametrize(("template", "pattern"), PATTERNS.items(), ids=PATTERNS.keys())
def test_the_filter_is_in_the_log_line(template: str, pattern: str, caplog: pytest.LogCaptureFixture) -> None:
    (text,) = re.findall(pattern, (ROOT / "examples" / template).read_text(encoding="utf-8"))
    key = Key("signup", "ada")
    with caplog.at_level(logging.ERROR, "settled"):
        log(DeadLettered(key, DeadLetter(Message(key, "m1", "{}"), "the reason", 0.0)))
    assert text in caplog.text

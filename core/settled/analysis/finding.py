"""Findings: the mistakes that static analysis can see in a machine.

An error means that the machine would stop at that point. A warning means that it works but certainly not as intended,
or that it would stop if a name whose implementation is not known does what it seems to. Advice is about something that
works as written and may well be intended.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

from settled.printable import printable

Severity: TypeAlias = Literal["error", "warning", "advice"]
Code: TypeAlias = Literal[
    "actor-id-taken",
    "error-not-taken",
    "event-not-taken",
    "hangs",
    "invokes-while-settled",
    "loops",
    "never-done",
    "result-leads-nowhere",
    "shadowed",
    "system-id-taken",
    "unreachable",
]


@frozen
class Finding:
    """One mistake in a machine: `path` says where in the config, such as ``states.form``.

    `code` is the kind of mistake, and the heading in ``docs/findings.md`` that explains it.
    """

    code: Code
    severity: Severity
    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        text = f"{self.path or '(root)'}: {self.severity}: {self.problem} ({self.code})"
        return f"{printable(text)}\n  {printable(self.remedy)}"

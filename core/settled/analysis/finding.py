"""A finding: what can be seen to be wrong with a machine before anything runs.

An error is a machine that would stop at that place. A warning is one that works, but surely not as it was meant, or
one that would stop if logic that is not at hand means what it seems to mean. Advice is about one that works as it is
written, and may well be meant so.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

Severity: TypeAlias = Literal["error", "warning", "advice"]
Code: TypeAlias = Literal[
    "actor-id-taken",
    "error-not-taken",
    "event-not-taken",
    "hangs",
    "invokes-while-settled",
    "loops",
    "never-done",
    "no-snapshots",
    "result-leads-nowhere",
    "shadowed",
    "system-id-taken",
    "unreachable",
]


@frozen
class Finding:
    """One thing wrong with a machine: where (a path such as ``states.form``), what, and the remedy.

    `code` names the kind, and is the heading in ``docs/findings.md`` that explains it.
    """

    code: Code
    severity: Severity
    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path or '(root)'}: {self.severity}: {self.problem} ({self.code})\n  {self.remedy}"

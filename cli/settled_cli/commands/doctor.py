"""``settled doctor``: check that a backend answers and is configured to keep settled's guarantees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from attrs import asdict
from cyclopts import Parameter

from settled import BackendRefusedError, RecordError
from settled_cli.arguments import AsJson
from settled_cli.backend import open_backend
from settled_cli.errors import CommandError, UsageError
from settled_cli.output import print_json, print_line
from settled_runtime.doctor import BackendProblem, backlog_problems, examine


def doctor(
    url: Annotated[str, Parameter(help="The backend, such as redis://localhost:6379/0.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """Check that a backend answers, and that it is configured to keep settled's guarantees. It changes nothing."""
    problems = _find_problems(url)
    if json:
        print_json(None if problems is None else [asdict(problem) for problem in problems])
    elif problems is None:
        print("the backend answers; its adapter has no further checks")
    elif not problems:
        print("no problems found")
    else:
        for problem in problems:
            print_line(str(problem))
    if problems:
        raise CommandError(f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'} found")


def _find_problems(url: str) -> Sequence[BackendProblem] | None:
    """Examine the backend at `url`.

    If its adapter has no doctor, open it and look at its backlog; return None if nothing is wrong with that either.
    """
    try:
        problems = examine(url)
    except (BackendRefusedError, RecordError) as error:
        raise UsageError(str(error)) from error
    if problems is None:
        with open_backend(url, may_be_private=True) as backend:
            return list(backlog_problems(backend)) or None
    return problems

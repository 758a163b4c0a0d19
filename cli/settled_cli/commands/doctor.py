"""``settled doctor``: does a backend answer, and what about it endangers a promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from attrs import asdict
from cyclopts import Parameter

from settled import BackendConfigError, RecordError
from settled_cli.arguments import AsJson
from settled_cli.backend import opened
from settled_cli.errors import CommandError, UsageError
from settled_cli.output import print_json
from settled_runtime.doctor import BackendProblem, examine


def doctor(
    url: Annotated[str, Parameter(help="The backend, such as redis://localhost:6379/0.")],
    /,
    *,
    json: AsJson = False,
) -> None:
    """See whether a backend answers, and whether it is set up to keep what it is given."""
    dangers = _examined(url)
    if json:
        print_json(None if dangers is None else [asdict(danger) for danger in dangers])
    elif dangers is None:
        print("it answers; its adapter knows nothing else to look at")
    elif not dangers:
        print("nothing endangers it")
    else:
        print(*dangers, sep="\n")
    if dangers:
        raise CommandError(
            f"{len(dangers)} {'thing endangers' if len(dangers) == 1 else 'things endanger'} this backend"
        )


def _examined(url: str) -> Sequence[BackendProblem] | None:
    """What endangers the backend at `url`; None if nobody can tell, but it can be opened."""
    try:
        found = examine(url)
    except (BackendConfigError, RecordError) as error:
        raise UsageError(str(error)) from error
    if found is None:
        with opened(url):
            return None
    return found

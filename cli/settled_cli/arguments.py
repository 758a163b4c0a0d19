"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

BackendUrl: TypeAlias = Annotated[
    str | None,
    Parameter(name="--backend", env_var="SETTLED_BACKEND", help="Where instances live, such as sqlite:///FILE."),
]
MachineName: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--machine",
        env_var="SETTLED_MACHINE",
        help="The machine: module:attribute, or a folder whose machine.py has one called machine.",
    ),
]
AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for a script to read.")]
KeyText: TypeAlias = Annotated[str, Parameter(help="The instance: MACHINE/INSTANCE, such as signup/ada.")]
Timeout: TypeAlias = Annotated[float, Parameter(help="For how many seconds to wait.")]

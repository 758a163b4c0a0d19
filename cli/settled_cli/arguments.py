"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Parameter

BackendUrl: TypeAlias = Annotated[
    str | None,
    Parameter(name="--backend", env_var="SETTLED_BACKEND", help="The URL of the backend, such as sqlite:///FILE."),
]
CodecName: TypeAlias = Annotated[
    str | None,
    Parameter(name="--codec", env_var="SETTLED_CODEC", help="The codec of the backend's texts: module:attribute."),
]
MachineName: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--machine",
        env_var="SETTLED_MACHINE",
        help="The machine: module:attribute, or a folder whose machine.py defines `machine`.",
    ),
]
FileName: TypeAlias = Annotated[
    str,
    Parameter(help="XState JSON; or module:attribute or a folder with a machine.py, which include the logic."),
]
AsJson: TypeAlias = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON, for scripts.")]
KeyText: TypeAlias = Annotated[str, Parameter(help="The instance: MACHINE/INSTANCE, such as signup/ada.")]
MessageId: TypeAlias = Annotated[
    str | None,
    Parameter(name="--id", help="Idempotency key: a second message with the same id has no effect."),
]
HeaderTexts: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(name="--header", negative="", help="A header of the message, name=value; may be given several times."),
]
Wait: TypeAlias = Annotated[
    bool, Parameter(negative="", help="Wait until a worker has processed the message, and print its outcome.")
]
Timeout: TypeAlias = Annotated[float, Parameter(help="How long to wait, in seconds.")]

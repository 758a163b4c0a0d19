"""The table of commands, and how their errors become one line and an exit status.

Each command is a function in a module of its own, which is imported only when the command runs, so `settled --version`
loads no database driver. An error prints one line on standard error that says what to do. The exit status is 2 if the
command line or the machine is wrong, 3 if the event that was sent changed nothing, and 1 if the command was understood
but did not succeed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from settled_cli.errors import CommandError, EventIgnoredError, UsageError

COMMANDS = (
    ("run", "settled_cli.commands.run:run", "Run the example in a folder."),
    ("start", "settled_cli.commands.start:start", "Create an instance."),
    ("send", "settled_cli.commands.send:send", "Send an event to an instance."),
    ("send-many", "settled_cli.commands.send_many:send_many", "Send the events in a file."),
    ("get", "settled_cli.commands.get:get", "Show the state of an instance."),
    ("list", "settled_cli.commands.list:list_instances", "List instances."),
    ("worker", "settled_cli.commands.worker:worker", "Process messages until stopped by SIGTERM or Ctrl-C."),
    ("doctor", "settled_cli.commands.doctor:doctor", "Check how a backend is configured."),
    ("dead-letters", "settled_cli.commands.dead_letters:dead_letters", "List dead letters, with the reason of each."),
    ("redrive", "settled_cli.commands.redrive:redrive", "Process the dead letters of an instance again."),
    ("recover", "settled_cli.commands.recover:recover", "Bring back what the queue of a backend has given up."),
    ("wake", "settled_cli.commands.wake:wake", "Send again what instances have waited for in vain."),
    ("backlog", "settled_cli.commands.backlog:backlog", "Count the messages that wait for a worker."),
    ("set-aside", "settled_cli.commands.set_aside:set_aside_messages", "Move waiting messages to a file."),
    ("bring-back", "settled_cli.commands.bring_back:bring_back_messages", "Send messages that were set aside."),
    ("backup", "settled_cli.commands.backup:back_up", "Copy a backend while workers use it."),
    ("restore", "settled_cli.commands.restore:restore_backup", "Make a new backend of a backup."),
    ("new-epoch", "settled_cli.commands.new_epoch:new_epoch", "Tell a backend that it was restored."),
    ("conformance", "settled_conformance.command:conformance", "Test an adapter's guarantees."),
    ("check", "settled_cli.commands.check:check_file", "Find mistakes in a machine before it runs."),
    ("diagram", "settled_cli.commands.diagram:draw", "Draw a machine as Mermaid or Graphviz text."),
)
"""The name, the function and the summary of each command, in the order in which ``--help`` lists them."""

app = App(
    name="settled",
    help="Run XState statecharts durably, and inspect their instances.",
    version=lambda: version("settled"),
    help_format="plaintext",
    # Ctrl-C must reach `run`: cyclopts would exit with a status of its own.
    suppress_keyboard_interrupt=False,
)
for _name, _function, _summary in COMMANDS:
    app.command(_function, name=_name, help=_summary)


_LOGIN = re.compile(r"(\w:/{1,2})[^\s/@]+@")
"""The login in a URL."""


def run(tokens: Sequence[str]) -> int:
    """Run the command in `tokens`, print its errors, and return the exit status."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # an output that was put in its place may lack it
    if reconfigure is not None:
        # What the output cannot encode, half a surrogate pair for example, is written as an escape, as it is in JSON.
        reconfigure(errors="backslashreplace")
    try:
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        # Flush here, so that a closed pipe is noticed within this `try` and not by the interpreter at exit.
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone, for example `head`. What is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except CycloptsError as error:
        return _fail(2, _on_one_line(str(error)))
    except UsageError as error:
        return _fail(2, f"{error}")
    except EventIgnoredError as error:
        return _fail(3, f"{error}")
    except (CommandError, TimeoutError) as error:
        return _fail(1, f"{error}")
    except Exception as error:
        return _fail_by_type(error)
    return 0


def _fail_by_type(error: Exception) -> int:
    """Print `error` and return its exit status; raise it again if it is not settled's own, because that is a bug."""
    from settled import DefinitionError, EventError, SettledError  # noqa: PLC0415 (only needed on failure)

    match error:
        case DefinitionError():
            return _fail(2, "; ".join(_on_one_line(str(problem)) for problem in error.problems))
        case EventError():
            return _fail(2, str(error))
        case SettledError():
            return _fail(1, str(error))
        case _:
            raise error


def _fail(status: int, text: str) -> int:
    from settled.printable import printable  # noqa: PLC0415 (only needed on failure)

    # An error is one line, so that a script or a log can show it whole. A URL may stand where none was expected, and a
    # path has made one slash of its two.
    shown = _LOGIN.sub(r"\1***@", text)
    print(f"settled: {printable(shown)}", file=sys.stderr)
    return status


def _on_one_line(text: str) -> str:
    return " ".join(text.split())

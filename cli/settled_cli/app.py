"""The commands by their names, and what becomes of their errors.

Each command is a function in a module of its own, which is imported when the command is called: `settled --version`
knows nothing of databases. An error is one line on standard error that says what to do; the exit status says who can
do it: 2 whoever typed the command, 1 somebody else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from settled_cli.errors import CommandError, UsageError

app = App(
    name="settled",
    help="Run XState statecharts durably, and look at those that run.",
    version=lambda: version("settled"),
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command("settled_cli.commands.run:run", name="run", help="Play the example in a folder.")
app.command("settled_cli.commands.start:start", name="start", help="Create an instance.")
app.command("settled_cli.commands.send:send", name="send", help="Send an event to an instance.")
app.command("settled_cli.commands.get:get", name="get", help="Show where an instance is.")
app.command("settled_cli.commands.list:list_instances", name="list", help="List instances.")
app.command(
    "settled_cli.commands.worker:worker", name="worker", help="Take messages through machines until told to stop."
)
app.command("settled_cli.commands.doctor:doctor", name="doctor", help="See what endangers a backend.")
app.command(
    "settled_cli.commands.dead_letters:dead_letters", name="dead-letters", help="List what was set aside, and why."
)
app.command(
    "settled_cli.commands.redrive:redrive", name="redrive", help="Let an instance take its dead letters after all."
)
app.command("settled_conformance.command:conformance", name="conformance", help="Test an adapter's guarantees.")
app.command(
    "settled_cli.commands.check:check_file", name="check", help="Find what is wrong with a machine before it runs."
)
app.command(
    "settled_cli.commands.diagram:draw", name="diagram", help="Draw a machine, in Mermaid or Graphviz's language."
)


def run(tokens: Sequence[str]) -> int:
    """Carry out the command in `tokens`. Returns the exit status; errors have been printed."""
    try:
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (CycloptsError, UsageError) as error:
        return _failed(2, f"{error}")
    except (CommandError, TimeoutError) as error:
        return _failed(1, f"{error}")
    except Exception as error:
        return _blamed(error)
    return 0


def _blamed(error: Exception) -> int:
    """An error of settled's own tells who is to blame; any other is a bug, and shows where it was found."""
    from settled import DefinitionError, EventError, SettledError  # noqa: PLC0415 (only when something is wrong)

    match error:
        case DefinitionError():
            return _failed(2, "; ".join(map(str, error.problems)))
        case EventError():
            return _failed(2, str(error))
        case SettledError():
            return _failed(1, str(error))
        case _:
            raise error


def _failed(status: int, text: str) -> int:
    print(f"settled: {' '.join(text.split())}", file=sys.stderr)
    return status

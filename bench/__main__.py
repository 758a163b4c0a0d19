"""``python -m bench`` and a name: ``core`` and ``durable`` measure, ``calls`` counts, and ``storm`` tries to break."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {"core": "bench.core", "durable": "bench.durable", "calls": "bench.calls", "storm": "bench.storm.command"}


def main(arguments: list[str]) -> None:
    name, *rest = arguments or [""]
    if name not in COMMANDS:
        sys.exit(f"usage: python -m bench {'|'.join(COMMANDS)} [--help]")
    import_module(COMMANDS[name]).main(rest)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Run ``python -m settled_cli`` as the `settled` command."""

from settled_cli import main

main()

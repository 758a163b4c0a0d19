"""``python -m settled_cli`` is the `settled` command."""

from settled_cli import main

main()

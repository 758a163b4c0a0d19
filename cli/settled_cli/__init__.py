"""The `settled` command.

The law of this package: it reads files and arguments, and prints. Whatever it can do, a program can do with
`settled` and `settled_runtime`, in as few lines.
"""

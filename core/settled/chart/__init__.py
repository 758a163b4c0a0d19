"""From a config to a program: the nodes, the implementations of all names, and the snapshots of a machine.

Nothing here computes a step; that is `settled.step`, which builds on this package, never the other way.
"""

"""A config, compiled: its nodes, its names with their meaning, and the snapshots of its states.

It knows nothing of steps: what happens next is for `settled.step`.
"""

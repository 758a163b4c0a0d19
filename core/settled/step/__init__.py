"""One step of a machine: from a snapshot and an event to the next snapshot and its effects.

It knows nothing of queues and stores: `settled.durable` builds on it, never the other way.
"""

"""A deterministic simulator: clients, workers and operators over one backend, in virtual time, with injected faults.

The law of this package: it decides nothing about a machine. Workers run settled's own ``turn``, operators its own
``redrive``; only the interleaving, the time and the faults are simulated. All three are read from one choice sequence,
so a run can be replayed from a few numbers. Nothing in a run may depend on real time, on `hash` order or on another
source of randomness.
"""

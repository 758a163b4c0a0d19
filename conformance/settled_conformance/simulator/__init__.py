"""The simulator: workers, clients and operators over one backend, in a time of their own, and all that goes wrong.

Its law: it decides nothing about a machine. The workers drive settled's own ``turn``, the operators its own
``redrive``; what is simulated is only who goes next, what time it is, and what fails. All three are read from one tape,
so a run can be told again from a few numbers.
"""

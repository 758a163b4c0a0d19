"""Where the waiting is: hosts, workers, clients, clocks, loops and retries.

The law of this package: it knows no vendor. It drives the core's generators against the protocols of
`settled.ports`, and it is the only place that retries, sleeps or starts a thread. What a turn decides is in
`settled`; how a vendor does it is in an adapter.
"""

"""What every backend must keep, as tests that anybody can run against their own.

The law of this package: it sees a backend only through `settled.ports`, so whatever it demands can be read there, and
each of its tests names the guarantee that it proves.
"""

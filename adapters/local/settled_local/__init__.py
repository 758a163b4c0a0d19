"""A place to live without a server: memory, and SQLite in one file.

The law of an adapter: it translates, one vendor call for one port call, and the vendor's errors into settled's. It
neither retries nor encodes, and it does not know what a statechart is. This one needs the standard library only.
"""

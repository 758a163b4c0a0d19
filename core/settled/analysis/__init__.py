"""Find mistakes in a machine before it runs.

It reads charts and programs; it neither takes steps nor knows about stored records.
"""

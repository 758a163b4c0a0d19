"""A place to live on Google Cloud: Pub/Sub, Firestore, Cloud Tasks, push handlers.

The law of an adapter: it translates, one vendor call for one port call, and the vendor's errors into settled's. It
neither retries nor encodes, and it does not know what a statechart is.
"""

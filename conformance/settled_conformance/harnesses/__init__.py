"""Harnesses of settled's own adapters."""

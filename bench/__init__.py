"""Benchmarks. Each measures settled and what it is compared with in the same run."""

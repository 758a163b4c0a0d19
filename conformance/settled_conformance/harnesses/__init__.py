"""The harnesses of settled's own local and Redis adapters."""

"""Draw a chart, as Mermaid or as DOT.

It reads charts only.
"""

"""``docs/diagrams.md`` shows the current diagram of the sign-up."""

from __future__ import annotations

from pathlib import Path

from settled import compile_chart, mermaid

ROOT = Path(__file__).parents[2]


def test_the_diagram_is_what_the_command_prints() -> None:
    chart = compile_chart((ROOT / "examples" / "signup" / "signup.json").read_text(encoding="utf-8"))
    assert f"```mermaid\n{mermaid(chart)}```\n" in (ROOT / "docs" / "diagrams.md").read_text(encoding="utf-8")

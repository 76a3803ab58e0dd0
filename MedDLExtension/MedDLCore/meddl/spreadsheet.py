"""Tables that a spreadsheet may open."""

from __future__ import annotations

from typing import Any


def safe_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; names of cases, models and structures come from anywhere.

    Example:
        >>> safe_cell("=1+1"), safe_cell("Brain"), safe_cell(-2.5)
        ("'=1+1", 'Brain', -2.5)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

"""Translation of shown text, also in a scene without application, where there is nothing to translate with."""

from __future__ import annotations

try:
    from slicer.i18n import tr
except ImportError:

    def tr(text: str) -> str:
        """Return ``text`` as it is."""
        return text


__all__ = ["tr"]

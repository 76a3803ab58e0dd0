"""Text burned into pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meddl.datasets.options import DeidentifyOptions

if TYPE_CHECKING:
    import pydicom


def without_burned_in(dataset: pydicom.Dataset, options: DeidentifyOptions) -> bool:
    """Refuse or blank burned-in text of ``dataset`` in place; say whether its pixels were searched."""
    return False

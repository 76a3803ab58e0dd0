"""An engine that may fail, with PyTorch behind it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from meddl.inference.memory import ran_out

if TYPE_CHECKING:
    import torch

    from meddl.inference.engines.engine import Engine

logger = logging.getLogger(__name__)


class Guarded:
    """Runs ``engine`` until it fails, and ``fallback`` from then on.

    Args:
        engine: the faster one.
        fallback: answers instead.
        tell: called once with a sentence for the report.
    """

    def __init__(self, engine: Engine, fallback: Engine, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._fallback = fallback
        self._tell = tell

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def precision(self) -> str:
        return self._engine.precision

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        if self._engine is self._fallback:
            return self._fallback(batch)
        try:
            return self._engine(batch)
        except Exception as error:
            # Lack of memory is for the ladder; but OpenVINO takes some of its own, which torch does not need.
            if ran_out(error) and self._engine.name != "openvino":
                raise
            logger.warning("%s failed in the middle: %s", self._engine.name, error)
            self._tell(f"{self._engine.name} failed in the middle of the run: PyTorch went on.")
        self._engine = self._fallback
        return self._fallback(batch)

    def near(self, base: torch.Tensor) -> Guarded | None:
        """Return such an engine for images that are like ``base`` ``(1, C, ...)``, where that is faster; else None."""
        make = getattr(self._engine, "near", None)
        try:
            engine = make(base) if make else None
        except Exception as error:
            logger.info("%s cannot make use of what images share: %s", self._engine.name, error)
            return None
        return Guarded(engine, self._fallback, self._tell) if engine else None

    def is_for(self, image: torch.Tensor) -> bool:
        """Say whether the engine is for any images, or for such as are like this one ``(1, C, ...)``."""
        is_for = getattr(self._engine, "is_for", None)
        return is_for is None or bool(is_for(image))

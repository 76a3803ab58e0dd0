"""Images of nobody: generators that learn from a dataset, what they make, and how far it may be used.

Importing this package needs numpy only.
"""

from __future__ import annotations

from meddl.synthesis.config import SynthesisConfig
from meddl.synthesis.examples import Examples, ExampleSource
from meddl.synthesis.facts import SynthesisFacts
from meddl.synthesis.synthetic import Synthetic

__all__ = ["ExampleSource", "Examples", "SynthesisConfig", "SynthesisFacts", "Synthetic"]

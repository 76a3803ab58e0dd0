"""Running a model on volumes: device, preprocessing, sliding window, cascade, and the way back to the input's grid."""

from __future__ import annotations

from meddl.inference.prediction import SegmentationPrediction
from meddl.inference.predictor import Predictor

__all__ = ["Predictor", "SegmentationPrediction"]

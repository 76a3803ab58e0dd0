"""Running a model on images: devices, channels, preprocessing, windows, tasks, and the way back to the patient."""

from __future__ import annotations

from meddl.inference.ensemble import Ensemble
from meddl.inference.options import RunOptions
from meddl.inference.prediction import (
    Box,
    ClassificationPrediction,
    ClassProbability,
    DetectionPrediction,
    Landmark,
    LandmarkPrediction,
    Prediction,
    ReconstructionPrediction,
    SegmentationPrediction,
    Uncertainty,
    prediction_from_dict,
)
from meddl.inference.predictor import Predictor

__all__ = [
    "Box",
    "ClassProbability",
    "ClassificationPrediction",
    "DetectionPrediction",
    "Ensemble",
    "Landmark",
    "LandmarkPrediction",
    "Prediction",
    "Predictor",
    "ReconstructionPrediction",
    "RunOptions",
    "SegmentationPrediction",
    "Uncertainty",
    "prediction_from_dict",
]

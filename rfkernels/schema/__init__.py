"""Requests and responses of Roboflow's V2 API: typed structs, JSON in and out, nothing else."""

from rfkernels.schema.base import SchemaError, to_json
from rfkernels.schema.identifiers import new_id, new_ids
from rfkernels.schema.requests import (
    BaseRequest,
    Confidence,
    CVInferenceRequest,
    InferenceRequest,
    InferenceRequestImage,
    ObjectDetectionInferenceRequest,
)
from rfkernels.schema.responses import (
    CvInferenceResponse,
    ErrorResponse,
    InferenceResponse,
    InferenceResponseImage,
    ObjectDetectionInferenceResponse,
    ObjectDetectionPrediction,
    ResolvedModel,
)

__all__ = [
    "BaseRequest",
    "CVInferenceRequest",
    "Confidence",
    "CvInferenceResponse",
    "ErrorResponse",
    "InferenceRequest",
    "InferenceRequestImage",
    "InferenceResponse",
    "InferenceResponseImage",
    "ObjectDetectionInferenceRequest",
    "ObjectDetectionInferenceResponse",
    "ObjectDetectionPrediction",
    "ResolvedModel",
    "SchemaError",
    "new_id",
    "new_ids",
    "to_json",
]

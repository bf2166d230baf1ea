"""V2 responses. Geometry is in pixels of the original image, after EXIF orientation."""

from msgspec import field

from rfkernels.schema.base import ResponseModel
from rfkernels.schema.identifiers import new_id


class ErrorResponse(ResponseModel, kw_only=True):
    """The body of an answer that is an error."""

    message: str


class InferenceResponseImage(ResponseModel, kw_only=True, gc=False):
    """Size of the image that the predictions refer to, in pixels."""

    width: int
    height: int


class ResolvedModel(ResponseModel, kw_only=True, gc=False):
    """Which model answered, and in what form it ran."""

    model_id: str
    model_package_id: str | None = None
    backend: str | None = None
    quantization: str | None = None


class InferenceResponse(ResponseModel, kw_only=True):
    """What every response carries.

    Attributes:
        inference_id: the id of the request.
        frame_id: number of the frame, for a video.
        time: seconds spent on the request; that of the whole batch where there was one.
    """

    inference_id: str | None = None
    frame_id: int | None = None
    time: float | None = None
    resolved_model: ResolvedModel | None = None


class CvInferenceResponse(InferenceResponse, kw_only=True):
    """A response about an image."""

    image: InferenceResponseImage


class ObjectDetectionPrediction(ResponseModel, kw_only=True, rename={"class_name": "class"}, gc=False):
    """One detected object.

    Attributes:
        x: column of the box's centre, in pixels.
        y: row of the box's centre, in pixels.
        width: of the box, in pixels.
        height: of the box, in pixels.
        confidence: 0 to 1.
        class_name: name of the class; "class" in JSON.
        class_id: index of the class.
        detection_id: a UUID of its own. For many predictions, hand in those of `new_ids`: that is quicker.
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float
    class_name: str
    class_confidence: float | None = None
    class_id: int
    tracker_id: int | None = None
    detection_id: str = field(default_factory=new_id)
    parent_id: str | None = None


class ObjectDetectionInferenceResponse(CvInferenceResponse, kw_only=True):
    """The objects detected in one image, by descending confidence.

    Attributes:
        visualization: the annotated picture as an encoded JPEG; base64 in JSON.
    """

    visualization: bytes | None = None
    predictions: list[ObjectDetectionPrediction]

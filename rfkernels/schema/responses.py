"""V2 responses. Geometry is in pixels of the original image, after EXIF orientation."""

from typing import Annotated, ClassVar, Literal, TypedDict

from msgspec import Meta, field

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


class Point(ResponseModel, gc=False):
    """A place in the image. A polygon has hundreds, so fields may be given by position, which is the quickest:
    `list(map(Point, xs, ys))` of two lists of floats.

    Attributes:
        x: column, in pixels.
        y: row, in pixels.
    """

    x: float
    y: float


class RunLengthEncoding(TypedDict):
    """A mask as COCO has it; a dict, which pycocotools takes as it is.

    Keys:
        size: height and width of the mask, in pixels.
        counts: lengths of runs of pixels, down the columns, in COCO's compressed text.
    """

    size: list[int]
    counts: str


class MaskCoordinateMetadata(ResponseModel, kw_only=True, gc=False):
    """The grid of masks that all geometry of a response refers to, and the way from it to the original image.

    Attributes:
        width: of the grid, in its pixels.
        height: of the grid, in its pixels.
        scale_x: columns of the original image to one of the grid.
        scale_y: rows of the original image to one of the grid.
    """

    coordinate_system: Literal["mask_grid"] = field(default_factory=lambda: "mask_grid")
    width: Annotated[int, Meta(gt=0)]
    height: Annotated[int, Meta(gt=0)]
    scale_x: Annotated[float, Meta(gt=0)]
    scale_y: Annotated[float, Meta(gt=0)]


class InstanceSegmentationBasePrediction(ResponseModel, kw_only=True, rename={"class_name": "class"}, gc=False):
    """What both forms of a segmented object carry; attributes as those of `ObjectDetectionPrediction`."""

    x: float
    y: float
    width: float
    height: float
    confidence: float
    class_name: str
    class_id: int
    detection_id: str = field(default_factory=new_id)
    parent_id: str | None = None


class InstanceSegmentationPrediction(
    InstanceSegmentationBasePrediction, kw_only=True, tag_field="mask_format", tag="polygon", gc=False
):
    """One detected object and its outline.

    The two forms are told apart by `mask_format` in JSON, where it comes first.

    Attributes:
        points: corners of the outline, in pixels; none where the mask is empty. 100 outlines of 300 points are JSON in
            about 6 ms, a third of which is making the points; text joined from an array of numbers takes as long.
    """

    mask_format: ClassVar[Literal["polygon"]] = "polygon"

    class_confidence: float | None = None
    points: list[Point]


class InstanceSegmentationRLEPrediction(
    InstanceSegmentationBasePrediction, kw_only=True, tag_field="mask_format", tag="rle", gc=False
):
    """One detected object and its mask.

    Attributes:
        rle: the mask, of the size of the response's `image`.
    """

    mask_format: ClassVar[Literal["rle"]] = "rle"

    rle: RunLengthEncoding


class InstanceSegmentationInferenceResponse(CvInferenceResponse, kw_only=True):
    """The objects detected in one image and their masks, by descending confidence.

    Attributes:
        image: what the geometry refers to: the original image, or the grid of `mask_metadata` where there is one.
        visualization: the annotated picture as an encoded JPEG; base64 in JSON.
        original_image: size of the original image, where the request allowed a reduced resolution.
        mask_metadata: from the grid to the original image, where the request allowed a reduced resolution.
    """

    visualization: bytes | None = None
    predictions: list[InstanceSegmentationPrediction | InstanceSegmentationRLEPrediction]
    original_image: InferenceResponseImage | None = None
    mask_metadata: MaskCoordinateMetadata | None = None


class Keypoint(Point, rename={"class_name": "class"}, gc=False):
    """A keypoint of an object. Fields may be given by position.

    Attributes:
        x: column, in pixels.
        y: row, in pixels.
        confidence: that it is visible, 0 to 1.
        class_id: its place among the keypoints of the object's class.
        class_name: its name; "class" in JSON.
    """

    confidence: float
    class_id: int
    class_name: str


class KeypointsPrediction(ObjectDetectionPrediction, kw_only=True, gc=False):
    """One detected object and its keypoints.

    Attributes:
        keypoints: those that are sure enough: fewer than the class has, told apart by their `class_id`.
    """

    keypoints: list[Keypoint]


class KeypointsDetectionInferenceResponse(CvInferenceResponse, kw_only=True):
    """The objects detected in one image and their keypoints, by descending confidence.

    Attributes:
        visualization: the annotated picture as an encoded JPEG; base64 in JSON.
    """

    visualization: bytes | None = None
    predictions: list[KeypointsPrediction]


class ClassificationPrediction(ResponseModel, kw_only=True, rename={"class_name": "class"}, gc=False):
    """A class that the image may be of.

    Attributes:
        class_name: name of the class; "class" in JSON.
        class_id: index of the class.
        confidence: 0 to 1.
    """

    class_name: str
    class_id: int
    confidence: float


class ClassificationInferenceResponse(CvInferenceResponse, kw_only=True):
    """Which class an image is of.

    Attributes:
        visualization: the annotated picture as an encoded JPEG; base64 in JSON.
        predictions: classes at or above the request's confidence, by descending confidence.
        top: name of the best class; empty where there is none. Always in the JSON, as `confidence` is.
        confidence: of the best class; 0 where there is none.
    """

    visualization: bytes | None = None
    predictions: list[ClassificationPrediction]
    top: str = field(default_factory=str)
    confidence: float = field(default_factory=float)
    parent_id: str | None = None


class MultiLabelClassificationPrediction(ResponseModel, kw_only=True, gc=False):
    """How sure it is that the image is of a class.

    Attributes:
        confidence: 0 to 1.
        class_id: index of the class.
    """

    confidence: float
    class_id: int


class MultiLabelClassificationInferenceResponse(CvInferenceResponse, kw_only=True):
    """Which classes an image is of.

    Attributes:
        visualization: the annotated picture as an encoded JPEG; base64 in JSON.
        predictions: every class by its name.
        predicted_classes: names of the classes that are sure enough.
    """

    visualization: bytes | None = None
    predictions: dict[str, MultiLabelClassificationPrediction]
    predicted_classes: list[str]
    parent_id: str | None = None

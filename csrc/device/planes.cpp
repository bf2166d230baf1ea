#include "device/planes.h"

#include <algorithm>
#include <limits>

namespace rfkernels {
namespace {

// The stride of an axis of one element is never used, and NumPy may put anything there.
bool steps_by(const TensorView& view, int axis, std::int64_t bytes) {
    return view.shape[axis] == 1 || view.strides[axis] == bytes;
}

Status read_plane(const TensorView& view, const std::string& name, Plane* plane);

}  // namespace

std::string shape_of(const TensorView& view) {
    std::string text = "[";
    for (int axis = 0; axis < std::min(view.rank, kMaxRank); ++axis)
        text += (axis == 0 ? "" : ", ") + std::to_string(view.shape[axis]);
    return text + "]";
}

Status as_plane(const TensorView& view, const std::string& name, Plane* plane) {
    if (view.dtype != DataType::kFloat32 && view.dtype != DataType::kBfloat16) {
        return Status::invalid_argument(name + " is neither float32 nor bfloat16; convert it first");
    }
    return read_plane(view, name, plane);
}

Status as_device_plane(const TensorView& view, const std::string& name, Plane* plane) {
    if (view.dtype != DataType::kFloat32 && view.dtype != DataType::kBfloat16 && view.dtype != DataType::kFloat16) {
        return Status::invalid_argument(name + " is neither float32 nor float16 nor bfloat16; convert it first");
    }
    return read_plane(view, name, plane);
}

namespace {

Status read_plane(const TensorView& view, const std::string& name, Plane* plane) {
    plane->dtype = view.dtype;
    const std::int64_t element = plane->element_size();
    if (view.data == nullptr) return Status::invalid_argument(name + " has no data");
    bool aligned = reinterpret_cast<std::uintptr_t>(view.data) % static_cast<std::uintptr_t>(element) == 0;
    for (int axis = 0; axis < view.rank; ++axis) {
        if (view.shape[axis] < 1) {
            return Status::invalid_argument(name + " has shape " + shape_of(view) + "; no axis may be empty");
        }
        if (view.shape[axis] > std::numeric_limits<std::int32_t>::max()) {  // also keeps products of two in 64 bits
            return Status::invalid_argument(name + " has shape " + shape_of(view) +
                                            "; no axis may be longer than 2147483647");
        }
        aligned = aligned && (view.shape[axis] == 1 || view.strides[axis] % element == 0);
    }
    if (!aligned) return Status::invalid_argument(name + " is not aligned to its elements; copy it");

    const int last = view.rank - 1;
    const bool has_rows = view.rank == 4;
    const std::int64_t columns = view.shape[last];
    const std::int64_t rows = has_rows ? view.shape[2] : 1;
    plane->data = view.data;
    plane->image_step = view.shape[0] == 1 ? 0 : view.strides[0] / element;
    if (steps_by(view, last, element) && (!has_rows || steps_by(view, 2, columns * element))) {
        plane->anchor_step = 1;
        plane->channel_step = view.shape[1] == 1 ? 0 : view.strides[1] / element;
        return Status();
    }
    // From here on there is more than one anchor, or the layout above would have held.
    const std::int64_t pitch = columns > 1 ? view.strides[last] : view.strides[2];
    const bool rows_follow = !has_rows || rows == 1 || view.strides[2] == columns * pitch;
    if (steps_by(view, 1, element) && rows_follow) {
        plane->channel_step = 1;
        plane->anchor_step = pitch / element;
        return Status();
    }
    return Status::invalid_argument(name + " " + shape_of(view) +
                                    " lies in memory neither channel by channel nor anchor by anchor; copy it with "
                                    "numpy.ascontiguousarray");
}

}  // namespace
}  // namespace rfkernels

#include "values.h"

namespace rfkernels::bindings {

TensorView view_of_values(const py::array& array, const std::string& name, int rank) {
    const bool is_float32 = py::isinstance<py::array_t<float>>(array);
    if (!is_float32 && !py::isinstance<py::array_t<std::uint16_t>>(array)) {
        throw py::value_error(name + " has dtype " + py::str(array.dtype()).cast<std::string>() +
                              "; give float32, or uint16 for bfloat16, in this machine's byte order");
    }
    if (array.ndim() != rank) {
        throw py::value_error(name + " has " + std::to_string(array.ndim()) + " axes; give " + std::to_string(rank));
    }
    TensorView view;
    view.data = const_cast<void*>(array.data());
    view.dtype = is_float32 ? DataType::kFloat32 : DataType::kBfloat16;
    view.rank = rank;
    for (int axis = 0; axis < rank; ++axis) {
        view.shape[axis] = array.shape(axis);
        view.strides[axis] = array.strides(axis);
    }
    return view;
}

}  // namespace rfkernels::bindings

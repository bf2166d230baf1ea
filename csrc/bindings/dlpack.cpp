// Capsules of DLPack: taking one over, and making one. Which devices and dtypes are taken is for rfkernels.interop.

#include "dlpack.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common.h"

namespace rfkernels::bindings {
namespace {

// The names of capsules must outlive them.
constexpr const char* kName = "dltensor";
constexpr const char* kUsedName = "used_dltensor";
constexpr const char* kVersionedName = "dltensor_versioned";
constexpr const char* kUsedVersionedName = "used_dltensor_versioned";
constexpr int kMostAxes = 64;

template <typename Managed>
struct CapsuleName;
template <>
struct CapsuleName<dlpack::ManagedTensor> {
    static constexpr const char* fresh = kName;
    static constexpr const char* used = kUsedName;
};
template <>
struct CapsuleName<dlpack::ManagedTensorVersioned> {
    static constexpr const char* fresh = kVersionedName;
    static constexpr const char* used = kUsedVersionedName;
};

[[noreturn]] void throw_invalid(const std::string& message) {
    const py::object error = py::module_::import("rfkernels.errors").attr("InvalidArgumentError");
    PyErr_SetString(error.ptr(), message.c_str());
    throw py::error_already_set();
}

template <typename Managed>
void call_deleter(Managed* managed) {
    if (managed->deleter != nullptr) managed->deleter(managed);
}

/// A tensor of another library, which is told once when it is no longer used.
class ImportedTensor {
  public:
    ImportedTensor() = default;
    ~ImportedTensor() { release(); }
    ImportedTensor(const ImportedTensor&) = delete;
    ImportedTensor& operator=(const ImportedTensor&) = delete;

    template <typename Managed>
    bool take(PyObject* capsule) {
        using Name = CapsuleName<Managed>;
        if (PyCapsule_IsValid(capsule, Name::fresh) == 0) return false;
        auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, Name::fresh));
        // From here on the tensor is ours: the capsule's own end does nothing under the new name.
        if (PyCapsule_SetName(capsule, Name::used) != 0) throw py::error_already_set();
        keep(managed);
        return true;
    }

    /// What was in it is the producer's again. A second call does nothing.
    void release() {
        dlpack::ManagedTensor* legacy = std::exchange(legacy_, nullptr);
        dlpack::ManagedTensorVersioned* versioned = std::exchange(versioned_, nullptr);
        // A deleter may run Python; an error that is on its way must survive that.
        const py::error_scope error_on_its_way;
        if (legacy != nullptr) call_deleter(legacy);
        if (versioned != nullptr) call_deleter(versioned);
    }

    /// Null where it was released, or where its layout is not known.
    const dlpack::Tensor* tensor() const {
        if (legacy_ != nullptr) return &legacy_->tensor;
        const bool is_known = versioned_ != nullptr && versioned_->version.major == dlpack::kMajorVersion;
        return is_known ? &versioned_->tensor : nullptr;
    }
    std::uint32_t major_version() const { return versioned_ != nullptr ? versioned_->version.major : 0; }
    bool read_only() const { return versioned_ != nullptr && (versioned_->flags & dlpack::kReadOnly) != 0; }

  private:
    void keep(dlpack::ManagedTensor* managed) { legacy_ = managed; }
    void keep(dlpack::ManagedTensorVersioned* managed) { versioned_ = managed; }

    dlpack::ManagedTensor* legacy_ = nullptr;
    dlpack::ManagedTensorVersioned* versioned_ = nullptr;
};

std::unique_ptr<ImportedTensor> import_dlpack(const py::object& capsule, const std::string& name) {
    auto imported = std::make_unique<ImportedTensor>();  // first: nothing may fail once the capsule is renamed
    PyObject* given = capsule.ptr();
    if (!imported->take<dlpack::ManagedTensorVersioned>(given) && !imported->take<dlpack::ManagedTensor>(given)) {
        if (PyCapsule_IsValid(given, kUsedName) != 0 || PyCapsule_IsValid(given, kUsedVersionedName) != 0) {
            throw_invalid(name + " gave a DLPack capsule that was consumed before; give one that is new");
        }
        throw_invalid(name + ".__dlpack__ returned " + std::string(py::str(py::type::of(capsule).attr("__name__"))) +
                      ", which is no DLPack capsule");
    }
    if (imported->tensor() == nullptr) {
        throw_invalid(name + " has the layout of DLPack " + std::to_string(imported->major_version()) +
                      "; this version of rfkernels reads that of DLPack 1 and before");
    }
    const dlpack::Tensor& tensor = *imported->tensor();
    if (tensor.rank < 0 || tensor.rank > kMostAxes || (tensor.rank > 0 && tensor.shape == nullptr)) {
        throw_invalid(name + " is a broken DLPack tensor: it has " + std::to_string(tensor.rank) +
                      " axes, or axes without a shape");
    }
    return imported;
}

const dlpack::Tensor& tensor_of(const ImportedTensor& imported) {
    if (imported.tensor() == nullptr) throw py::value_error("the tensor was released");
    return *imported.tensor();
}

py::tuple tuple_of(const std::int64_t* numbers, int count) {
    py::tuple result(count);
    for (int i = 0; i < count; ++i) result[static_cast<std::size_t>(i)] = numbers[i];
    return result;
}

/// What a capsule of ours points to: the tensor, its shape and strides, and who keeps its memory.
template <typename Managed>
struct Exported {
    Managed managed{};
    std::vector<std::int64_t> extents;
    PyObject* owner = nullptr;
};

template <typename Managed>
void delete_exported(Managed* self) {
    // Called too late, by a library that outlives Python: the memory goes with the process.
    if (Py_IsInitialized() == 0) return;
    const py::gil_scoped_acquire lock;  // it may be called from any thread
    const py::error_scope error_on_its_way;
    auto* exported = static_cast<Exported<Managed>*>(self->context);
    PyObject* owner = exported->owner;
    delete exported;
    Py_DECREF(owner);
}

template <typename Managed>
void delete_capsule(PyObject* capsule) {
    // Whoever consumed it renamed it, and calls the deleter.
    if (PyCapsule_IsValid(capsule, CapsuleName<Managed>::fresh) == 0) return;
    call_deleter(static_cast<Managed*>(PyCapsule_GetPointer(capsule, CapsuleName<Managed>::fresh)));
}

template <typename Managed>
py::object capsule_of(std::unique_ptr<Exported<Managed>> exported, const py::object& owner) {
    exported->managed.context = exported.get();
    exported->managed.deleter = &delete_exported<Managed>;
    PyObject* capsule = PyCapsule_New(&exported->managed, CapsuleName<Managed>::fresh, &delete_capsule<Managed>);
    if (capsule == nullptr) throw py::error_already_set();
    exported->owner = owner.inc_ref().ptr();
    exported.release();
    return py::reinterpret_steal<py::object>(capsule);
}

template <typename Managed>
std::unique_ptr<Exported<Managed>> exported_of(const dlpack::Tensor& tensor, const std::vector<std::int64_t>& shape,
                                               const std::vector<std::int64_t>& strides) {
    auto exported = std::make_unique<Exported<Managed>>();
    exported->extents = shape;
    exported->extents.insert(exported->extents.end(), strides.begin(), strides.end());
    exported->managed.tensor = tensor;
    exported->managed.tensor.rank = static_cast<std::int32_t>(shape.size());
    exported->managed.tensor.shape = exported->extents.data();
    exported->managed.tensor.strides = exported->extents.data() + shape.size();
    return exported;
}

py::object export_dlpack(const py::object& owner, std::uintptr_t address, const std::vector<std::int64_t>& shape,
                         const std::vector<std::int64_t>& strides, std::pair<int, int> dtype,
                         std::pair<int, int> device, bool read_only, bool versioned) {
    if (shape.size() != strides.size()) throw py::value_error("shape and strides must be equally long");
    dlpack::Tensor tensor{};
    tensor.data = reinterpret_cast<void*>(address);
    tensor.device = {device.first, device.second};
    tensor.dtype = {static_cast<std::uint8_t>(dtype.first), static_cast<std::uint8_t>(dtype.second), 1};
    if (!versioned) return capsule_of(exported_of<dlpack::ManagedTensor>(tensor, shape, strides), owner);
    auto exported = exported_of<dlpack::ManagedTensorVersioned>(tensor, shape, strides);
    exported->managed.version = {dlpack::kMajorVersion, dlpack::kMinorVersion};
    exported->managed.flags = read_only ? dlpack::kReadOnly : 0;
    return capsule_of(std::move(exported), owner);
}

}  // namespace

void bind_dlpack(py::module_& module) {
    py::class_<ImportedTensor>(module, "ImportedTensor", "A tensor of another library, until it is released.")
        .def_property_readonly("address",
                               [](const ImportedTensor& self) {
                                   const dlpack::Tensor& tensor = tensor_of(self);
                                   if (tensor.data == nullptr) return std::uintptr_t{0};
                                   return reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
                               })
        .def_property_readonly("device",
                               [](const ImportedTensor& self) {
                                   const dlpack::Device& device = tensor_of(self).device;
                                   return std::make_pair(device.type, device.ordinal);
                               })
        .def_property_readonly("dtype",
                               [](const ImportedTensor& self) {
                                   const dlpack::DataType& dtype = tensor_of(self).dtype;
                                   return py::make_tuple(dtype.code, dtype.bits, dtype.lanes);
                               })
        .def_property_readonly(
            "shape", [](const ImportedTensor& self) { return tuple_of(tensor_of(self).shape, tensor_of(self).rank); })
        .def_property_readonly("strides",
                               [](const ImportedTensor& self) -> py::object {
                                   const dlpack::Tensor& tensor = tensor_of(self);
                                   if (tensor.strides == nullptr) return py::none();
                                   return tuple_of(tensor.strides, tensor.rank);
                               })
        .def_property_readonly("read_only", &ImportedTensor::read_only)
        .def("release", &ImportedTensor::release, "Gives it back to its producer; a second call does nothing.");
    module.def("import_dlpack", &import_dlpack, py::arg("capsule"), py::arg("name"), "Takes a capsule's tensor over.");
    module.def("export_dlpack", &export_dlpack, py::arg("owner"), py::arg("address"), py::arg("shape"),
               py::arg("strides"), py::arg("dtype"), py::arg("device"), py::kw_only(), py::arg("read_only"),
               py::arg("versioned"), "A capsule of memory that the owner keeps; strides in elements.");
}

}  // namespace rfkernels::bindings

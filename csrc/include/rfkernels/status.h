#pragma once

#include <string>
#include <utility>

namespace rfkernels {

enum class StatusCode {
    kOk,
    kInvalidArgument,  ///< an argument is wrong; the message names it, says what was got and what to do
    kOutOfMemory,      ///< the host could not give the memory that the call needs
    kUnavailable,      ///< this machine or this build cannot do it (an instruction set, a device)
    kDeviceError,      ///< a device failed at something; the message names the call, for a kernel its grid and block
};

/// What every op returns. The library neither prints nor aborts, and no C++ exception leaves it.
class [[nodiscard]] Status {
  public:
    Status() = default;

    static Status invalid_argument(std::string message) {
        return Status(StatusCode::kInvalidArgument, std::move(message));
    }
    /// `message` is a literal: where there is no memory, none is asked for.
    static Status out_of_memory(const char* message) {
        Status status;
        status.code_ = StatusCode::kOutOfMemory;
        status.literal_ = message;
        return status;
    }
    static Status unavailable(std::string message) { return Status(StatusCode::kUnavailable, std::move(message)); }
    static Status device_error(std::string message) { return Status(StatusCode::kDeviceError, std::move(message)); }

    bool ok() const { return code_ == StatusCode::kOk; }
    StatusCode code() const { return code_; }
    /// Valid as long as the status is; empty where all is well.
    const char* message() const { return literal_ != nullptr ? literal_ : message_.c_str(); }

  private:
    Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

    StatusCode code_ = StatusCode::kOk;
    std::string message_;
    const char* literal_ = nullptr;
};

}  // namespace rfkernels

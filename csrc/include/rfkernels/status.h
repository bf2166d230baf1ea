#pragma once

#include <string>
#include <utility>

namespace rfkernels {

enum class StatusCode {
    kOk,
    kInvalidArgument,  ///< an argument is wrong; the message names it, says what was got and what to do
    kOutOfMemory,      ///< the host could not give the memory that the call needs
    kUnavailable,      ///< this machine or this build cannot do it (an instruction set, a device)
};

/// What every op returns. The library neither prints nor aborts, and no C++ exception leaves it.
class [[nodiscard]] Status {
  public:
    Status() = default;

    static Status invalid_argument(std::string message) {
        return Status(StatusCode::kInvalidArgument, std::move(message));
    }
    static Status out_of_memory(std::string message) { return Status(StatusCode::kOutOfMemory, std::move(message)); }
    static Status unavailable(std::string message) { return Status(StatusCode::kUnavailable, std::move(message)); }

    bool ok() const { return code_ == StatusCode::kOk; }
    StatusCode code() const { return code_; }
    const std::string& message() const { return message_; }

  private:
    Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

    StatusCode code_ = StatusCode::kOk;
    std::string message_;
};

}  // namespace rfkernels

// Which current contexts of a thread the CUDA device takes; the driver that it asks is not needed for the decision.

#include <cstring>

#include "check.h"
#include "device/current_context.h"

using rfkernels::check_current_context;
using rfkernels::StatusCode;

int main() {
    const int first = 0;
    const int second = 0;
    CHECK(check_current_context({nullptr, 0, nullptr}).ok());
    CHECK(check_current_context({nullptr, 0, &first}).ok());
    CHECK(check_current_context({&first, 0, &first}).ok());
    CHECK(check_current_context({&second, 3, &second}).ok());  // of another GPU: the runtime changes to ours and back

    const rfkernels::Status other = check_current_context({&first, 3, &second});
    CHECK(other.code() == StatusCode::kInvalidArgument);
    CHECK(std::strstr(other.message(), "cuda:3") != nullptr);
    CHECK(std::strstr(other.message(), "pycuda.autoprimaryctx") != nullptr);
    // Nothing is active that it could be.
    CHECK(check_current_context({&first, 0, nullptr}).code() == StatusCode::kInvalidArgument);
    return 0;
}

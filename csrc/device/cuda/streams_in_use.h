#pragma once

// What must be done before memory is given back. CUDA does not promise that cudaFree and cudaFreeHost wait for what
// uses the memory ("may perform implicit synchronization"), and cudaDeviceSynchronize ends every capture on the device,
// another library's too. So the streams that were made here are waited for, one by one and by events, without those
// that are captured.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

namespace rfkernels::cuda {

/// The device is current in every call.
class StreamsInUse {
  public:
    void add(cudaStream_t stream) {
        const std::lock_guard<std::mutex> lock(mutex_);
        streams_.push_back(stream);
    }

    /// Runs `end()`, after which the stream cannot be asked what is still to be done of what is on it now: because it
    /// is gone, or captured.
    template <typename End>
    cudaError_t end_asking(cudaStream_t stream, bool is_gone, const End& end) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto known = std::find(streams_.begin(), streams_.end(), stream);
        if (known == streams_.end()) return end();
        left_behind_.erase(std::remove_if(left_behind_.begin(), left_behind_.end(), is_done), left_behind_.end());
        if (Mark mark = mark_of(stream)) left_behind_.push_back(std::move(mark));
        if (is_gone) streams_.erase(known);
        return end();
    }

    /// Runs `join()`, by which a stream may come to belong to a capture.
    template <typename Join>
    cudaError_t joining(cudaStream_t stream, const Join& join) {
        const std::lock_guard<std::mutex> lock(mutex_);
        // What is on it now is no part of the capture, and cannot be asked for once it belongs to one.
        Mark mark = mark_of(stream);
        const cudaError_t error = join();
        cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
        if (mark && cudaStreamIsCapturing(stream, &capture) == cudaSuccess && capture != cudaStreamCaptureStatusNone) {
            left_behind_.push_back(std::move(mark));
        }
        return error;
    }

    /// Waits for what is on the streams now. What fails there is told by whoever waits for the stream itself.
    void wait() {
        std::vector<Mark> marks;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            marks = left_behind_;
            for (cudaStream_t stream : streams_) {
                if (Mark mark = mark_of(stream)) marks.push_back(std::move(mark));
            }
        }
        // Others put work on streams and begin captures meanwhile.
        for (const Mark& mark : marks) {
            if (cudaEventSynchronize(mark.get()) != cudaSuccess) cudaGetLastError();
        }
    }

  private:
    struct Destroy {
        void operator()(cudaEvent_t event) const {
            if (cudaEventDestroy(event) != cudaSuccess) cudaGetLastError();
        }
    };
    using Mark = std::shared_ptr<CUevent_st>;

    static bool is_done(const Mark& mark) {
        const bool done = cudaEventQuery(mark.get()) != cudaErrorNotReady;
        cudaGetLastError();
        return done;
    }

    /// Recorded behind what is on the stream; null where nothing is, or where the stream is captured.
    static Mark mark_of(cudaStream_t stream) {
        cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
        cudaEvent_t event = nullptr;
        Mark mark;
        if (cudaStreamIsCapturing(stream, &capture) == cudaSuccess && capture == cudaStreamCaptureStatusNone &&
            cudaStreamQuery(stream) == cudaErrorNotReady &&
            cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess) {
            mark = Mark(event, Destroy());
            if (cudaEventRecord(event, stream) != cudaSuccess) mark.reset();
        }
        cudaGetLastError();  // "not ready" is kept as an error too
        return mark;
    }

    std::mutex mutex_;  ///< no stream begins to be captured between the question whether it is, and its mark
    std::vector<cudaStream_t> streams_;
    std::vector<Mark> left_behind_;  ///< of streams that were destroyed, or are or were captured, until they are done
};

}  // namespace rfkernels::cuda

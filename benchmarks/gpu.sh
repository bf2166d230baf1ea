#!/usr/bin/env bash
# What there is for a GPU, in one report. On a machine without one it runs what can run there, on the emulated device, and
# says so. Not in it yet: times of the ops and of a request on a GPU, and their peers (CV-CUDA, torchvision, TensorRT).
#
#   benchmarks/gpu.sh [report.txt]
set -uo pipefail
cd "$(dirname "$0")/.."
report=${1:-build/gpu-report.txt}
mkdir -p "$(dirname "$report")"
failures=0

section() {
    local title=$1
    shift
    echo
    echo "== $title"
    echo "\$ $*"
    "$@" 2>&1
    local status=$?
    if ((status != 0)); then
        echo "FAILED with status $status"
        failures=$((failures + 1))
    fi
}

run_all() {
    echo "rfkernels GPU report"
    if command -v nvidia-smi > /dev/null && nvidia-smi > /dev/null 2>&1; then
        has_gpu=1
        section "GPU" nvidia-smi
    else
        has_gpu=0
        echo "no GPU on this machine: everything below runs on the emulated device; there are no times of a GPU in it"
    fi
    section "kernels for all architectures, and what they take" make nvcc
    section "tests of kernels on the emulated device, three builds" make test-native
    section "traffic of the kernels, counted on the emulated device" .venv/bin/rfkernels bench kernels
    section "models on the emulated device" .venv/bin/pytest -q tests/tasks/test_on_device.py
    if ((has_gpu)); then
        section "a package with CUDA" make CUDA=ON .venv/test-tools
        section "all tests, with CUDA" .venv/bin/cmake --build build/nvcc
        for test in preprocess detection masks keypoints connected_components; do
            program=build/nvcc/test_${test}_device
            section "$test on the GPU" env RFK_TEST_DEVICE=cuda "$program"
            for tool in memcheck racecheck initcheck synccheck; do
                if command -v compute-sanitizer > /dev/null; then
                    section "$test under $tool" env RFK_TEST_DEVICE=cuda compute-sanitizer --error-exitcode 1 --tool "$tool" "$program"
                fi
            done
        done
    fi
    echo
    echo "$failures sections failed"
}

run_all | tee "$report"
grep -q '^0 sections failed$' "$report"

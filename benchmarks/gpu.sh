#!/usr/bin/env bash
# Everything there is for a GPU, in one report. On a machine without one it runs what can run there, on the emulated
# device, and says so.
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
        section "a build with CUDA" make CUDA=ON .venv/test-tools
        section "device" build/nvcc/test_cuda_device
        if command -v compute-sanitizer > /dev/null; then
            for tool in memcheck racecheck initcheck synccheck; do
                section "compute-sanitizer $tool" compute-sanitizer --tool "$tool" build/nvcc/test_cuda_device
            done
        fi
        section "ops on the CPU, for comparison" .venv/bin/rfkernels bench ops
    fi
    echo
    echo "$failures sections failed"
}

run_all | tee "$report"
grep -q '^0 sections failed$' "$report"

#!/usr/bin/env bash
# What there is for a GPU, in one report: tests of the kernels on it, times of the ops and of requests beside peers and
# the runtime alone, compute-sanitizer. On a machine without one it runs what can run there, on the emulated device, and
# says so.
#
#   benchmarks/gpu.sh [report.txt]
#
# Peers (torch, torchvision, CV-CUDA) and runtimes (tensorrt, tensorrt-rtx) are those of .venv-parity, where `make
# parity` has made it, else of .venv; what is not installed is left out of the tables.
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

run_on_gpu() {
    # -W: one made without CUDA is made anew.
    section "the package, with CUDA" make CUDA=ON -W pyproject.toml .venv/test-tools
    section "kernels for all architectures, and what they take" make nvcc
    section "tests of kernels, with CUDA" .venv/bin/cmake --build build/nvcc
    for test in preprocess detection masks keypoints connected_components; do
        section "$test on the GPU" env RFK_TEST_DEVICE=cuda build/nvcc/test_${test}_device
    done
    if [ -e .venv-parity/package ]; then
        section "the package, with CUDA, among the peers" make CUDA=ON -W pyproject.toml .venv-parity/package
    fi
    section "ops and requests on the GPU" "$environment/bin/rfkernels" bench gpu
    for test in preprocess detection masks keypoints connected_components; do
        for tool in memcheck racecheck initcheck synccheck; do
            section "$test under $tool" env RFK_TEST_DEVICE=cuda \
                compute-sanitizer --error-exitcode 1 --tool "$tool" build/nvcc/test_${test}_device
        done
    done
}

run_emulated() {
    section "the package" make .venv/test-tools
    section "kernels for all architectures, what they take and move" make nvcc
    section "tests of kernels on the emulated device, three builds" make test-native
    section "models on the emulated device" .venv/bin/pytest -q tests/tasks/test_on_device.py
    section "ops and requests on the emulated device" "$environment/bin/rfkernels" bench gpu --device emulated
}

run_all() {
    echo "rfkernels GPU report"
    environment=.venv
    # One that was made before there was this benchmark has it not.
    if .venv-parity/bin/rfkernels bench --help 2> /dev/null | grep -q gpu; then environment=.venv-parity; fi
    if command -v nvidia-smi > /dev/null && nvidia-smi > /dev/null 2>&1; then
        section "GPU" nvidia-smi
        run_on_gpu
    else
        echo "no GPU on this machine: everything below runs on the emulated device; there are no times of a GPU in it"
        run_emulated
    fi
    echo
    echo "$failures sections failed"
}

run_all | tee "$report"
grep -q '^0 sections failed$' "$report"

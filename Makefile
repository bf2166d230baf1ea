# make demo     the shipped models, one for each of three tasks, on the shipped picture
# make test     the tests of this machine: C++ under sanitizers, the CUDA kernels on the emulated device, then pytest
# make nvcc     the CUDA kernels compiled for every GPU there is a build for, warnings as errors, and what they take
# make parity   the comparisons with OpenCV, torchvision, ultralytics and inference-models, in an environment of their own (about 7 GB)
# make fuzz     the checkpoint reader and the image door under a fuzzer, a minute each
# make lint     formatting, ruff, mypy
# Each does all its own set-up; delete .venv* and build to begin anew.

PYTHON ?= python3
VENV := .venv
PARITY_VENV := .venv-parity
FUZZ_VENV := .venv-fuzz
FUZZ_SECONDS ?= 60
# 0: another one each time.
FUZZ_SEED ?= 0
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

NATIVE_SOURCES := CMakeLists.txt $(wildcard cmake/*.cmake) $(shell find csrc -type f)
PACKAGE_SOURCES := pyproject.toml README.md LICENSE $(NATIVE_SOURCES) \
    $(shell find rfkernels models benchmarks -name '*.py' -o -name '*.pyi' -o -name 'py.typed')
TEST_SOURCES := $(shell find tests/csrc -type f)
DEMO_MODELS := $(addprefix build/demo/,$(addsuffix .onnx,yolov8n-shapes-320 yolov8n-seg-shapes-320 yolov8n-pose-shapes-320))

# Those that run kernels, as the target emulated_tests has them; the others are the same in every build.
EMULATED_TESTS := --tests-regex "emulat|_device" --exclude-regex test_cuda_device

.DELETE_ON_ERROR:
# The targets share one environment: two pips at once would break it.
.NOTPARALLEL:
.PHONY: demo test nvcc test-native test-python parity fuzz lint format clean

# Python's headers where the system has none (python3-venv does not bring them): from Debian's own package, unpacked
# here, nothing installed. FindPython and the compiler are pointed at them through the environment.
PYTHON_HEADERS := $(CURDIR)/build/python-headers
HAS_HEADERS := import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
PYTHON_NAME = $(shell $(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
# Packages made here leave nvcc out, which takes minutes; CUDA=ON puts it in. (`pip install .` takes it where it is.)
CUDA ?= OFF
# What an environment's package is compiled in (each has its own: CMake keeps the paths of its tools); beside that of
# $(VENV) the tests of kernels.
PACKAGE_BUILD := build/package
WITH_HEADERS = export SKBUILD_BUILD_DIR="$(PACKAGE_BUILD)$(patsubst .venv%,%,$(@D))" SKBUILD_CMAKE_DEFINE="RFKERNELS_CUDA=$(CUDA);RFKERNELS_TESTS=OFF"; \
    if [ -d "$(PYTHON_HEADERS)/usr/include/$(PYTHON_NAME)" ]; then \
    export SKBUILD_CMAKE_DEFINE="$$SKBUILD_CMAKE_DEFINE;Python_INCLUDE_DIR=$(PYTHON_HEADERS)/usr/include/$(PYTHON_NAME)" CPATH="$(PYTHON_HEADERS)/usr/include"; fi;

# An environment with what builds the package. Without isolation the native build is incremental.
define make_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "rfkernels needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' \
	    || { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@command -v c++ > /dev/null || { echo "No C++ compiler found. On Debian and Ubuntu: apt-get install g++"; exit 1; }
	@$(PYTHON) -c '$(HAS_HEADERS)' || [ -d "$(PYTHON_HEADERS)/usr/include/$(PYTHON_NAME)" ] \
	    || { mkdir -p "$(PYTHON_HEADERS)" && cd "$(PYTHON_HEADERS)" && echo "Fetching Python's headers ..." \
	        && apt-get download -qq "lib$(PYTHON_NAME)-dev" > log 2>&1 && dpkg-deb -x "$$(ls lib$(PYTHON_NAME)-dev*.deb)" .; } \
	    || { echo "Python's headers are missing. On Debian and Ubuntu: apt-get install python3-dev"; exit 1; }
	@echo "Setting up $(1) ..."
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python $(PIP_INSTALL) "scikit-build-core>=0.11" "pybind11>=2.13,<4" "cmake>=3.21" "ninja>=1.10"
endef

$(VENV)/made:
	$(call make_environment,$(VENV))
	@touch $@

$(VENV)/package: $(VENV)/made $(PACKAGE_SOURCES)
	@echo "Building and installing rfkernels ..."
	@$(WITH_HEADERS) $(VENV)/bin/python $(PIP_INSTALL) --no-build-isolation ".[build,pictures]"
	@touch $@

# Each of these holds all of the one before it, so it stands for that one too.
$(VENV)/test-tools: $(VENV)/made $(PACKAGE_SOURCES)
	@echo "Building and installing rfkernels and what its tests need ..."
	@$(WITH_HEADERS) $(VENV)/bin/python $(PIP_INSTALL) --no-build-isolation ".[build,test]"
	@touch $(VENV)/package $@

$(VENV)/lint-tools: $(VENV)/made $(PACKAGE_SOURCES)
	@echo "Building and installing rfkernels, what its tests need, and the linters ..."
	@$(WITH_HEADERS) $(VENV)/bin/python $(PIP_INSTALL) --no-build-isolation ".[build,test,lint]"
	@touch $(VENV)/package $(VENV)/test-tools $@

build/demo/%.onnx: models/demo/%.safetensors $(VENV)/package
	@mkdir -p $(@D)
	@$(VENV)/bin/rfkernels build $< --output $@

demo: $(DEMO_MODELS)
	@$(VENV)/bin/rfkernels infer build/demo/yolov8n-shapes-320.onnx models/demo/shapes.jpg --output build/demo/shapes-boxes.png
	@$(VENV)/bin/rfkernels infer build/demo/yolov8n-seg-shapes-320.onnx models/demo/shapes.jpg --output build/demo/shapes-masks.png --format table
	@$(VENV)/bin/rfkernels infer build/demo/yolov8n-pose-shapes-320.onnx models/demo/shapes.jpg --output build/demo/shapes-keypoints.png --format table

test: test-native test-python

# The CPU ops under AddressSanitizer and UndefinedBehaviorSanitizer, on every instruction set of this machine; the CUDA
# kernels likewise, then, where the package was compiled, with every load and store looked at and, beside them, as fast as
# they come (*_plain).
test-native: $(VENV)/test-tools $(NATIVE_SOURCES) $(TEST_SOURCES)
	@mkdir -p build
	@[ -e $(PACKAGE_BUILD)/build.ninja ] || { rm -f $(VENV)/test-tools; $(MAKE) --no-print-directory $(VENV)/test-tools; }
	@$(VENV)/bin/cmake -S . -B build/sanitize -G Ninja "-DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja" -DCMAKE_BUILD_TYPE=Release \
	    -DCMAKE_CXX_FLAGS_RELEASE=-O0 -DRFKERNELS_SANITIZE=address,undefined -DRFKERNELS_PYTHON=OFF -DRFKERNELS_TESTS=ON -DRFKERNELS_CUDA=OFF \
	    > build/sanitize.log 2>&1 || { cat build/sanitize.log; exit 1; }
	@$(VENV)/bin/cmake --build build/sanitize
	@$(VENV)/bin/ctest --test-dir build/sanitize --output-on-failure --parallel 2
	@$(VENV)/bin/cmake -S . -B $(PACKAGE_BUILD) -DRFKERNELS_TESTS=ON > build/emulated.log 2>&1 || { cat build/emulated.log; exit 1; }
	@$(VENV)/bin/cmake --build $(PACKAGE_BUILD) --target emulated_tests
	@$(VENV)/bin/ctest --test-dir $(PACKAGE_BUILD) --output-on-failure --parallel 2 $(EMULATED_TESTS)

# The Python module is built too.
PYTHON_OF_CMAKE = -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python "-Dpybind11_DIR=$$($(VENV)/bin/python -m pybind11 --cmakedir)" \
    $(if $(wildcard $(PYTHON_HEADERS)/usr/include/$(PYTHON_NAME)),-DPython_INCLUDE_DIR=$(PYTHON_HEADERS)/usr/include/$(PYTHON_NAME))

# The kernels for GPUs: nothing of it runs here but what says that there is no GPU.
nvcc: $(VENV)/package $(NATIVE_SOURCES) $(TEST_SOURCES)
	@mkdir -p build
	@$(VENV)/bin/cmake -S . -B build/nvcc -G Ninja "-DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja" -DCMAKE_BUILD_TYPE=Release \
	    -DRFKERNELS_PYTHON=ON $(PYTHON_OF_CMAKE) -DRFKERNELS_TESTS=ON -DRFKERNELS_CUDA=ON -DRFKERNELS_VARIANTS=OFF > build/nvcc.log 2>&1 || { cat build/nvcc.log; exit 1; }
	@$(VENV)/bin/cmake --build build/nvcc --target rfkernels_cuda test_cuda_device _native > build/nvcc-build.log || { cat build/nvcc-build.log; exit 1; }
	@# What is not compiled again was told of before.
	@cat build/nvcc-build.log >> build/nvcc/ptxas.log
	@build/nvcc/test_cuda_device
	@$(VENV)/bin/python tests/csrc/check_cuda_module.py build/nvcc
	@$(VENV)/bin/python benchmarks/kernel_resources.py build/nvcc/ptxas.log
	@$(VENV)/bin/rfkernels bench kernels --ptxas build/nvcc/ptxas.log

# A file's tests share what they make (networks, compiled engines), so each file is one process's.
test-python: $(VENV)/test-tools
	$(VENV)/bin/pytest --ignore=tests/parity --ignore=tests/fuzz --numprocesses auto --maxprocesses 8 --dist loadfile

$(PARITY_VENV)/made: $(wildcard tests/parity/requirements*.txt)
	$(call make_environment,$(PARITY_VENV))
	@echo "Installing the peers (about 6 GB, a few minutes) ..."
	@$(PARITY_VENV)/bin/python $(PIP_INSTALL) -r tests/parity/requirements-torch.txt
	@$(PARITY_VENV)/bin/python $(PIP_INSTALL) -r tests/parity/requirements.txt
	@$(PARITY_VENV)/bin/python $(PIP_INSTALL) --no-deps -r tests/parity/requirements-peers.txt
	@touch $@

$(PARITY_VENV)/package: $(PARITY_VENV)/made $(PACKAGE_SOURCES)
	@$(WITH_HEADERS) $(PARITY_VENV)/bin/python $(PIP_INSTALL) --no-build-isolation ".[build,test]"
	@touch $@

parity: $(PARITY_VENV)/package
	$(PARITY_VENV)/bin/pytest tests/parity

$(FUZZ_VENV)/package: $(PACKAGE_SOURCES)
	$(call make_environment,$(FUZZ_VENV))
	@$(WITH_HEADERS) $(FUZZ_VENV)/bin/python $(PIP_INSTALL) --no-build-isolation ".[build,fuzz]"
	@touch $@

fuzz: $(FUZZ_VENV)/package
	$(FUZZ_VENV)/bin/python tests/fuzz/fuzz_checkpoint.py -max_total_time=$(FUZZ_SECONDS) -seed=$(FUZZ_SEED)
	$(FUZZ_VENV)/bin/python tests/fuzz/fuzz_images.py -max_total_time=$(FUZZ_SECONDS) -seed=$(FUZZ_SEED)

CPP_FILES := $(shell find csrc tests/csrc -name '*.cpp' -o -name '*.h' -o -name '*.cu')

lint: $(VENV)/lint-tools
	$(VENV)/bin/clang-format --dry-run -Werror $(CPP_FILES)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	cd build && ../$(VENV)/bin/mypy --config-file ../pyproject.toml -p rfkernels

format: $(VENV)/lint-tools
	$(VENV)/bin/clang-format -i $(CPP_FILES)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf build $(VENV) $(PARITY_VENV) $(FUZZ_VENV)

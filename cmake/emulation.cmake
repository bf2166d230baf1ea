# The kernels (*.cu) compiled for the host, and what runs them there: csrc/emulation, csrc/device/emulated.
#
# Three builds of the same sources, by what the whole build is configured as:
#   plain    RFKERNELS_EMULATION_HOOKS=OFF          fast; tests of kernels have it beside the hooks too (test_*_plain)
#   hooks    RFKERNELS_EMULATION_HOOKS=ON (default) every load and store of a kernel is looked at
#   asan     RFKERNELS_SANITIZE=address,undefined   what the sanitizers see; the hooks are off then
# It takes CUDA's headers (no compiler of CUDA's) and GCC or Clang on Linux.

option(RFKERNELS_EMULATION_HOOKS "Watch every load and store of emulated kernels" ON)
set(RFKERNELS_EMULATION AUTO CACHE STRING "Build the emulated device: ON, OFF, or AUTO where CUDA's headers are found")
if(RFKERNELS_SANITIZE)
  set(RFKERNELS_EMULATION_HOOKS OFF)
endif()

if(CMAKE_CUDA_COMPILER)
  get_filename_component(RFKERNELS_NVCC_REAL ${CMAKE_CUDA_COMPILER} REALPATH)
  get_filename_component(RFKERNELS_NVCC_ROOT ${RFKERNELS_NVCC_REAL}/../.. ABSOLUTE)
endif()
find_path(RFKERNELS_CUDA_HEADERS cuda_fp16.h
  HINTS ${RFKERNELS_NVCC_ROOT}/include /usr/local/cuda/include ENV CUDA_PATH PATH_SUFFIXES include)

set(RFKERNELS_HAS_EMULATION OFF)
if(RFKERNELS_EMULATION AND RFKERNELS_CUDA_HEADERS AND CMAKE_SYSTEM_NAME STREQUAL "Linux"
   AND CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  set(RFKERNELS_HAS_EMULATION ON)
elseif(RFKERNELS_EMULATION STREQUAL "ON")
  message(FATAL_ERROR "RFKERNELS_EMULATION is ON, but CUDA's headers (cuda_fp16.h) were not found, or this is not GCC or Clang on Linux")
else()
  message(STATUS "rfkernels: the emulated device is left out (it takes CUDA's headers, and GCC or Clang on Linux)")
endif()

# Compiles kernels as one object library for the emulated device; each through a file that includes it, so that the same
# .cu can be given to nvcc too. has_hooks: whether every load and store is looked at.
function(rfkernels_add_emulated_kernels name has_hooks)
  set(wrappers)
  foreach(kernel ${ARGN})
    get_filename_component(kernel_path ${kernel} ABSOLUTE)
    get_filename_component(kernel_name ${kernel} NAME_WE)
    set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/emulated/${name}/${kernel_name}.cpp)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${kernel_path}\"\n")
    list(APPEND wrappers ${wrapper})
  endforeach()
  add_library(${name} OBJECT ${wrappers})
  target_link_libraries(${name} PRIVATE rfkernels_options)
  target_include_directories(${name} SYSTEM PRIVATE ${RFKERNELS_CUDA_HEADERS})
  # The names of files stand in messages: of the repository, not of this machine.
  target_compile_options(${name} PRIVATE -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
  # "#pragma unroll" is nvcc's.
  target_compile_options(${name} PRIVATE -Wno-unknown-pragmas)
  if(has_hooks)
    # -O1 and no vectors: a lane's loads are to be counted as the kernel has them.
    target_compile_options(${name} PRIVATE -O1 -fno-tree-vectorize -fno-tree-slp-vectorize -fsanitize=thread)
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${name} PRIVATE --param=tsan-distinguish-volatile=1 --param=tsan-instrument-func-entry-exit=0)
    else()
      target_compile_options(${name} PRIVATE -mllvm -tsan-distinguish-volatile=1 -mllvm -tsan-instrument-func-entry-exit=0)
    endif()
  elseif(RFKERNELS_SANITIZE)
    target_compile_options(${name} PRIVATE -O1)
  else()
    target_compile_options(${name} PRIVATE -O2)
  endif()
endfunction()

if(RFKERNELS_HAS_EMULATION)
  file(GLOB RFKERNELS_EMULATION_SOURCES CONFIGURE_DEPENDS csrc/emulation/*.cpp csrc/device/emulated/*.cpp)
  target_sources(rfkernels_core PRIVATE ${RFKERNELS_EMULATION_SOURCES})
  # The harness is fast in every build: most of a test's time is its.
  if(RFKERNELS_SANITIZE)
    set(RFKERNELS_HARNESS_OPTIONS -O1)
  else()
    set(RFKERNELS_HARNESS_OPTIONS -O2)
  endif()
  set_source_files_properties(${RFKERNELS_EMULATION_SOURCES} PROPERTIES COMPILE_OPTIONS "${RFKERNELS_HARNESS_OPTIONS}")
  # The one source of the harness that takes CUDA's headers; as a system's, whose warnings are not ours.
  set_source_files_properties(csrc/emulation/occupancy.cpp PROPERTIES
    COMPILE_OPTIONS "${RFKERNELS_HARNESS_OPTIONS};-isystem;${RFKERNELS_CUDA_HEADERS}")
  target_compile_definitions(rfkernels_options INTERFACE RFK_HAS_EMULATION=1)
  if(RFKERNELS_EMULATION_HOOKS)
    target_compile_definitions(rfkernels_options INTERFACE RFK_EMULATION_HOOKS=1)
  endif()
  if(RFKERNELS_CUDA_SOURCES)
    rfkernels_add_emulated_kernels(rfkernels_emulated ${RFKERNELS_EMULATION_HOOKS} ${RFKERNELS_CUDA_SOURCES})
    if(RFKERNELS_TESTS AND RFKERNELS_EMULATION_HOOKS)
      rfkernels_add_emulated_kernels(rfkernels_emulated_plain OFF ${RFKERNELS_CUDA_SOURCES})
      target_sources(rfkernels_emulated_plain PRIVATE csrc/emulation/hooks.cpp)
      target_compile_options(rfkernels_emulated_plain PRIVATE -URFK_EMULATION_HOOKS)
    endif()
    target_sources(rfkernels_core PRIVATE $<TARGET_OBJECTS:rfkernels_emulated>)
  endif()
endif()

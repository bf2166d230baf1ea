# The kernels (*.cu) compiled by nvcc for GPUs, and csrc/device/cuda. The CUDA runtime is linked statically: what is built
# loads on a machine without a driver and says there that it has no CUDA device.

set(RFKERNELS_CUDA AUTO CACHE STRING "Build for CUDA: ON, OFF, or AUTO where nvcc is found")
set(RFKERNELS_CUDA_ARCHITECTURES "75-real;80-real;86-real;89-real;90-real;100-real;120" CACHE STRING
  "GPUs that kernels are compiled for; the last one as PTX too, for those to come")

set(RFKERNELS_HAS_CUDA OFF)
if(RFKERNELS_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(RFKERNELS_HAS_CUDA ON)
  elseif(RFKERNELS_CUDA STREQUAL "ON")
    message(FATAL_ERROR "RFKERNELS_CUDA is ON, but no nvcc was found")
  else()
    message(STATUS "rfkernels: no nvcc found, kernels for GPUs are left out; everything else is built")
  endif()
endif()

if(RFKERNELS_HAS_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES ${RFKERNELS_CUDA_ARCHITECTURES})
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  find_package(CUDAToolkit REQUIRED)
  add_library(rfkernels_cuda OBJECT ${RFKERNELS_CUDA_SOURCES})
  target_include_directories(rfkernels_cuda PRIVATE csrc csrc/include)
  # The arithmetic is the host's: nothing contracted, divisions and roots rounded as IEEE 754 has it.
  target_compile_options(rfkernels_cuda PRIVATE --fmad=false --prec-div=true --prec-sqrt=true -Werror=all-warnings
    -Xcompiler=-fvisibility=hidden -Xptxas=-v)
  target_sources(rfkernels_core PRIVATE $<TARGET_OBJECTS:rfkernels_cuda> csrc/device/cuda/cuda_device.cpp)
  set_source_files_properties(csrc/device/cuda/cuda_device.cpp PROPERTIES
    INCLUDE_DIRECTORIES "${CUDAToolkit_INCLUDE_DIRS}")
  target_link_libraries(rfkernels_core PUBLIC CUDA::cudart_static)
  target_compile_definitions(rfkernels_options INTERFACE RFK_HAS_CUDA=1)
endif()

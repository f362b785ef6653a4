# Every library from outside, found once. deploy/setup.sh installs them on Debian 12.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(absl CONFIG REQUIRED)
find_package(Protobuf REQUIRED)  # Debian ships no config package of it; the module gives the same target
find_package(gRPC CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
pkg_check_modules(SQLITE3 REQUIRED IMPORTED_TARGET sqlite3)  # PkgConfig::SQLITE3
pkg_check_modules(LIBPQ REQUIRED IMPORTED_TARGET libpq>=14)  # PkgConfig::LIBPQ; 14 brought pipelines
pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)  # PkgConfig::JEMALLOC
pkg_check_modules(CAIRO REQUIRED IMPORTED_TARGET cairo)  # PkgConfig::CAIRO, for pictures of the command line
find_package(CURL 7.85 REQUIRED)  # CURL::libcurl; 7.85 brought CURLOPT_PROTOCOLS_STR
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)  # PkgConfig::ZSTD
find_package(GTest CONFIG)
find_package(benchmark CONFIG QUIET)  # benchmark::benchmark, for tests/bench

# Debian's yaml-cpp 0.7 exports the plain name; later ones export the namespaced target.
if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()

if(MANTISSA_TRAINER)
  find_package(LibTorch 2.11)
  if(NOT LibTorch_FOUND)
    message(FATAL_ERROR
      "LibTorch 2.11 was not found: run deploy/setup.sh, or point CMAKE_PREFIX_PATH at an installed torch, or "
      "configure with -DMANTISSA_TRAINER=OFF to build the server and the command line alone.")
  endif()
endif()

# mantissa_use_aten_header(<target> [FOR_TEST]): compiles the target with <ATen/ATen.h> precompiled, once for all
# targets; for test programs with GoogleTest's headers besides and without optimisation, as they are compiled.
# Measured: a file that includes narrow ATen headers 5 s -> 2 s, one with ATen.h 9 s -> 2.7 s; the header itself 18 s.
option(MANTISSA_PRECOMPILE_ATEN "Precompile ATen's headers for the trainer" ON)
function(mantissa_use_aten_header target)
  if(NOT MANTISSA_PRECOMPILE_ATEN)
    return()
  endif()
  set(carrier mantissa_aten_header)
  set(headers <ATen/ATen.h>)
  if("FOR_TEST" IN_LIST ARGN)
    set(carrier mantissa_aten_test_header)
    list(APPEND headers <gmock/gmock.h> <gtest/gtest.h>)
  endif()
  if(NOT TARGET ${carrier})
    # Written only where it differs, so that configuring again compiles nothing again.
    file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/${carrier}.cc"
         CONTENT "// Carries the precompiled header of mantissa_use_aten_header.\n")
    add_library(${carrier} STATIC "${CMAKE_BINARY_DIR}/${carrier}.cc")
    target_link_libraries(${carrier} PRIVATE LibTorch::torch_cpu)
    if("FOR_TEST" IN_LIST ARGN)
      target_link_libraries(${carrier} PRIVATE GTest::gmock)
      target_compile_options(${carrier} PRIVATE -O0)
    endif()
    target_precompile_headers(${carrier} PRIVATE ${headers})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${carrier})
endfunction()

# The plug-in is compiled where it can be; a machine without nvcc builds everything else.
set(MANTISSA_HAVE_CUDA FALSE)
if(MANTISSA_TRAINER AND NOT MANTISSA_CUDA STREQUAL "OFF")
  set(why_no_cuda "")
  if(NOT TARGET LibTorch::torch_cuda)
    set(why_no_cuda "this LibTorch has no libtorch_cuda.so")
  else()
    include(CheckLanguage)
    if(NOT CMAKE_CUDA_ARCHITECTURES)
      # Machine code for A100 and H100/H200, and PTX that later devices compile for themselves.
      set(CMAKE_CUDA_ARCHITECTURES "80-real;90")
    endif()
    if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS /usr/local/cuda/bin/nvcc)
      set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
    endif()
    if(NOT CMAKE_CUDA_COMPILER)
      unset(CMAKE_CUDA_COMPILER CACHE)  # an nvcc installed since the last run is found
    endif()
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
      set(why_no_cuda "no nvcc was found (CUDACXX or PATH)")
    else()
      enable_language(CUDA)
      find_package(CUDAToolkit)
      foreach(header IN ITEMS cuda_runtime.h cublas_v2.h cusparse.h cusolverDn.h)
        find_file(MANTISSA_CUDA_${header} ${header} PATHS ${CUDAToolkit_INCLUDE_DIRS} NO_DEFAULT_PATH)
        mark_as_advanced(MANTISSA_CUDA_${header})
        if(NOT MANTISSA_CUDA_${header})
          set(why_no_cuda "the CUDA toolkit of ${CMAKE_CUDA_COMPILER} has no ${header}, which ATen's headers need")
        endif()
      endforeach()
      if(NOT CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0 OR
         NOT CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 14)
        set(why_no_cuda "nvcc is ${CMAKE_CUDA_COMPILER_VERSION}, and torch 2.11.0 is built with CUDA 13.0")
      endif()
    endif()
  endif()
  if(why_no_cuda STREQUAL "")
    set(MANTISSA_HAVE_CUDA TRUE)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc speaks C++20
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    set(CMAKE_CUDA_STANDARD 20)
    message(STATUS "CUDA plug-in: built with nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
  elseif(MANTISSA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MANTISSA_CUDA=ON, but ${why_no_cuda}.")
  else()
    message(STATUS "--------------------------------------------------------------------------------")
    message(STATUS "CUDA plug-in: SKIPPED, ${why_no_cuda}.")
    message(STATUS "Jobs will run on the CPU only. -DMANTISSA_CUDA=OFF silences this; =ON makes it an error.")
    message(STATUS "--------------------------------------------------------------------------------")
  endif()
endif()

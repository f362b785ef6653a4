# Finds the LibTorch of a PyPI torch wheel (or of a pip installation) and makes imported targets of it:
#   LibTorch::c10, LibTorch::torch_cpu, and where the wheel has CUDA: LibTorch::c10_cuda, LibTorch::torch_cuda
# Sets LibTorch_FOUND, LibTorch_VERSION, LibTorch_DIR (the folder that has include/ and lib/).
#
# The wheel's own TorchConfig.cmake insists on a CUDA toolkit, so it does not serve a CPU machine.
#
# Looked for, in this order: -DLibTorch_ROOT or $LibTorch_ROOT, $LIBTORCH, CMAKE_PREFIX_PATH,
# MANTISSA_DEPS_DIR/libtorch, a torch that the first python3 of PATH imports.

set(candidates "")
foreach(root IN ITEMS "${LibTorch_ROOT}" "$ENV{LibTorch_ROOT}" "$ENV{LIBTORCH}")
  if(root)
    list(APPEND candidates "${root}" "${root}/torch")
  endif()
endforeach()
file(TO_CMAKE_PATH "$ENV{CMAKE_PREFIX_PATH}" prefix_path_of_environment)
foreach(prefix IN LISTS CMAKE_PREFIX_PATH prefix_path_of_environment)
  # torch.utils.cmake_prefix_path is <torch>/share/cmake.
  list(APPEND candidates "${prefix}" "${prefix}/torch" "${prefix}/../..")
endforeach()
list(APPEND candidates "${MANTISSA_DEPS_DIR}/libtorch/torch")

macro(_libtorch_choose)
  foreach(candidate IN LISTS candidates)
    if(NOT LibTorch_DIR AND EXISTS "${candidate}/lib/libtorch_cpu.so" AND EXISTS "${candidate}/include/ATen/ATen.h")
      get_filename_component(LibTorch_DIR "${candidate}" REALPATH)
    endif()
  endforeach()
endmacro()

set(LibTorch_DIR "")
_libtorch_choose()
if(NOT LibTorch_DIR)
  # find_spec does not import torch, which takes seconds.
  execute_process(
    COMMAND python3 -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE candidates OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  _libtorch_choose()
endif()

set(LibTorch_VERSION "")
if(LibTorch_DIR AND EXISTS "${LibTorch_DIR}/include/torch/headeronly/version.h")
  file(STRINGS "${LibTorch_DIR}/include/torch/headeronly/version.h" lines REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE ".*MAJOR ([0-9]+).*MINOR ([0-9]+).*PATCH ([0-9]+).*" "\\1.\\2.\\3" LibTorch_VERSION "${lines}")
endif()

# Another minor version has other headers and other operators: refused, not tried.
set(wrong_version "")
if(LibTorch_DIR AND LibTorch_FIND_VERSION AND NOT LibTorch_VERSION MATCHES "^${LibTorch_FIND_VERSION}\\.")
  set(wrong_version "${LibTorch_DIR} is version '${LibTorch_VERSION}', and ${LibTorch_FIND_VERSION} is needed")
  set(LibTorch_DIR "")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch REQUIRED_VARS LibTorch_DIR REASON_FAILURE_MESSAGE "${wrong_version}")

if(LibTorch_FOUND AND NOT TARGET LibTorch::c10)
  set(includes "${LibTorch_DIR}/include" "${LibTorch_DIR}/include/torch/csrc/api/include")
  # CUDA's runtime and profiler, which libtorch_cpu.so needs, lie beside torch/ and are found by its own RPATH.
  set(beside "${LibTorch_DIR}/../nvidia/cu13/lib")

  function(_libtorch_import name file)
    add_library(LibTorch::${name} SHARED IMPORTED GLOBAL)
    set_target_properties(LibTorch::${name} PROPERTIES IMPORTED_LOCATION "${LibTorch_DIR}/lib/${file}")
    # -idirafter, not -isystem: the wheel carries old copies of google/protobuf and fmt, which must not come
    # before the system's.
    foreach(dir IN LISTS includes)
      target_compile_options(LibTorch::${name} INTERFACE
        "$<$<COMPILE_LANGUAGE:CXX>:-idirafter${dir}>" "$<$<COMPILE_LANGUAGE:CUDA>:-isystem=${dir}>")
    endforeach()
  endfunction()

  _libtorch_import(c10 libc10.so)
  _libtorch_import(torch_cpu libtorch_cpu.so)
  target_link_libraries(LibTorch::torch_cpu INTERFACE LibTorch::c10)
  if(EXISTS "${beside}")
    target_link_options(LibTorch::torch_cpu INTERFACE "-Wl,-rpath-link,${beside}")
  endif()
  if(EXISTS "${LibTorch_DIR}/lib/libtorch_cuda.so")
    _libtorch_import(c10_cuda libc10_cuda.so)
    target_link_libraries(LibTorch::c10_cuda INTERFACE LibTorch::c10)
    _libtorch_import(torch_cuda libtorch_cuda.so)
    target_link_libraries(LibTorch::torch_cuda INTERFACE LibTorch::c10_cuda LibTorch::torch_cpu)
    # The CPU set of wheels has libtorch_cuda.so but not the libraries it needs: a plug-in still links.
    target_link_options(LibTorch::torch_cuda INTERFACE "-Wl,--allow-shlib-undefined")
  endif()
endif()

# Language, warnings, sanitizers, output folders: what holds for every target of ours.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# For libraries and programs alike (not CMAKE_POSITION_INDEPENDENT_CODE, which is -fPIE for the latter), so that all
# can share one precompiled header.
add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fPIC>")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
# -g1 keeps the lines of a stack trace and halves the compile time of ATen's files against -g.
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1 -D_GLIBCXX_ASSERTIONS")

add_compile_options(
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall>" "$<$<COMPILE_LANGUAGE:CXX>:-Wextra>" "$<$<COMPILE_LANGUAGE:CXX>:-Werror>")
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety>" "$<$<COMPILE_LANGUAGE:CXX>:-Werror=thread-safety>")
endif()

# Include paths are written from the root of the repository.
include_directories("${CMAKE_SOURCE_DIR}")

# Headers are more than half of what a file costs to compile; read once for several files, a whole build takes half the
# time. The other build folders compile file by file, and so find what a file forgot to include.
option(MANTISSA_UNITY "Compile the files of a target several at a time" OFF)
if(MANTISSA_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 12 CACHE STRING "How many files are compiled at a time; 0 for all of a target's")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # Given of types in an unnamed namespace that are used outside the file given to the compiler: here, in all of them.
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>")
  endif()
endif()

# mantissa_compile_alone(<files>): files of this folder whose unnamed namespaces use a name of a neighbour's.
function(mantissa_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

if(MANTISSA_FAILPOINTS)
  add_compile_definitions(MANTISSA_FAILPOINTS=1)
endif()

if(MANTISSA_SANITIZE)
  # -O1, as the sanitizers' own documentation advises: bearable speed, and stacks still read well.
  set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1 -D_GLIBCXX_ASSERTIONS")
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${MANTISSA_SANITIZE}>"
    "$<$<COMPILE_LANGUAGE:CXX>:-fno-omit-frame-pointer>")
  add_link_options("-fsanitize=${MANTISSA_SANITIZE}")
  if(MANTISSA_SANITIZE MATCHES "undefined")
    add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-fno-sanitize-recover=undefined>")
  endif()
endif()

# Build folders share objects: paths are hashed relative to the source, and precompiled headers do not
# keep ccache from answering.
find_program(MANTISSA_CCACHE ccache)
if(MANTISSA_CCACHE AND (NOT CMAKE_CXX_COMPILER_LAUNCHER OR CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache$"))
  set(launcher env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1
      "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime" "${MANTISSA_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${launcher})
endif()

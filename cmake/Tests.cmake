# mantissa_test(NAME <program> SOURCES <files> LIBS <targets> [LABELS <labels>] [TIMEOUT <seconds>] [ARGS <args>]
#               [SHARDS <count>] [ATEN])
#   A GoogleTest program; each of its cases becomes one ctest case, found when ctest starts.
#   SHARDS: <count> ctest cases of many tests each, where LibTorch takes longer to load than most tests to run. For
#   programs none of whose tests skips itself: ctest would not say so.
#   ATEN: the files include ATen; they get its precompiled header.
# mantissa_pytest(NAME <test> SCRIPT <file.py> [LABELS <labels>] [TIMEOUT <seconds>] [DEPENDS <targets>]
#                 [NEEDS <program> <command that installs it>])
#   A pytest file, run by the venv of `deploy/setup.sh --tests`; skipped, and said so, where that or the program it
#   needs is missing.
#
# Labels in use: unit, integration, fault, api, layout, deploy, compose, slurm, exports, fuzz; tsan for programs that link
# neither gRPC nor LibTorch and are run under ThreadSanitizer too; torch, given here to programs that link a part of the trainer.
# The target tests_<label> builds the programs with that label; tests_without_torch the programs without LibTorch.

include(GoogleTest)

if(NOT TARGET GTest::gmock_main)
  message(STATUS "C++ tests: SKIPPED, GoogleTest is not installed (deploy/setup.sh --tests)")
endif()

set(MANTISSA_PYTHON "${MANTISSA_DEPS_DIR}/venv/bin/python")

function(_mantissa_label_targets target)
  foreach(label IN LISTS ARGN)
    if(NOT TARGET tests_${label})
      add_custom_target(tests_${label})
    endif()
    add_dependencies(tests_${label} ${target})
  endforeach()
endfunction()

# The tests of mantissa_test's program `name` as SHARDS ctest cases, which print the tests that fail alone.
macro(_mantissa_sharded_test name)
  math(EXPR last "${T_SHARDS} - 1")
  foreach(shard RANGE ${last})
    set(case ${name})
    if(last GREATER 0)
      math(EXPR number "${shard} + 1")
      set(case ${name}.${number}_of_${T_SHARDS})
    endif()
    add_test(NAME ${case} COMMAND ${name} ${T_ARGS} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${case} PROPERTIES LABELS "${T_LABELS}" TIMEOUT 900
      ENVIRONMENT "OMP_NUM_THREADS=1;GTEST_BRIEF=1;GTEST_TOTAL_SHARDS=${T_SHARDS};GTEST_SHARD_INDEX=${shard}")
  endforeach()
endmacro()

function(mantissa_test)
  cmake_parse_arguments(PARSE_ARGV 0 T "ATEN" "NAME;TIMEOUT;SHARDS" "SOURCES;LIBS;LABELS;ARGS")
  if(NOT TARGET GTest::gmock_main)
    return()  # said once, below
  endif()
  set(torch OFF)
  if(T_ATEN OR T_LIBS MATCHES "LibTorch::|mantissa_(kernels|amp|optim|models|data|checkpoint|studies|trainer|cuda)")
    set(torch ON)
  endif()
  if(torch AND NOT TARGET LibTorch::torch_cpu)
    return()  # a build without the trainer
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 60)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  target_link_libraries(${T_NAME} PRIVATE ${T_LIBS} GTest::gmock_main)
  if(MANTISSA_SANITIZE STREQUAL "thread")
    target_sources(${T_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests/support/tsan_suppressions.cc")
  endif()
  # GoogleTest's macros take a third less time to compile so, under sanitizers half. What is tested keeps its own.
  target_compile_options(${T_NAME} PRIVATE -O0)
  if(T_ATEN)
    mantissa_use_aten_header(${T_NAME} FOR_TEST)
  endif()
  if(torch)
    list(APPEND T_LABELS torch)
    _mantissa_label_targets(${T_NAME} ${T_LABELS})
  else()
    _mantissa_label_targets(${T_NAME} ${T_LABELS} without_torch)
  endif()
  # Tests run side by side, and OpenMP's threads wait for each other by spinning: one each, unless a test asks for more.
  set(environment)
  if(torch)
    set(environment ENVIRONMENT OMP_NUM_THREADS=1)
  endif()
  if(T_SHARDS)
    _mantissa_sharded_test(${T_NAME})
    return()
  endif()
  gtest_discover_tests(${T_NAME}
    DISCOVERY_MODE PRE_TEST
    DISCOVERY_TIMEOUT 60
    EXTRA_ARGS ${T_ARGS}
    WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}"
    TEST_PREFIX "${T_NAME}."
    TEST_LIST ${T_NAME}_cases
    PROPERTIES TIMEOUT ${T_TIMEOUT} ${environment})
  # gtest_discover_tests takes apart a property that is a list, so labels are set after it, when ctest starts.
  set(labelling "${CMAKE_CURRENT_BINARY_DIR}/${T_NAME}_labels.cmake")
  file(WRITE "${labelling}"
    "foreach(case IN LISTS ${T_NAME}_cases)\n  set_tests_properties(\"\${case}\" PROPERTIES LABELS \"${T_LABELS}\")\nendforeach()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${labelling}")
endfunction()

function(mantissa_pytest)
  cmake_parse_arguments(PARSE_ARGV 0 T "" "NAME;SCRIPT;TIMEOUT" "LABELS;DEPENDS;NEEDS")
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS integration)
  endif()
  get_filename_component(script "${T_SCRIPT}" ABSOLUTE)
  set(in_venv sh "${CMAKE_SOURCE_DIR}/cmake/in_test_venv.sh")
  if(T_NEEDS)
    list(APPEND in_venv --needs ${T_NEEDS})
  endif()
  add_test(NAME ${T_NAME}
    COMMAND ${in_venv} "${MANTISSA_PYTHON}" -m pytest -q -x -p no:cacheprovider "${script}"
    WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
  set_tests_properties(${T_NAME} PROPERTIES
    LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT} SKIP_RETURN_CODE 77
    # Whole systems, which wait for each other: two at once on two cores only wait longer.
    PROCESSORS 2
    ENVIRONMENT "MANTISSA_BIN_DIR=${CMAKE_BINARY_DIR}/bin;MANTISSA_SOURCE_DIR=${CMAKE_SOURCE_DIR};MANTISSA_BUILD_DIR=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1")
  foreach(label IN LISTS T_LABELS)
    if(NOT TARGET tests_${label})
      add_custom_target(tests_${label})
    endif()
    if(T_DEPENDS)
      add_dependencies(tests_${label} ${T_DEPENDS})
    endif()
  endforeach()
endfunction()

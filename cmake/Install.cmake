# cmake --install build/release --prefix P: a tree that works wherever it lies.
#
#   P/bin/                       the programs; mantissa-trainer is a link
#   P/lib/mantissa/              the trainer, the CUDA plug-in beside it, and libtorch: a folder, or a link to one
#   P/lib/systemd, sysusers.d    units that start the programs of P
#   P/share/mantissa/            example jobs, dashboards, Prometheus's configuration, runbooks
#   P/share/man, share/doc       pages made from the programs' own help
#
# Components, for --component: server, worker, client; libtorch copies what the trainer loads (0.5 GB, with CUDA's wheels
# 3.8 GB) into P, which otherwise gets a link to where the build found it.

set(mantissa_private lib/mantissa)  # what only our programs open

# mantissa_man_page(<program> <component> <section> <name line>): made when it is installed, of the program that is.
find_program(MANTISSA_HELP2MAN help2man)
if(NOT MANTISSA_HELP2MAN)
  message(STATUS "Manual pages: SKIPPED, help2man is not installed (deploy/setup.sh)")
endif()
function(mantissa_man_page program component section name)
  if(NOT MANTISSA_HELP2MAN)
    return()
  endif()
  set(page "${CMAKE_BINARY_DIR}/man/${program}.${section}")
  install(CODE "
    file(MAKE_DIRECTORY \"${CMAKE_BINARY_DIR}/man\")
    execute_process(
      COMMAND \"${MANTISSA_HELP2MAN}\" --no-info --section=${section} \"--name=${name}\" --version-string=${PROJECT_VERSION}
              \"--output=${page}\" \"$<TARGET_FILE:${program}>\"
      COMMAND_ERROR_IS_FATAL ANY)"
    COMPONENT ${component})
  install(FILES "${page}" DESTINATION share/man/man${section} COMPONENT ${component})
endfunction()

# mantissa_unit(<file> <component> <folder>): with the prefix that is installed to, known only then.
function(mantissa_unit file component folder)
  install(CODE "
    set(prefix \"\${CMAKE_INSTALL_PREFIX}\")
    configure_file(\"${CMAKE_SOURCE_DIR}/deploy/systemd/${file}.in\" \"${CMAKE_BINARY_DIR}/systemd/${file}\" @ONLY)"
    COMPONENT ${component})
  install(FILES "${CMAKE_BINARY_DIR}/systemd/${file}" DESTINATION ${folder} COMPONENT ${component})
endfunction()

function(mantissa_documents component)
  install(FILES README.md CHANGELOG.md LICENSE DESTINATION share/doc/mantissa-${component} COMPONENT ${component})
endfunction()

if(TARGET mantissa-server)
  install(TARGETS mantissa-server RUNTIME DESTINATION bin COMPONENT server)
  mantissa_man_page(mantissa-server server 8 "keeps training jobs and gives them to workers")
  mantissa_unit(mantissa-server.service server lib/systemd/system)
  mantissa_unit(mantissa-server.conf server lib/sysusers.d)
  mantissa_documents(server)
  install(DIRECTORY deploy/prometheus deploy/grafana deploy/runbooks DESTINATION share/mantissa COMPONENT server
          PATTERN "*.py" EXCLUDE PATTERN "__pycache__" EXCLUDE)
endif()

if(TARGET mantissa)
  install(TARGETS mantissa RUNTIME DESTINATION bin COMPONENT client)
  mantissa_man_page(mantissa client 1 "submit and watch mixed-precision training jobs")
  mantissa_documents(client)
  install(DIRECTORY client/examples DESTINATION share/mantissa COMPONENT client USE_SOURCE_PERMISSIONS
          PATTERN "*.py" EXCLUDE PATTERN "__pycache__" EXCLUDE)
endif()

if(TARGET mantissa-worker AND TARGET mantissa-trainer)
  install(TARGETS mantissa-worker RUNTIME DESTINATION bin COMPONENT worker)
  mantissa_man_page(mantissa-worker worker 8 "runs the jobs of a mantissa-server on this machine's devices")
  mantissa_unit(mantissa-worker.service worker lib/systemd/system)
  mantissa_unit(mantissa-worker.conf worker lib/sysusers.d)
  mantissa_documents(worker)

  # The trainer finds the plug-in beside itself, and both find LibTorch below them; a link in bin changes neither.
  install(TARGETS mantissa-trainer RUNTIME DESTINATION ${mantissa_private} COMPONENT worker)
  set(opened_by_torch mantissa-trainer)
  if(TARGET mantissa_cuda)
    install(TARGETS mantissa_cuda LIBRARY DESTINATION ${mantissa_private} COMPONENT worker)
    list(APPEND opened_by_torch mantissa_cuda)
  endif()
  set_target_properties(${opened_by_torch} PROPERTIES INSTALL_RPATH "\$ORIGIN/libtorch/torch/lib")
  set(trainer_link "${CMAKE_BINARY_DIR}/mantissa-trainer")
  file(CREATE_LINK ../${mantissa_private}/mantissa-trainer "${trainer_link}" SYMBOLIC)
  install(FILES "${trainer_link}" DESTINATION bin COMPONENT worker)

  # torch/ and nvidia/ lie side by side in a wheel's folder, and their libraries find each other by that.
  get_filename_component(libtorch "${LibTorch_DIR}" DIRECTORY)
  install(CODE "
    set(beside \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${mantissa_private}/libtorch\")
    if(NOT IS_DIRECTORY \"\${beside}\" AND \"\$ENV{DESTDIR}\" STREQUAL \"\")
      message(STATUS \"Linking: \${beside} -> ${libtorch}\")
      file(CREATE_LINK \"${libtorch}\" \"\${beside}\" SYMBOLIC)
    endif()"
    COMPONENT worker)
  install(CODE "
    set(beside \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${mantissa_private}/libtorch\")
    if(IS_SYMLINK \"\${beside}\")
      file(REMOVE \"\${beside}\")
    endif()"
    COMPONENT libtorch EXCLUDE_FROM_ALL)
  # Only what is loaded: of the CPU's wheels 458 MB, where torch/lib alone has 923.
  set(loaded libtorch_cpu.so libc10.so libgomp.so.1)
  if(EXISTS "${libtorch}/nvidia/cudnn")
    list(APPEND loaded libtorch_cuda.so libc10_cuda.so libtorch_cuda_linalg.so libtorch_nvshmem.so libcaffe2_nvrtc.so)
    install(DIRECTORY "${libtorch}/nvidia" DESTINATION ${mantissa_private}/libtorch COMPONENT libtorch EXCLUDE_FROM_ALL
            FILES_MATCHING PATTERN "*.so*" PATTERN "include" EXCLUDE)
  else()
    foreach(library IN ITEMS libcudart.so.13 libcupti.so.13)
      install(FILES "${libtorch}/nvidia/cu13/lib/${library}" DESTINATION ${mantissa_private}/libtorch/nvidia/cu13/lib
              COMPONENT libtorch EXCLUDE_FROM_ALL)
    endforeach()
  endif()
  foreach(library IN LISTS loaded)
    install(FILES "${LibTorch_DIR}/lib/${library}" DESTINATION ${mantissa_private}/libtorch/torch/lib
            COMPONENT libtorch EXCLUDE_FROM_ALL)
  endforeach()
  # Each wheel's version and licence, which travel with what was taken of it.
  file(GLOB wheel_records "${libtorch}/torch-*.dist-info" "${libtorch}/nvidia_*.dist-info")
  install(DIRECTORY ${wheel_records} DESTINATION ${mantissa_private}/libtorch COMPONENT libtorch EXCLUDE_FROM_ALL
          FILES_MATCHING PATTERN "*LICENSE*" PATTERN "*icense*")
endif()

include(Package)

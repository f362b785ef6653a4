# cpack --config build/release/CPackConfig.cmake: Debian packages of the components, in build/release/packages.
# With -D CPACK_COMPONENTS_ALL=libtorch one of the libraries that the trainer loads.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "Mantissa")
set(CPACK_PACKAGE_CONTACT "Mantissa maintainers <maintainers@mantissa.example>")
set(CPACK_PACKAGE_DIRECTORY "${CMAKE_BINARY_DIR}/packages")
set(CPACK_INSTALL_PREFIX /usr)
# Units are told the prefix as it is installed, which is /usr only so.
set(CPACK_SET_DESTDIR ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL server worker client)
set(CPACK_COMPONENTS_IGNORE_GROUPS ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_COMPRESSION_TYPE zstd)
# What our programs load, by the packages that have it on the machine that builds.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS "${LibTorch_DIR}/lib")

set(CPACK_DEBIAN_SERVER_PACKAGE_NAME mantissa-server)
set(CPACK_COMPONENT_SERVER_DESCRIPTION "Mixed-precision training jobs: the server
 Keeps training jobs durably, gives them to workers, and shows what they do.")
set(CPACK_DEBIAN_SERVER_PACKAGE_RECOMMENDS mantissa)
set(CPACK_DEBIAN_WORKER_PACKAGE_NAME mantissa-worker)
set(CPACK_COMPONENT_WORKER_DESCRIPTION "Mixed-precision training jobs: the worker
 Runs jobs of a mantissa-server on this machine's devices. It loads LibTorch 2.11 from /usr/lib/mantissa/libtorch: the
 package mantissa-libtorch, or a link to the folder that holds an installed torch.")
set(CPACK_DEBIAN_WORKER_PACKAGE_RECOMMENDS mantissa-libtorch)
set(CPACK_DEBIAN_CLIENT_PACKAGE_NAME mantissa)
set(CPACK_COMPONENT_CLIENT_DESCRIPTION "Mixed-precision training jobs: the command line
 Submits jobs to a mantissa-server and watches them.")
set(CPACK_DEBIAN_LIBTORCH_PACKAGE_NAME mantissa-libtorch)
set(CPACK_COMPONENT_LIBTORCH_DESCRIPTION "Mixed-precision training jobs: LibTorch
 The libraries of PyTorch 2.11 that mantissa-worker loads.")
set(CPACK_DEBIAN_LIBTORCH_PACKAGE_SHLIBDEPS OFF)
foreach(component IN ITEMS server worker)
  string(TOUPPER ${component} upper)
  set(scripts "${CMAKE_BINARY_DIR}/debian/${component}")
  set(CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "")
  foreach(script IN ITEMS postinst prerm postrm)
    set(service mantissa-${component})
    configure_file("${CMAKE_SOURCE_DIR}/deploy/debian/${script}.in" "${scripts}/${script}" @ONLY
                   FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
    list(APPEND CPACK_DEBIAN_${upper}_PACKAGE_CONTROL_EXTRA "${scripts}/${script}")
  endforeach()
endforeach()
include(CPack)

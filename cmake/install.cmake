include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(headgate_cmake_dir ${CMAKE_INSTALL_DATADIR}/cmake/headgate)
install(TARGETS headgate_headers EXPORT headgateTargets FILE_SET HEADERS)
install(EXPORT headgateTargets NAMESPACE headgate:: DESTINATION ${headgate_cmake_dir})
if(HEADGATE_MODELS)
  install(TARGETS headgate_models EXPORT headgateModelsTargets)
  install(EXPORT headgateModelsTargets NAMESPACE headgate:: DESTINATION ${headgate_cmake_dir})
endif()

configure_package_config_file(cmake/headgateConfig.cmake.in headgateConfig.cmake
                              INSTALL_DESTINATION ${headgate_cmake_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(headgateConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/headgateConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/headgateConfigVersion.cmake
              cmake/system_libraries.cmake
        DESTINATION ${headgate_cmake_dir})

# The prefix follows the .pc file, so that `cmake --install --prefix` and a moved folder work.
foreach(name IN ITEMS headgate headgate-models)
  configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
endforeach()

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/headgate)
if(TARGET headgate)
  install(TARGETS headgate)
  # The installed program finds the model from its own path.
  install(DIRECTORY examples/models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/headgate/models)
  install(DIRECTORY examples/cli/schema DESTINATION ${CMAKE_INSTALL_DATADIR}/headgate) # of what --json prints
  get_property(manual GLOBAL PROPERTY headgate_manual)
  if(manual)
    install(DIRECTORY ${manual}/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
    install(FILES ${manual}/headgate DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${manual}/_headgate DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  endif()
endif()

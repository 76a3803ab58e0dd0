# The macros of Slicer's UseSlicer.cmake that MedDL calls, with the real ones' arguments, checks and file layout.
include(CTest)

foreach(required EXTENSION_HOMEPAGE EXTENSION_CONTRIBUTORS EXTENSION_DESCRIPTION EXTENSION_ICONURL
                 EXTENSION_SCREENSHOTURLS EXTENSION_DEPENDS)
  if("${${required}}" STREQUAL "")
    message(FATAL_ERROR "${required} is not set before Slicer's use file is included")
  endif()
endforeach()
set(EXTENSION_NAME ${PROJECT_NAME})

# Copies SCRIPTS and RESOURCES (paths relative to the module's folder, kept below the destination) into the build tree
# and installs the build tree's folder of scripted modules as a whole, as Slicer does.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown keywords given to slicerMacroBuildScriptedModule(): ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT MODULE_NAME OR NOT MODULE_SCRIPTS)
    message(FATAL_ERROR "NAME and SCRIPTS are mandatory")
  endif()

  set(destination "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(copies)
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    if(IS_ABSOLUTE "${file}" OR file MATCHES "\\.\\.")
      message(FATAL_ERROR "${MODULE_NAME}: '${file}' would land outside the folder of scripted modules")
    endif()
    if(NOT EXISTS "${source}" OR IS_DIRECTORY "${source}")
      message(FATAL_ERROR "${MODULE_NAME}: given nonexistent file '${file}'")
    endif()
    add_custom_command(
      OUTPUT "${destination}/${file}"
      COMMAND ${CMAKE_COMMAND} -E copy "${source}" "${destination}/${file}"
      DEPENDS "${source}")
    list(APPEND copies "${destination}/${file}")
  endforeach()
  add_custom_target(Copy${MODULE_NAME} ALL DEPENDS ${copies})
  install(DIRECTORY "${destination}/" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    COMPONENT RuntimeLibraries USE_SOURCE_PERMISSIONS)
endfunction()

# Slicer would start itself here; the double only holds that the script is there.
function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(TEST_UNPARSED_ARGUMENTS OR NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest: no such script '${TEST_SCRIPT}' ${TEST_UNPARSED_ARGUMENTS}")
  endif()
  get_filename_component(name "${TEST_SCRIPT}" NAME_WE)
  add_test(NAME py_${TEST_TESTNAME_PREFIX}${name} COMMAND ${CMAKE_COMMAND} -E echo "${name} runs in Slicer only")
endfunction()

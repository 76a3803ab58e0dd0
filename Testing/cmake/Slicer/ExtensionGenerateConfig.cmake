# Slicer writes <Extension>Config.cmake into the build tree here, for extensions that depend on this one.
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}Config.cmake" "set(${EXTENSION_NAME}_SOURCE_DIR \"${CMAKE_SOURCE_DIR}\")\n")

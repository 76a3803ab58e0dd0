# Slicer writes the description file of the package here; the test reads the metadata back from it.
string(CONCAT description
  "extensionname ${EXTENSION_NAME}\n"
  "homepage ${EXTENSION_HOMEPAGE}\n"
  "category ${EXTENSION_CATEGORY}\n"
  "contributors ${EXTENSION_CONTRIBUTORS}\n"
  "description ${EXTENSION_DESCRIPTION}\n"
  "iconurl ${EXTENSION_ICONURL}\n"
  "screenshoturls ${EXTENSION_SCREENSHOTURLS}\n"
  "depends ${EXTENSION_DEPENDS}\n")
file(WRITE "${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext" "${description}")
set(CPACK_PACKAGE_NAME ${EXTENSION_NAME})
set(CPACK_GENERATOR TGZ)
include(CPack)

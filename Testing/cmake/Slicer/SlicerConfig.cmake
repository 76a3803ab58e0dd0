# A test double of the package configuration that a real Slicer build tree offers to extensions: enough to configure,
# build and install MedDL where there is no Slicer, and to fail where the real macros would fail.
#   cmake -S <MedDL> -B <build> -DSlicer_DIR=<this folder>
set(Slicer_VERSION 5.12.3)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/ExtensionGenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
# The layout of a real Slicer 5.12 on Linux.
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")

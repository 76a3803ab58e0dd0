"""`slicer.parameterNodeWrapper`."""

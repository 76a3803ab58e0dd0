"""The application around the scene: `slicer.app`, `slicer.modules`, files and folders."""

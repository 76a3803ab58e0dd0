"""Running a network on images that differ from one image in a box each, layer by layer only where something changed."""

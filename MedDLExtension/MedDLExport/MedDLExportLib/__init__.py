"""Parts of the panel MedDL Export."""

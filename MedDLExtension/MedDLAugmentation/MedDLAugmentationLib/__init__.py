"""Parts of the panel MedDL Augmentation."""

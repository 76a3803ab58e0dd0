"""Parts of the MedDL Saliency panel."""

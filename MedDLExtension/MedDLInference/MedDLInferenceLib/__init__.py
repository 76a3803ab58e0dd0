"""Parts of the panel MedDL Inference: its parameters, its sections, its sample data and its self-test."""

"""Parts of the panel MedDL Setup: what it does without a panel, and its self-test."""

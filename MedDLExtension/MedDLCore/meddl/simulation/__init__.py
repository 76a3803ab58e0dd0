"""Simulated acquisitions: what a scanner with less time, dose or field would have recorded of an image.

Importing this package needs numpy only.
"""

"""MedDL core: deep learning for medical images, without Slicer.

Layers, lowest first: ``errors``, ``volume``, ``jobs``, ``models``, ``inference``, ``cli``. A package imports only what
stands before it. Nothing here imports slicer, qt, ctk or vtk; torch, monai and SimpleITK are imported on first use.
"""

from __future__ import annotations

__version__ = "0.1.0"

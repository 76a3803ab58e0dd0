"""Bridge between MRML scenes and the MedDL core: nodes <-> values, jobs on the Qt event loop, shared panel parts.

Imports only ``slicer``, ``vtk``, ``qt``, ``numpy`` and ``meddl``; nothing here imports torch, monai or SimpleITK. This
is the only place that knows Slicer's ``(K, J, I)`` array order: everything it hands on is ``(C, I, J, K)`` with an
affine from voxel index to RAS millimeters.

Rooms: ``nodes`` (volumes), ``segmentation``, ``table`` and ``provenance`` (results), ``study`` (subject hierarchy),
``pump`` (jobs), ``packages`` and ``health`` (what is there), ``job_panel`` and ``model_selector`` (parts of panels).
"""

from __future__ import annotations

"""Bridge between MRML scenes and the MedDL core: nodes <-> values, jobs on the Qt event loop, shared panel parts.

Imports only ``slicer``, ``vtk``, ``qt``, ``numpy`` and ``meddl``; nothing here imports torch, monai or SimpleITK. This
is the only place that knows Slicer's ``(K, J, I)`` array order: everything it hands on is ``(C, I, J, K)`` with an
affine from voxel index to RAS millimeters.

Rooms: ``nodes`` (volumes), ``segmentation``, ``table`` and ``provenance`` (results), ``study`` (subject hierarchy),
``segmentation_run`` (from nodes to a job and back), ``pump`` (jobs on the event loop), ``packages`` and ``health``
(what is installed and found), ``job_panel`` and ``model_selector`` (parts of panels), ``known_model`` (self-tests).
"""

from __future__ import annotations

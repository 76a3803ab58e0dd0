"""Bridge between MRML scenes and the MedDL core: nodes <-> values, jobs on the Qt event loop, shared panel parts.

Imports only ``slicer``, ``vtk``, ``qt``, ``numpy`` and ``meddl``; nothing here imports torch, monai or SimpleITK. This
is the only place that knows Slicer's ``(K, J, I)`` array order: everything it hands on is ``(C, I, J, K)`` with an
affine from voxel index to RAS millimeters.

Rooms:

- ``nodes`` (volumes), ``sequences`` (frames), ``study`` (subject hierarchy);
- ``runs`` (from nodes to a job and back), ``evaluation_run``, ``batch_run``; ``frames_task``, ``evaluation_task`` and
  ``download_task`` run in the worker;
- ``segmentation``, ``classification``, ``boxes``, ``landmarks``, ``reconstruction`` (results), ``maps``, ``colors``,
  ``table``, ``view_text`` and ``provenance`` (what goes with them), ``scene_guard`` (all or nothing);
- ``model_choices``, ``model_selector``, ``model_section``, ``input_channels``, ``input_section``, ``advice``,
  ``consent``, ``results``, ``table_widget``, ``plot_layout``, ``job_panel``, ``apply_section`` (parts of panels),
  ``panel`` (how they follow the scene);
- ``export_cases``, ``export_labels``, ``export_suggestions`` (cases of the scene), ``export_storage`` (kept with it),
  ``export_work`` and ``export_run`` (an export, case by case), ``export_plots``, ``export_thumbnails`` and
  ``export_views`` (how cases are shown), ``thumbnails`` and ``export_task`` (run in the worker, too);
- ``explanation_target`` and ``explanation_methods`` (what is asked), ``explanation_run`` (from nodes to a job and
  back), ``explanation_maps`` and ``explanation_tables`` (its results), ``explanation_views`` (how they are shown),
  ``explanation_report``;
- ``synthesis_models`` (generators one can choose), ``synthesis_training`` and ``synthesis_plot`` (how a training goes),
  ``synthesis_run`` (images and lesions: from nodes to a job and back), ``synthesis_judgement``, ``synthesis_runner``
  (work that takes hours);
- ``pump`` (jobs on the event loop), ``packages`` and ``health`` (what is installed and found), ``known_model``
  and ``self_testing`` (self-tests).
"""

from __future__ import annotations

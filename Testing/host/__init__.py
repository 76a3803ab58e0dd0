"""A small Slicer application for machines without Slicer.

Real MRML (`slicer-core`), real `slicer.util`, and a faithful stand-in for what is compiled into the Slicer
application: `qt`, `ctk`, the MRML widgets, scripted modules, parameter nodes and `slicer.app`. It answers as a real
Slicer answered our probes (`host/probe`), raises on anything Slicer would not have, and offers nothing of its own.

    from host import start, load_module
    slicer = start()
    load_module("MedDLExtension/MedDLInference/MedDLInference.py")
    widget = slicer.util.getModuleWidget("MedDLInference")
    widget.parent.grab().save("panel.png")

The same self-tests run here and in Slicer: `python -m host --testing --no-main-window --python-script FILE`.
"""

from __future__ import annotations

from .startup import find_modules, load_module, start

__all__ = ["find_modules", "load_module", "start"]

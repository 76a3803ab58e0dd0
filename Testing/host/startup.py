"""Starts the host: makes `import slicer, qt, ctk` answer as inside Slicer, once per process."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from types import ModuleType

from . import ctk, pythonqt

_LOGGING_FORMAT = "%(levelname)s: %(message)s"


def start(*, testing: bool = True, startup_completed: bool = True) -> ModuleType:
    """Starts the application if it is not running and returns `slicer`.

    Args:
        testing: what `slicer.app.testingEnabled()` answers, as Slicer's `--testing` does.
        startup_completed: announce that startup is over; the command line does so itself, after loading modules.
    """
    import slicer

    if hasattr(slicer, "app"):
        slicer.app.commandOptions().isTestingEnabled = testing
        return slicer
    pythonqt.install()
    ctk.install()
    slicer.util = importlib.import_module("slicer.util")
    slicer.mrmlScene = _make_scene(slicer)
    slicer.selfTests = {}
    _make_application(slicer, testing)
    _put_in(slicer, "i18n", "host.i18n")
    _put_in(slicer, "packaging", "host.package_manager")
    _put_in(slicer, "ScriptedLoadableModule", "host.scripted_module")
    _put_in(slicer, "parameterNodeWrapper", "host.parameter_node")
    sys.modules["SampleData"] = importlib.import_module("host.sample_data")
    if startup_completed:
        slicer.app.startupCompleted.emit()
    return slicer


def load_module(path: Path | str) -> object:
    """Loads a scripted module: imports its file, makes `X` and returns the module object (`slicer.modules.x`).

    The panel is made by `slicer.util.getModuleWidget(name)`, the self-test is `slicer.selfTests[name]`.
    """
    import qt
    import slicer

    manager = slicer.app.moduleManager().factoryManager()
    name = Path(path).stem
    manager.registerModule(qt.QFileInfo(str(path)))
    if not manager.loadModules([name]):
        raise RuntimeError(f"The module {path} could not be loaded")
    return manager.loadedModule(name)


def find_modules(folder: Path) -> list[Path]:
    """The scripted modules in a folder: files that define a class of their own name from ScriptedLoadableModule."""
    files = sorted(folder.glob("*.py"))
    return [file for file in files if f"class {file.stem}(ScriptedLoadableModule)" in file.read_text(errors="ignore")]


def _make_application(slicer: ModuleType, testing: bool) -> None:
    from . import qmrml
    from .application import application, core_modules, scripted_modules, subject_hierarchy

    qmrml.install()
    slicer.qSlicerScriptedLoadableModule = scripted_modules.qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = scripted_modules.qSlicerScriptedLoadableModuleWidget
    options = application.qSlicerCommandOptions()
    options.isTestingEnabled = testing
    options.runPythonAndExit = testing
    slicer.app = application.qSlicerApplication(options)
    logic = slicer.app.applicationLogic()
    logic.SetHomeDirectory(slicer.app.slicerHome)
    logic.SetMRMLScene(slicer.mrmlScene)
    for module in core_modules.install(slicer.mrmlScene, logic):
        slicer.app.moduleManager().factoryManager()._add(module.name, module)
    subject_hierarchy.follow(slicer.mrmlScene)
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format=_LOGGING_FORMAT)


def _make_scene(slicer: ModuleType) -> object:
    """The scene, with the cache in which it unpacks scene bundles (.mrb)."""
    from .application import folders

    scene = slicer.vtkMRMLScene()
    cache = slicer.vtkCacheManager()
    cache.SetMRMLScene(scene)
    cache.SetRemoteCacheDirectory(str(folders.root() / "cache"))
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(manager)
    return scene


def _put_in(slicer: ModuleType, name: str, source: str) -> None:
    """Makes `slicer.<name>` importable, with our module in its place."""
    module = importlib.import_module(source)
    sys.modules[f"slicer.{name}"] = module
    setattr(slicer, name, module)

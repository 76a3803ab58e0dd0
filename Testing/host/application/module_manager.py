"""`slicer.app.moduleManager()` and its factory manager: which modules are there, and loading scripted ones."""

from __future__ import annotations

from pathlib import Path

from ..pythonqt.binding import QtCore
from ..pythonqt.native import native
from . import scripted_modules


@native
class qSlicerModuleFactoryManager(QtCore.QObject):
    """Registers module files and loads them."""

    modulesLoaded = QtCore.Signal("QStringList")
    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleUnloaded = QtCore.Signal(str)
    _private = ("_files", "_loaded")

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, Path] = {}
        self._loaded: dict[str, object] = {}

    def registerModule(self, file: QtCore.QFileInfo) -> None:
        path = Path(file.absoluteFilePath())
        self._files[path.stem] = path

    def isRegistered(self, name: str) -> bool:
        return name in self._files or name in self._loaded

    def registeredModuleNames(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self._loaded, *self._files]))

    def isLoaded(self, name: str) -> bool:
        return name in self._loaded

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._loaded)

    def loadedModule(self, name: str) -> object | None:
        return self._loaded.get(name)

    moduleInstance = loadedModule

    def loadModules(self, names: list[str] | None = None) -> bool | int:
        """Loads registered modules; an error in a module is not hidden, as it would be in Slicer's log."""
        wanted = [n for n in (self._files if names is None else names) if n not in self._loaded]
        for name in wanted:
            if name not in self._files:
                return False
            self._add(name, scripted_modules.instantiate(self._files[name]))
        self.modulesLoaded.emit(wanted)
        return len(self._loaded) if names is None else True

    def _add(self, name: str, module: object) -> None:
        self._loaded[name] = module
        self.moduleLoaded.emit(name)

    def unloadModules(self) -> None:
        for name in reversed(list(self._loaded)):
            self.moduleAboutToBeUnloaded.emit(name)
            del self._loaded[name]
            self.moduleUnloaded.emit(name)


@native
class qSlicerModuleManager(QtCore.QObject):
    """The modules of the application by name."""

    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    _private = ("_factory",)

    def __init__(self) -> None:
        super().__init__()
        self._factory = qSlicerModuleFactoryManager()
        self._factory.connect("moduleLoaded(QString)", lambda name: self.moduleLoaded.emit(name))
        self._factory.connect("moduleAboutToBeUnloaded(QString)", lambda name: self.moduleAboutToBeUnloaded.emit(name))

    def factoryManager(self) -> qSlicerModuleFactoryManager:
        return self._factory

    def modulesNames(self) -> tuple[str, ...]:
        return self._factory.loadedModuleNames()

    def module(self, name: str) -> object | None:
        return self._factory.loadedModule(name)

"""`slicer.app`: the application object, with the answers of a Slicer that was started without a main window."""

from __future__ import annotations

import logging
import os
import platform
from importlib.metadata import version
from pathlib import Path

import slicer

from ..pythonqt.binding import QtCore, QtGui, QtWidgets
from ..pythonqt.native import native, stored
from . import folders
from .io_manager import qSlicerIOManager
from .module_manager import qSlicerModuleManager

_log = logging.getLogger(__name__)
_VERSION = version("slicer-core").split(".")
_ENVIRONMENT = QtCore.QProcessEnvironment.systemEnvironment()


def _constant(kind: type, value: object) -> QtCore.Property:
    return QtCore.Property(kind, lambda self: value)


def _folder(name: str) -> QtCore.Property:
    return QtCore.Property(str, lambda self: str(folders.root() / name))


@native
class qSlicerCommandOptions(QtCore.QObject):
    """What the command line asked for."""

    noMainWindow = stored("noMainWindow", bool, True)
    isTestingEnabled = stored("isTestingEnabled", bool, False)
    runPythonAndExit = stored("runPythonAndExit", bool, False)
    noSplash = stored("noSplash", bool, True)
    verbose = stored("verbose", bool, False)


@native
class qSlicerApplication(QtWidgets.QApplication):
    """One per process."""

    startupCompleted = QtCore.Signal()
    renderPaused = QtCore.Signal(bool)
    mrmlSceneChanged = QtCore.Signal(object)
    usageEventLogged = QtCore.Signal(str, str)
    _signals = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}
    _private = ("_options", "_logic", "_modules", "_io", "_settings")

    def __init__(self, options: qSlicerCommandOptions) -> None:
        QtCore.qInstallMessageHandler(_report)
        super().__init__(["Slicer"])
        self._options = options
        self.applicationName = "Slicer"
        self.organizationName = "slicer.org"
        self.setQuitOnLastWindowClosed(False)
        settings = folders.root() / "settings"
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, scope, str(settings))
        self._settings = QtCore.QSettings()
        self._settings.setValue("Developer/SelfTestDisplayMessageDelay", 100)
        self._logic = slicer.vtkSlicerApplicationLogic()
        self._modules = qSlicerModuleManager()
        self._io = qSlicerIOManager()
        use_light_style(self)

    majorVersion = _constant(int, int(_VERSION[0]))
    minorVersion = _constant(int, int(_VERSION[1]))
    revision = _constant(str, _VERSION[2])
    applicationVersion = _constant(str, f"{_VERSION[0]}.{_VERSION[1]}.0-host")
    mainApplicationName = _constant(str, "Slicer")
    releaseType = _constant(str, "Preview")
    isInstalled = _constant(bool, True)
    isCustomMainApplication = _constant(bool, False)
    documentationBaseUrl = _constant(str, "https://slicer.readthedocs.io/en/latest/")
    os = _constant(str, {"Linux": "linux", "Darwin": "macosx", "Windows": "win"}.get(platform.system(), "linux"))
    arch = _constant(str, platform.machine().lower())
    platform = QtCore.Property(str, lambda self: f"{self.os}-{self.arch}")
    slicerHome = _folder("home")
    slicerSharePath = _constant(str, f"share/Slicer-{_VERSION[0]}.{_VERSION[1]}")
    temporaryPath = _folder("temporary")
    cachePath = _folder("cache")
    defaultScenePath = _folder("documents")
    extensionsInstallPath = _folder("extensions")
    startupWorkingPath = _constant(str, str(Path.cwd()))
    launcherExecutableFilePath = QtCore.Property(str, lambda self: str(folders.root() / "home" / "Slicer"))
    slicerUserSettingsFilePath = QtCore.Property(str, lambda self: self._settings.fileName())
    slicerRevisionUserSettingsFilePath = QtCore.Property(str, lambda self: self._settings.fileName())

    def testingEnabled(self) -> bool:
        return self._options.isTestingEnabled

    def commandOptions(self) -> qSlicerCommandOptions:
        return self._options

    def layoutManager(self) -> None:
        return None

    def pythonConsole(self) -> None:
        return None

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return slicer.mrmlScene

    def applicationLogic(self) -> object:
        return self._logic

    def moduleLogic(self, name: str) -> object:
        return self._modules.module(name).logic()

    def moduleManager(self) -> qSlicerModuleManager:
        return self._modules

    def coreIOManager(self) -> qSlicerIOManager:
        return self._io

    ioManager = coreIOManager

    def settings(self) -> QtCore.QSettings:
        return self._settings

    userSettings = revisionUserSettings = settings

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return _ENVIRONMENT

    def environment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def setEnvironmentVariable(self, key: str, value: str) -> None:
        os.environ[key] = value

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def logUsageEvent(self, component: str, event: str) -> None:
        self.usageEventLogged.emit(component, event)

    def setRenderPaused(self, pause: bool) -> None:
        self.renderPaused.emit(bool(pause))

    def pauseRender(self) -> None:
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        self.setRenderPaused(False)

    def restart(self) -> None:
        raise RuntimeError("slicer.app.restart() was called: the host cannot restart itself")


def _report(kind: QtCore.QtMsgType, _context: object, text: str) -> None:
    """Qt's messages go to the log; the headless platform's own remark at each shown window is no news."""
    if "propagateSizeHints" not in text:
        critical = kind in (QtCore.QtMsgType.QtCriticalMsg, QtCore.QtMsgType.QtFatalMsg)
        _log.log(logging.ERROR if critical else logging.WARNING, "Qt: %s", text)


def use_light_style(app: QtWidgets.QApplication) -> None:
    """Fusion in light colors, which is how Slicer looks by default."""
    app.setStyle("Fusion")
    roles = QtGui.QPalette.ColorRole
    palette = QtGui.QPalette()
    for role, color in {
        roles.Window: "#efefef", roles.Base: "#ffffff", roles.AlternateBase: "#f7f7f7", roles.Button: "#efefef",
        roles.Text: "#000000", roles.WindowText: "#000000", roles.ButtonText: "#000000", roles.Mid: "#b8b8b8",
        roles.ToolTipBase: "#ffffdc", roles.ToolTipText: "#000000", roles.Highlight: "#308cc6",
        roles.HighlightedText: "#ffffff", roles.Link: "#0000ff", roles.PlaceholderText: "#80000000",
    }.items():  # fmt: skip
        palette.setColor(role, QtGui.QColor(color))
    for role in (roles.Text, roles.WindowText, roles.ButtonText):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role, QtGui.QColor("#9a9a9a"))
    app.setPalette(palette)
    font = app.font()
    font.setPointSize(9)
    app.setFont(font)

"""Panel MedDL Setup: what MedDL needs, which models are there, which are trusted, and where they are kept."""

import slicer
from MedDLCoreLib.logic import MedDLCoreLogic
from MedDLCoreLib.self_test import MedDLCoreTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *


class MedDLCore(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedDL Setup")
        self.parent.categories = ["MedDL"]
        self.parent.dependencies = []
        self.parent.contributors = ["MedDL contributors"]
        self.parent.helpText = _(
            "Shows whether this computer has all that MedDL needs, and installs what is missing after asking. Lists "
            "the models that are on this computer, the models you have agreed to trust, and where downloaded files "
            "are kept."
        )
        self.parent.acknowledgementText = _("PyTorch is installed by the PyTorch extension of Slicer.")


class MedDLCoreWidget(ScriptedLoadableModuleWidget):
    """The panel; what it shows and does comes from the logic."""

    def __init__(self, parent=None):
        self.logic = None
        self.jobPanel = None
        # Last, since without a parent it calls setup().
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLCoreLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from meddl_slicer.job_panel import JobPanel
        from MedDLCoreLib.cache_section import CacheSection
        from MedDLCoreLib.health_section import HealthSection
        from MedDLCoreLib.models_section import ModelsSection
        from MedDLCoreLib.network_section import NetworkSection
        from MedDLCoreLib.trust_section import TrustSection

        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLCore.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.createLogic()
        self.jobPanel = JobPanel(lambda: self.logic.runner, self.ui)
        self.health = HealthSection(self)
        self.models = ModelsSection(self)
        self.network = NetworkSection(self)
        self.trust = TrustSection(self)
        self.cache = CacheSection(self)
        self.refresh()

    def enter(self):
        self.refresh()

    def cleanup(self):
        self.jobPanel.abandon()
        self.uiWidget.setMRMLScene(None)

    def refresh(self):
        """Look at everything again."""
        self.health.show()
        self.models.lookAgain()
        self.models.show()
        self.network.show(self.models.problems)
        self.trust.show()
        self.cache.show()

    def showError(self, message):
        """Tell the user in a message box. Tests listen instead."""
        slicer.util.errorDisplay(message, windowTitle=_("MedDL Setup"))

    def confirm(self, question):
        """Ask before something is deleted. Tests answer for the user."""
        return slicer.util.confirmOkCancelDisplay(question, windowTitle=_("MedDL Setup"))

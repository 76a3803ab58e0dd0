"""Panel MedDL Augmentation: more data of the data there is, with its labels."""

import slicer
from MedDLAugmentationLib.logic import MedDLAugmentationLogic
from MedDLAugmentationLib.self_test import MedDLAugmentationTest  # noqa: F401  (Slicer looks for it here)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *


class MedDLAugmentation(ScriptedLoadableModule):
    """What Slicer's module list shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MedDL Augmentation")
        self.parent.categories = ["MedDL", translate("qSlicerAbstractCoreModule", "Utilities")]
        self.parent.dependencies = ["MedDLCore"]
        self.parent.contributors = ["MedDL contributors"]
        self.parent.helpText = _(
            "Makes more training data of the data there is, with its labels: variants as another patient, position or "
            "scanner might have made them; images that a network has learned to make; scans as a faster, cheaper or "
            "other scanner would have taken them. All of it is repeatable and says what it is. Nothing leaves this "
            "computer. For research."
        )
        self.parent.acknowledgementText = _(
            "Networks and parts of the transforms are those of MONAI (https://monai.io)."
        )


class MedDLAugmentationWidget(ScriptedLoadableModuleWidget):
    """The panel: one tab each for variants, for what networks make, and for other scanners.

    Each tab is an object with ``enter()``, ``exit()`` and ``cleanup()``; it follows the scene by itself.

    Attributes:
        logic: the panel's; ``logic.runner`` runs all jobs.
        variants: the tab "Variants".
        generate: the tab "Generate".
        scanner: the tab "Scanner".
    """

    def __init__(self, parent=None):
        self.logic = None
        self.variants = self.generate = self.scanner = None
        self._tabs = []
        self._missingPackages = []
        # Last, since without a parent it calls setup().
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def createLogic(self):
        """Return the logic of this panel; tests give another one."""
        return MedDLAugmentationLogic()

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/MedDLAugmentation.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.createLogic()
        self.ui.setupButton.connect("clicked(bool)", lambda checked: slicer.util.selectModule("MedDLCore"))
        self._lookForPackages()
        from MedDLAugmentationLib.generate_tab import GenerateTab
        from MedDLAugmentationLib.scanner_tab import ScannerTab
        from MedDLAugmentationLib.variants_tab import VariantsTab

        self.variants = VariantsTab(self.ui.variantsTab, self)
        self.generate = GenerateTab(self.ui.generateTab, self)
        self.scanner = ScannerTab(self.ui.scannerTab, self)
        self._tabs = [self.variants, self.generate, self.scanner]
        self.ui.tabWidget.connect("currentChanged(int)", lambda index: self.variants.preview.request())
        if getattr(self.parent, "isEntered", False):  # it was reloaded: Slicer enters it the next time only
            self.enter()

    def cleanup(self):
        for tab in self._tabs:
            tab.cleanup()
        # A selector that still observes the scene when the application exits can crash it.
        self.uiWidget.setMRMLScene(None)

    def enter(self):
        self._lookForPackages()
        if not self._missingPackages:
            self.logic.warmUp()
        for tab in self._tabs:
            tab.enter()

    def exit(self):
        for tab in self._tabs:
            tab.exit()

    def isShown(self, page):
        """Tell whether a tab is the one in front."""
        return self.ui.tabWidget.widget(self.ui.tabWidget.currentIndex) == page

    def missing(self):
        """Return what keeps all jobs from running, each as a few words."""
        return [_("Python packages (open MedDL Setup)")] if self._missingPackages else []

    def _lookForPackages(self):
        """Find out which packages are missing, and say so above the tabs."""
        from meddl_slicer import packages

        self._missingPackages = ["PyTorch" if one.name == "torch" else one.name for one in packages.missing()]
        self.ui.setupFrame.visible = bool(self._missingPackages)
        names = ", ".join(self._missingPackages)
        self.ui.setupLabel.text = _("To make images, Slicer still needs {names}.").format(names=names)

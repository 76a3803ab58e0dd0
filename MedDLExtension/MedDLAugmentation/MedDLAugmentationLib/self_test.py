"""The self-test of the panel, the same in the host and in a real Slicer."""

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from MedDLAugmentationLib.generate_self_test import GenerateTests
from MedDLAugmentationLib.generate_self_test_use import GenerateUseTests
from MedDLAugmentationLib.scanner_self_test import ScannerTests
from MedDLAugmentationLib.variants_self_test import VariantsTests

_PARTS = (VariantsTests, ScannerTests, GenerateTests, GenerateUseTests)


class MedDLAugmentationTest(*_PARTS, ScriptedLoadableModuleTest):
    """Makes variants of small images made here, in a real worker process."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        from meddl_slicer.self_testing import run_tests

        run_tests(self, _PARTS, "Nothing can be made")

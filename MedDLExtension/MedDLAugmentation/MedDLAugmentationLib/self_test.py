"""The self-test of the panel, the same in the host and in a real Slicer."""

import logging
import os
import tempfile
from pathlib import Path

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
        from meddl_slicer import packages

        missing = ", ".join(package.requirement for package in packages.missing())
        self.assertFalse(missing, f"Nothing can be made in this Python: {missing} missing. Install it in MedDL Setup.")
        only = os.environ.get("MEDDL_ONLY_TEST", "")
        for name in [name for part in _PARTS for name in vars(part)]:
            if not name.startswith("test_") or only not in name:
                continue
            with tempfile.TemporaryDirectory(prefix="MedDL-test-") as folder:
                self.folder = Path(folder)
                self.setUp()
                logging.info(f"{type(self).__name__}.{name}")
                try:
                    getattr(self, name)()
                finally:
                    self.tearDown()
                    self.doCleanups()
        self.delayDisplay("All tests passed")

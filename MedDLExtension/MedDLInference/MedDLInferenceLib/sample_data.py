"""The image that the panel offers in Slicer's Sample Data module."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _


def registerSampleData():
    """Offer the T1 head of the pydeface package in the Sample Data module."""
    import SampleData

    icons = Path(__file__).parents[1] / "Resources" / "Icons"
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="MedDL",
        sampleName="MedDL T1 head",
        uris="https://github.com/poldracklab/pydeface",  # where it comes from; the downloader below fetches it
        fileNames="mean_reg2mean.nii.gz",
        nodeNames="MedDL T1 head",
        thumbnailFileName=str(icons / "MedDLT1Head.png"),
        customDownloader=downloadSampleHead,
    )


def downloadSampleHead(source=None):
    """Fetch the mean T1 head (MIT license, with skull) and return it as a volume node.

    It is published only inside the Python package pydeface, which is downloaded, verified and not installed.
    """
    from meddl.models import cache_dir
    from meddl.models.package_source import download_package, extract_members

    folder = cache_dir() / "samples"
    image = folder / "mean_reg2mean.nii.gz"
    with slicer.util.tryWithErrorDisplay(_("The sample image could not be loaded."), waitCursor=True):
        if not image.is_file():
            wheel = download_package(
                "pydeface==2.1.0",
                "957aac1daaedd437a4191d450c4b2829e052351e33272b79ae978c9703edc99e",
                folder,
                progress=lambda fraction, text: slicer.app.processEvents(),
            )
            extract_members(wheel, {"pydeface/data/mean_reg2mean.nii.gz": image})
        node = slicer.util.loadVolume(str(image), {"name": "MedDL T1 head"})
        slicer.util.setSliceViewerLayers(background=node, fit=True)
        return node

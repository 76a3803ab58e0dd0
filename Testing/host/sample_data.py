"""`SampleData`: the list of sample images that modules offer, and fetching one.

The host fetches from `file:` addresses only. As in Slicer, a source's `customDownloader` is what its button in
the Sample Data panel calls; `downloadSample` does not use it.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import urllib.parse
import urllib.request
from pathlib import Path

import slicer
import vtk


class SampleDataSource:
    """One sample: one or several files with the names of the nodes they become."""

    def __init__(
        self, sampleName=None, sampleDescription=None, uris=None, fileNames=None, nodeNames=None, checksums=None,
        loadFiles=None, customDownloader=None, thumbnailFileName=None, loadFileTypes=None, loadFileProperties=None,
        loadFileType=None,
    ):  # fmt: skip
        if loadFileType is not None and loadFileTypes is not None:
            raise ValueError("loadFileType and loadFileTypes cannot be specified at the same time")
        loadFileTypes = loadFileTypes if loadFileType is None else loadFileType
        self.sampleName = sampleName
        self.sampleDescription = sampleName if sampleDescription is None else sampleDescription
        if isinstance(uris, str):
            uris, fileNames, nodeNames = [uris], [fileNames], [nodeNames]
            loadFiles, loadFileTypes, checksums = [loadFiles], [loadFileTypes], [checksums]
        else:
            empty = [None] * len(uris)
            nodeNames, loadFiles, checksums = (v or list(empty) for v in (nodeNames, loadFiles, checksums))
            if loadFileTypes is None or isinstance(loadFileTypes, str):
                loadFileTypes = [loadFileTypes] * len(uris)
        self.uris, self.fileNames, self.nodeNames = uris, fileNames, nodeNames
        self.loadFiles, self.loadFileTypes, self.checksums = loadFiles, loadFileTypes, checksums
        self.customDownloader = customDownloader
        self.thumbnailFileName = thumbnailFileName
        self.loadFileProperties = loadFileProperties or {}
        if len({len(v) for v in (uris, fileNames, nodeNames, loadFiles, loadFileTypes, checksums)}) != 1:
            raise ValueError(f"All fields of sample data source must have the same length\n{vars(self)}")

    def __eq__(self, other):
        return isinstance(other, SampleDataSource) and vars(self) == vars(other)

    __hash__ = None


class SampleDataLogic:
    """Keeps the sources in `slicer.modules.sampleDataSources`, by category."""

    def __init__(self, logMessage=None):
        if logMessage:
            self.logMessage = logMessage

    def logMessage(self, message, logLevel=logging.DEBUG):
        logging.log(logLevel, message)

    @staticmethod
    def registerCustomSampleDataCategory(category, title):
        """Gives a category the title under which the panel shows it."""
        if not hasattr(slicer.modules, "sampleDataSourceCategories"):
            slicer.modules.sampleDataSourceCategories = {}
        slicer.modules.sampleDataSourceCategories.setdefault(category, {})["title"] = title

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom", sampleName=None, uris=None, fileNames=None, nodeNames=None, customDownloader=None,
        thumbnailFileName=None, loadFileTypes=None, loadFiles=None, loadFileProperties=None, checksums=None,
        loadFileType=None,
    ):  # fmt: skip
        """Offers a sample; one that is offered already is left as it is."""
        source = SampleDataSource(
            sampleName=sampleName, uris=uris, fileNames=fileNames, nodeNames=nodeNames, checksums=checksums,
            thumbnailFileName=thumbnailFileName, loadFileTypes=loadFileTypes, loadFiles=loadFiles,
            loadFileProperties=loadFileProperties, customDownloader=customDownloader, loadFileType=loadFileType,
        )  # fmt: skip
        if not SampleDataLogic.isSampleDataSourceRegistered(category, source):
            slicer.modules.sampleDataSources.setdefault(category, []).append(source)

    @staticmethod
    def categoryTitle(category):
        return getattr(slicer.modules, "sampleDataSourceCategories", {}).get(category, {}).get("title", category)

    @staticmethod
    def sampleDataSourcesByCategory(category=None):
        """The sources of a category, or all as {category: sources}."""
        if not hasattr(slicer.modules, "sampleDataSources"):
            slicer.modules.sampleDataSources = {}
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    @staticmethod
    def isSampleDataSourceRegistered(category, sampleDataSource):
        if not isinstance(sampleDataSource, SampleDataSource):
            raise TypeError(f"unsupported sampleDataSource type '{type(sampleDataSource)}'")
        return sampleDataSource in SampleDataLogic.sampleDataSourcesByCategory(category)

    def sourceForSampleName(self, sampleName):
        sources = (source for group in self.sampleDataSourcesByCategory().values() for source in group)
        return next((source for source in sources if source.sampleName == sampleName), None)

    def categoryForSource(self, a_source):
        groups = self.sampleDataSourcesByCategory().items()
        return next((category for category, group in groups if a_source in group), None)

    def downloadSample(self, sampleName):
        """The first node of a sample."""
        return self.downloadSamples(sampleName)[0]

    def downloadSamples(self, sampleName):
        source = self.sourceForSampleName(sampleName)
        return self.downloadFromSource(source) if source else []

    def downloadFromURL(
        self, uris=None, fileNames=None, nodeNames=None, checksums=None, loadFiles=None, customDownloader=None,
        loadFileTypes=None, loadFileProperties=None, forceDownload=False,
    ):  # fmt: skip
        source = SampleDataSource(
            uris=uris, fileNames=fileNames, nodeNames=nodeNames, loadFiles=loadFiles, loadFileTypes=loadFileTypes,
            loadFileProperties=loadFileProperties, checksums=checksums, customDownloader=customDownloader,
        )  # fmt: skip
        return self.downloadFromSource(source, forceDownload=forceDownload)

    def downloadFromSource(self, source, maximumAttemptsCount=3, forceDownload=False):
        """The nodes of all files of a source that have a node name; paths where there is nothing to load."""
        nodes, paths = [], []
        unnamed = all(name is None for name in source.nodeNames)
        fields = (source.uris, source.fileNames, source.nodeNames, source.checksums, source.loadFiles)
        for uri, file_name, node_name, checksum, load, kind in zip(*fields, source.loadFileTypes, strict=True):
            file_name = file_name or Path(urllib.parse.urlparse(uri).path).name
            node_name = file_name.split(".")[0] if node_name is None and load is not False and unnamed else node_name
            path = self.downloadFileIntoCache(uri, file_name, checksum, forceDownload=forceDownload)
            if kind == "ZipFile":
                raise RuntimeError("The host unpacks no sample archives")
            if not node_name or load is False or (kind == "SceneFile" and not load):
                (nodes if node_name or kind == "SceneFile" else paths).append(path)
            else:
                nodes.append(self.loadNode(path, node_name, kind, dict(source.loadFileProperties)))
        return nodes or paths

    def downloadFileIntoCache(self, uri, name, checksum=None, forceDownload=False):
        return self.downloadFile(uri, slicer.app.cachePath, name, checksum, forceDownload)

    def downloadFile(self, uri, destFolderPath, name, checksum=None, forceDownload=False):
        """Path of the fetched file.

        Raises:
            ValueError: it cannot be fetched, or is not what the checksum says.
        """
        path = Path(destFolderPath) / name
        if forceDownload or not path.exists() or path.stat().st_size == 0:
            address = urllib.parse.urlparse(uri)
            if address.scheme != "file":
                raise ValueError(f"Failed to download {uri} to {path}: the host fetches file: addresses only")
            try:
                shutil.copyfile(urllib.request.url2pathname(address.path), path)
            except OSError as error:
                raise ValueError(f"Failed to download {uri} to {path}") from error
        if checksum is not None:
            algorithm, _, digest = checksum.partition(":")
            if hashlib.new(algorithm.lower(), path.read_bytes()).hexdigest() != digest:
                path.unlink()
                raise ValueError(f"Checksum verification failed for {path}")
        return str(path)

    def loadNode(self, uri, name, fileType=None, fileProperties=None):
        """The first node of a file, without the storage node: the file lies in a cache."""
        properties = {**(fileProperties or {}), "fileName": uri, **({"name": name} if name else {})}
        loaded = vtk.vtkCollection()
        kind = fileType or slicer.app.coreIOManager().fileType(uri)
        if not slicer.app.coreIOManager().loadNodes(kind, properties, loaded):
            self.logMessage(f"\tLoad failed! {uri}", logging.ERROR)
            return None
        node = loaded.GetItemAsObject(0)
        if node is None:
            return slicer.mrmlScene
        if node.IsA("vtkMRMLStorableNode") and node.GetStorageNode() is not None:
            slicer.mrmlScene.RemoveNode(node.GetStorageNode())
            node.SetAndObserveStorageNodeID(None)
        return node


def downloadFromURL(**options):
    return SampleDataLogic().downloadFromURL(**options)


def downloadSample(sampleName):
    return SampleDataLogic().downloadSample(sampleName)


def downloadSamples(sampleName):
    return SampleDataLogic().downloadSamples(sampleName)

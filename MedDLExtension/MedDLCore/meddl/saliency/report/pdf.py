"""A report as PDF, set by matplotlib: A4 pages whose words can be searched and copied."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from meddl.plotting import INK, new_figure, own_settings
from meddl.saliency.report.blocks import VERDICTS, Block, Heading, Items, Picture, Table, Text, one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT, _MARGIN = 8.27, 11.69, 0.55
"""A4, in inches."""

_LINE = 1.32
_SIZES = {1: 15.0, 2: 11.0, 3: 9.0}
_TEXT, _SMALL = 7.4, 6.4
_PICTURE = 0.76
"""Of the width between the margins: so that one method with its tables stays on one page."""

_GAP = 0.16
_MEASURED_AT = 40.0

_VERDICT_COLORS = {"good": "#1c6b3a", "doubtful": "#8a5a00", "bad": "#b3261e"}


def pdf_of(blocks: Sequence[Block], title: str) -> bytes:
    """Return a report; the same blocks give the same bytes."""
    from matplotlib.backends.backend_pdf import PdfPages

    with own_settings():
        writer = _Writer(one_line(title))
        for block in blocks:
            writer.add(block)
        file = io.BytesIO()
        # No time of making: it is in the report, if it is known.
        facts: dict[str, Any] = {"Title": one_line(title), "Creator": "MedDL", "CreationDate": None}
        with PdfPages(file, metadata=facts) as pages:
            for figure in writer.finished():
                pages.savefig(figure)
        return file.getvalue()


class _Writer:
    """Sets blocks from top to bottom, a new page where one is full."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._pages: list[Figure] = []
        self._measured: dict[tuple[str, str], float] = {}
        self._top = 0.0
        self._new_page()

    def finished(self) -> list[Figure]:
        """Return the pages, with their numbers."""
        for number, page in enumerate(self._pages, 1):
            foot = f"{_cut(self._title, 100)}   |   research only   |   page {number} of {len(self._pages)}"
            page.text(0.5, 0.28 / _HEIGHT, foot, ha="center", va="center", fontsize=_SMALL, color="#666666")
        return self._pages

    def add(self, block: Block) -> None:
        """Set one block."""
        if isinstance(block, Heading):
            self._heading(block)
        elif isinstance(block, Text):
            self._text(block)
        elif isinstance(block, Items):
            for line in block.lines:
                self._lines(one_line(line), _TEXT, indent=0.14, bullet=True)
        elif isinstance(block, Picture):
            self._picture(block)
        else:
            self._table(block)

    @property
    def _page(self) -> Figure:
        return self._pages[-1]

    def _new_page(self) -> None:
        self._pages.append(new_figure(_WIDTH, _HEIGHT, 72))
        self._top = _MARGIN

    def _need(self, height: float) -> None:
        if self._top + height > _HEIGHT - _MARGIN and self._top > _MARGIN:
            self._new_page()

    def _heading(self, block: Heading) -> None:
        size = _SIZES[block.level]
        # A heading stays with what follows it.
        self._need(size / 72 * _LINE + (5.5 if block.level == 2 and block.with_picture else 0.5))
        self._top += 0.0 if self._top == _MARGIN else 0.06
        if block.level == 2:
            self._rule("#3b6ea5", 1.2)
            self._top += 0.06
        self._lines(one_line(block.text), size, weight="bold")

    def _text(self, block: Text) -> None:
        if block.kind == "warning":
            start, page = self._top, self._page
            self._lines(one_line(block.text), _TEXT, indent=0.12)
            if page is self._page:
                self._bar(start, self._top, "#c8442c")
            self._top += 0.04
            return
        size = _SMALL if block.kind == "small" else _TEXT + 0.6 if block.kind == "lead" else _TEXT
        self._lines(one_line(block.text), size, color="#555555" if block.kind == "small" else INK)
        self._top += 0.02

    def _lines(
        self,
        text: str,
        size: float,
        *,
        indent: float = 0.0,
        weight: str = "normal",
        color: str = INK,
        bullet: bool = False,
    ) -> None:
        for number, line in enumerate(self._wrapped(text, size, _WIDTH - 2 * _MARGIN - indent, weight)):
            height = size / 72 * _LINE
            self._need(height)
            if bullet and number == 0:
                self._word(_MARGIN + 0.03, "\N{BULLET}", size, color, weight)
            self._word(_MARGIN + indent, line, size, color, weight)
            self._top += height

    def _word(self, left: float, text: str, size: float, color: str, weight: str, align: str = "left") -> None:
        self._page.text(
            left / _WIDTH, 1 - self._top / _HEIGHT, text, fontsize=size, color=color, weight=weight, ha=align, va="top"
        )

    def _rule(self, color: str, width: float) -> None:
        self._line((_MARGIN, _WIDTH - _MARGIN), (self._top, self._top), color, width)

    def _bar(self, top: float, bottom: float, color: str) -> None:
        self._line((_MARGIN + 0.03, _MARGIN + 0.03), (top, bottom), color, 3.0)

    def _line(self, x: tuple[float, float], y: tuple[float, float], color: str, width: float) -> None:
        from matplotlib.lines import Line2D

        line = Line2D([each / _WIDTH for each in x], [1 - each / _HEIGHT for each in y], color=color, linewidth=width)
        self._page.add_artist(line)

    def _picture(self, block: Picture) -> None:
        from matplotlib.image import imread

        pixels = imread(io.BytesIO(block.png), format="png")
        width = (_WIDTH - 2 * _MARGIN) * _PICTURE * block.width
        height = width * pixels.shape[0] / pixels.shape[1]
        most = _HEIGHT - 2 * _MARGIN - 0.2
        if height > most:
            width, height = width * most / height, most
        self._need(height + 0.1)
        self._top += 0.05
        left = (_WIDTH - width) / 2
        place = (left / _WIDTH, 1 - (self._top + height) / _HEIGHT, width / _WIDTH, height / _HEIGHT)
        axes = self._page.add_axes(place)
        axes.imshow((pixels[..., :3] * 255 + 0.5).astype(np.uint8), interpolation="none", aspect="auto")
        axes.axis("off")
        self._top += height + 0.05

    def _table(self, table: Table) -> None:
        if not table.columns:  # names and values: in a row, they take a third of the room
            self._lines(
                "   \N{MIDDLE DOT}   ".join(f"{one_line(name)}: {one_line(value)}" for name, value in table.rows),
                _SMALL,
            )
            return
        rows = [tuple(one_line(VERDICTS.get(t, t) if n == table.verdicts else t) for n, t in enumerate(row))
                for row in table.rows]  # fmt: skip
        widths = self._widths(table, rows)
        self._row(table, tuple(one_line(name) for name in table.columns), widths, heading=True)
        for number, row in enumerate(rows):
            self._row(table, row, widths, verdict=table.rows[number][table.verdicts] if table.verdicts else "")
        self._top += 0.06

    def _row(
        self, table: Table, row: Sequence[str], widths: Sequence[float], heading: bool = False, verdict: str = ""
    ) -> None:
        bold = ["bold" if heading or n == table.verdicts else "normal" for n in range(len(row))]
        cells = [self._wrapped(text, _TEXT, widths[n], bold[n]) for n, text in enumerate(row)]
        height = max(len(cell) for cell in cells) * _TEXT / 72 * _LINE
        self._need(height + 0.05)
        self._top += 0.025
        start, left = self._top, _MARGIN
        for column, cell in enumerate(cells):
            self._top = start
            color = _VERDICT_COLORS.get(verdict, INK) if column == table.verdicts else INK
            is_number = column in table.numbers
            for line in cell:
                place = left + widths[column] if is_number else left
                self._word(place, line, _TEXT, color, bold[column], "right" if is_number else "left")
                self._top += _TEXT / 72 * _LINE
            left += widths[column] + _GAP
        self._top = start + height + 0.02
        self._rule("#999999" if heading else "#dddddd", 0.5)

    def _widths(self, table: Table, rows: Sequence[Sequence[str]]) -> list[float]:
        """Return what columns need; if that is too much, the widest give way."""
        count, lines = len(table.columns), [table.columns, *rows]
        wanted = [max(self._width(line[n], _TEXT, "bold") for line in lines) for n in range(count)]
        room = _WIDTH - 2 * _MARGIN - _GAP * (count - 1)
        if sum(wanted) <= room:
            return wanted
        limit = _common_limit(wanted, room)
        return [min(each, limit) for each in wanted]

    def _wrapped(self, text: str, size: float, room: float, weight: str) -> list[str]:
        lines, line = [], ""
        for word in text.split(" "):
            longer = f"{line} {word}" if line else word
            if self._width(longer, size, weight) <= room:
                line = longer
                continue
            if line:
                lines.append(line)
            while len(word) > 1 and self._width(word, size, weight) > room:  # a word without end
                part = self._fitting(word, size, room, weight)
                lines.append(word[:part])
                word = word[part:]
            line = word
        return [*lines, line]

    def _fitting(self, word: str, size: float, room: float, weight: str) -> int:
        """Return how many letters of a word fit, at least one."""
        low, high = 1, len(word)
        while low < high - 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._width(word[:middle], size, weight) <= room else (low, middle)
        return low

    def _width(self, text: str, size: float, weight: str) -> float:
        words = text.split(" ")
        # A space is half as wide as an n in this font.
        wide = sum(self._word_width(word, weight) for word in words)
        return (wide + (len(words) - 1) * self._word_width("n", weight) / 2) * size

    def _word_width(self, word: str, weight: str) -> float:
        """Return the width of a word in inches for letters of a point; measured once, large enough to be exact."""
        from matplotlib.font_manager import FontProperties

        if (word, weight) not in self._measured:
            renderer = self._pages[0].canvas.get_renderer()  # type: ignore[attr-defined]
            how = FontProperties(family="DejaVu Sans", weight=weight, size=_MEASURED_AT)
            width = renderer.get_text_width_height_descent(word, how, False)[0] if word else 0.0
            self._measured[word, weight] = float(width) / _MEASURED_AT / 72
        return self._measured[word, weight]


def _common_limit(wanted: Sequence[float], room: float) -> float:
    """Return the width that columns are cut to so that all fit."""
    limit, left, ordered = room / len(wanted), room, sorted(wanted)
    for number, each in enumerate(ordered):
        limit = left / (len(ordered) - number)
        if each >= limit:
            break
        left -= each
    return limit


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"

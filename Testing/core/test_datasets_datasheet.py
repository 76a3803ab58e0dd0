"""The datasheet: what is known is told, what is not is said to be so, and nobody's words become markup."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from meddl.datasets import markdown
from meddl.datasets.datasheet import NOT_STATED, datasheet
from meddl.datasets.facts import CaseFacts, ChannelFacts, StructureFacts
from meddl.datasets.finishing import whole_dataset_files
from meddl.datasets.label_scheme import LabelScheme, Structure
from meddl.datasets.manifest import Manifest
from meddl.datasets.options import DeidentifyOptions, ExportOptions, GridOptions, SplitOptions
from meddl.datasets.plan import CaseRecord, ExportPlan, PlannedCase

RED = (1.0, 0.0, 0.0)
HOSTILE = (
    "# Heading\n---\n===\n- item\n1. one\n2) two\n> quoted\n```\ncode\n~~~\n    indented\n"
    "<script>alert(1)</script><img src=x onerror=alert(1)>\n![pixel](http://evil.example/p.png) [click](javascript:x)\n"
    "[ref]: http://evil.example\n<http://evil.example>\n&lt;b&gt; &#60;\n| a | b |\n|---|---|\n| 1 | 2 |\n:--|--\n"
    "**bold** __bold__ *it* _it_ `code` $x^2$ @everyone \\\\ \\*"
    "\n\n\nafter blank lines\r\nwindows\u2028separator\u202edrow\x00\x1b[31m"
)


def _manifest(options: ExportOptions, names: tuple[str, ...] = ("Liver", "Tumor"), cases: int = 4) -> Manifest:
    planned, records = [], {}
    for n in range(cases):
        case = PlannedCase("", f"case_{n:04}", f"patient_{n:04}", "site_0001" if n else "site_0002",
                           "test" if n == 3 else "train", None if n == 3 else n % 2, f"{n}")  # fmt: skip
        channel = ChannelFacts(
            (9, 9, 9), (1.0, 1.0, 2.0), "RAS", "CT", "int16", -9.0, 9.0, 0.0, -8.0, 0.0, 8.0, 0, f"{n}"
        )
        structures = tuple(StructureFacts(name, name, "", RED, 100, 10.0 + n, 1, 0) for name in names[: 1 + n % 2])
        quality = CaseFacts(case.name, "segmentation", {"CT": channel}, structures).to_dict()
        planned.append(case)
        records[case.name] = CaseRecord(case, "", {}, {"quality": quality})
    scheme = LabelScheme(tuple(Structure(name, RED, sources=(name,)) for name in names), dropped=("couch",))
    plan = ExportPlan(options, "segmentation", ("CT",), {"CT": "CT"}, scheme, (), tuple(planned))
    return Manifest(plan, records, made_with={"meddl": "0.1", "numpy": np.__version__})


def _sheet(options: ExportOptions, **parts: object) -> str:
    return whole_dataset_files(_manifest(options, **parts))["datasheet.md"].decode("utf-8")  # type: ignore[arg-type]


def test_what_is_known_is_told() -> None:
    options = ExportOptions(
        name="Livers",
        description="For a course.",
        license="CC BY 4.0",
        consent="Ethics board 12/34",
        contact="lab@example.org",
        grid=GridOptions(orientation="RAS", spacing_mm=(1.0, 1.0, 2.5), crop="label", margin_mm=10),
        split=SplitOptions(0.0, 0.25, 2),
    )

    sheet = _sheet(options)

    for text in (
        "# Datasheet: Livers", "> For a course.", "> CC BY 4.0", "> Ethics board 12/34", "> lab\\@example.org",
        "4 cases of 4 patients, of 2 sites.", "| train | 3 | 3 |", "| test | 1 | 1 |", "| 1 | Liver | 4 | 11.5 |",
        "Tumor is in all but 2 labeled cases.", "resampled to 1 x 1 x 2.5 mm", "with a margin of 10 mm",
        "1 structure of the originals was left out", "25% for test", "Basic Application Confidentiality Profile",
        "Faces were **not** removed", "meddl 0.1", "| CT | CT |",
    ):  # fmt: skip
        assert text in sheet


def test_what_nobody_told_is_not_made_up() -> None:
    sheet = _sheet(ExportOptions())

    for question in ("Under what license", "did they consent", "Who maintains it", "Who labeled", "Has it been used"):
        answer = sheet.split(question)[1].split("**\n\n")[1]
        assert answer.startswith(NOT_STATED)


def test_names_that_were_kept_are_told_of() -> None:
    sheet = _sheet(ExportOptions(deidentify=DeidentifyOptions(profile="none")))

    assert "Nothing was done to hide who the patients are" in sheet


def test_a_dataset_that_is_not_whole_yet_has_a_sheet_too() -> None:
    manifest = _manifest(ExportOptions())

    empty = datasheet(replace(manifest, records={}), ())

    assert "0 cases of 0 patients" in empty and "4 planned cases could not be written" in empty


def _tokens(text: str) -> list:
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    flat = []
    for token in parser.parse(text):
        flat += [token, *(token.children or [])]
    return flat


def test_hostile_words_never_become_markup() -> None:
    plain, hostile = (
        _tokens(_sheet(ExportOptions(name=text, description=text, license=text, consent=text, contact=text),
                       names=(text, "Tumor")))
        for text in ("words", HOSTILE)
    )  # fmt: skip

    assert not {"html_block", "html_inline", "fence", "code_block", "image", "link_open"} & {t.type for t in hostile}
    for kind in ("heading_open", "bullet_list_open", "ordered_list_open", "hr", "table_open", "tr_open", "td_open",
                 "blockquote_open", "code_inline", "strong_open", "em_open"):  # fmt: skip
        assert [t.type for t in hostile].count(kind) == [t.type for t in plain].count(kind), kind


def test_hostile_words_can_still_be_read() -> None:
    text = "".join(token.content if token.type == "text" else "\n" if "break" in token.type else ""
                   for token in _tokens(markdown.quote(HOSTILE)))  # fmt: skip

    for line in ("# Heading", "===", "- item", "1. one", "2) two", "> quoted", "```", "<script>alert(1)</script>",
                 "&lt;b&gt; &#60;", "|---|---|", "$x^2$ @everyone"):  # fmt: skip
        assert line in text


def test_no_character_steers_a_terminal_or_the_reading_order() -> None:
    sheet = _sheet(ExportOptions(name=HOSTILE, description=HOSTILE))

    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", sheet)


def test_the_sheet_and_report_are_the_same_bytes_each_time() -> None:
    assert whole_dataset_files(_manifest(ExportOptions())) == whole_dataset_files(_manifest(ExportOptions()))


@pytest.mark.parametrize(
    ("task", "facts", "says"),
    [
        ("classification", {"classes": ("ill",)}, "| ill | 4 |"),
        ("detection", {"boxes": ("nodule", "nodule")}, "| nodule | 8 |"),
        ("landmarks", {"points": ("nasion",)}, "| nasion | 4 |"),
        ("reconstruction", {}, "A target image for each case."),
    ],
)
def test_other_tasks_have_their_answers(task: str, facts: dict, says: str) -> None:
    manifest = _manifest(ExportOptions(format="monai"))
    names = tuple(dict.fromkeys(name for values in facts.values() for name in values))
    records = {
        name: replace(record, facts={"quality": {**record.facts["quality"], "task": task, "structures": (), **facts}})
        for name, record in manifest.records.items()
    }
    plan = replace(manifest.plan, task=task, scheme=None, classes=names)

    files = whole_dataset_files(replace(manifest, plan=plan, records=records))

    assert says in files["datasheet.md"].decode() and "report/volumes.png" not in files

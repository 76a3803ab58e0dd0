"""Reports of explanations: all there is to know of a map, on pages that harm nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from core import explanations
from core.phantoms import PLACES
from meddl.cli.explain_report import print_explanation
from meddl.errors import UsageError, VolumeError
from meddl.inference import ClassificationPrediction, ClassProbability
from meddl.jobs import InlineRunner
from meddl.saliency import AnatomyShare, Measure
from meddl.saliency.report import write_report
from meddl.saliency.report.agreement import agreement_table
from meddl.saliency.report.contents import contents
from meddl.saliency.report.html import html_of
from meddl.saliency.report.pdf import pdf_of
from meddl.saliency.report.task import WRITE_REPORT
from meddl.saliency.report.words import facts_in_words, verdict_in_words
from meddl.volume import Segment, Volume

STRAIGHT = PLACES["straight"]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> & \u202egnp.exe\x07 \ud800 $\\frac{$ <b>'


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_oblique_images_are_told() -> None:
    image = explanations.image(PLACES["oblique"])
    said = contents(explanations.explanation([explanations.attribution(image)]), image)
    assert "oblique" in " ".join(str(each) for each in said)


def test_the_page_says_all_there_is_to_know(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    one = explanations.attribution(image)
    other = explanations.attribution(image, (2, 3, 4), method="saliency", signed=False, measures=(), anatomy=())
    agreement = (Measure("agreement of integrated_gradients and saliency", 0.4, 0.05, "doubtful", "Two fifths."),)
    made = explanations.explanation([one, other], agreement=agreement)
    write_report(made, image, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_bytes())
    for said in (
        "For research only", "Hand-made 1.2.0", "lesion: 90.0%", "Integrated gradients: class lesion",
        "62 % of the evidence lies in lesion (where all evidence is 31 times as dense as by chance)",
        "Of 2 checks with a verdict 1 speaks",
        "it does not explain the model", "(5.0, 8.0, 3.0) mm RAS", "value 2:", "7 % is not accounted for",
        "Petsiuk et al. 2018", "Sundararajan et al. 2017", "7.0%", "abab", "torch: 2.13", "2026-01-02T03:04:05",
        "Gradient: class lesion", "was not looked at", "Two fifths", "Adebayo et al. 2018", "31.0", "500.0",
    ):  # fmt: skip
        assert said in page.text, said
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 3  # two maps, one set of curves
    assert all((each["alt"] or "").strip() for each in pictures)


def test_many_pairs_of_methods_are_one_table(tmp_path: Path) -> None:
    names = ("saliency", "occlusion", "gradcam", "smoothgrad")
    pairs = list(combinations(names, 2))
    agreement = tuple(
        Measure(f"agreement of {one} and {other}", 0.1 * number, 0.05, "bad" if number < 2 else "good")
        for number, (one, other) in enumerate(pairs)
    )
    sentence, rows = agreement_table(agreement)
    assert "Of 6 pairs 4 agree well (half or more), 2 hardly" in sentence and "by chance 5%" in sentence
    assert [row[1] for row in rows] == ["Gradient", "Occlusion", "Grad-CAM", "SmoothGrad"]
    for number, (one, other) in enumerate(pairs):
        assert rows[names.index(other)][2 + names.index(one)] == f"{10 * number}%"
    assert {len(row) for row in rows} == {5} and rows[0][2:] == ("", "", "")
    image = explanations.image(STRAIGHT)
    made = explanations.explanation([explanations.attribution(image)], agreement=agreement)
    write_report(made, image, [tmp_path / "r.html", tmp_path / "r.pdf"])
    page = Page((tmp_path / "r.html").read_bytes()).text
    assert sentence in page and "Agreement of Gradient" not in page
    print_explanation(made)


def test_facts_that_say_nothing_are_left_out() -> None:
    told = dict(facts_in_words({"regions": "supervoxels", "falls": {"1": 0.5}, "estimated_by": "", "checked": None,
                                "checked_blocks": 0, "runs": 3, "voxel_mm": [1.5, 1.5, 3.0]}))  # fmt: skip
    assert told == {
        "Regions": "supervoxels", "Runs of the network": "3", "Voxels that the network saw (mm)": "1.5 x 1.5 x 3",
    }  # fmt: skip
    told = dict(facts_in_words({"regions": "structures", "falls": {"Liver": 0.5}}))
    assert told["Fall of the score without each region"] == "Liver: 0.5"


def test_the_share_of_each_channel_is_told(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT, channels=2)
    channels = np.concatenate([explanations.spot(image, (5, 8, 3)) * 3, explanations.spot(image, (5, 8, 3))])
    made = explanations.explanation([explanations.attribution(image, channels=image.with_array(channels))])
    write_report(made, image, tmp_path / "report.html", channels=("T1", "FLAIR"))
    page = Page((tmp_path / "report.html").read_bytes())
    assert "75.0%" in page.text and "25.0%" in page.text and "FLAIR" in page.text and "first T1 alone" in page.text


def hostile(image: Volume) -> object:
    """An explanation that says bad things wherever anybody may have a say."""
    provenance = {
        **explanations.PROVENANCE, "model": dict.fromkeys(("name", "version", "license", "sha256"), HOSTILE),
        "domain": [HOSTILE], "notes": [HOSTILE], "software": {HOSTILE: HOSTILE}, "parameters": {HOSTILE: [HOSTILE]},
        "explanation": {HOSTILE: HOSTILE},
    }  # fmt: skip
    bad = explanations.attribution(
        image, method=HOSTILE, target=HOSTILE, facts={HOSTILE: HOSTILE, "layer": HOSTILE, "steps": {HOSTILE: [1, "<"]}},
        notes=(HOSTILE,), measures=(Measure(HOSTILE, 1.0, 2.0, HOSTILE, HOSTILE, explanations.CURVE),),
        anatomy=(AnatomyShare(HOSTILE, 1, 1, 1, 1), AnatomyShare("outside all", 0, 0, 0, 1)), provenance=provenance,
    )  # fmt: skip
    prediction = ClassificationPrediction((ClassProbability(HOSTILE, 1.0),), provenance)
    return explanations.explanation([bad], prediction, agreement=(Measure(HOSTILE, 1.0, None, "bad", HOSTILE),))


def test_hostile_words_are_shown_and_do_nothing(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    labels = Volume(np.ones((1, *image.shape), np.uint8), image.affine)
    write_report(
        hostile(image), image, [tmp_path / "r.html", tmp_path / "r.pdf"], channels=(HOSTILE,),
        segmentation=(labels, (Segment(1, HOSTILE, (1, 0, 0)),)),
    )  # fmt: skip
    source = (tmp_path / "r.html").read_bytes()
    page = Page(source)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "a", "form", "base", "svg", "b", "i"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert "href" not in attributes
        if "src" in attributes:
            assert tag == "img" and (attributes["src"] or "").startswith("data:image/png;base64,")
    assert "<script>alert(1)</script>" in page.text  # as words
    assert "\u202e" not in page.text and "\x07" not in page.text
    assert "url(" not in source.decode() and "@import" not in source.decode()
    assert b"default-src 'none'" in source


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    write_report(explanations.explanation([explanations.attribution(image)]), image, tmp_path / "r.html")
    source = (tmp_path / "r.html").read_text()
    assert (
        "http:" not in source and "https:" not in source and "file:" not in source and "//" not in _without_data(source)
    )


def _without_data(source: str) -> str:
    parts = source.split("base64,")
    return parts[0] + "".join(part.partition('"')[2] for part in parts[1:])


def test_a_pdf_has_words_pages_and_no_clock() -> None:
    image = explanations.image(STRAIGHT)
    many = [explanations.attribution(image, method=f"method {n}") for n in range(2)]
    made = pdf_of(contents(explanations.explanation(many), image), "A title")
    assert made.startswith(b"%PDF-") and made.rstrip().endswith(b"%%EOF")
    assert made.count(b"/Type /Page ") >= 2
    assert b"CreationDate" not in made and b"/Title (A title)" in made
    assert b"/CIDFontType2" in made or b"/TrueType" in made  # letters, not drawings of them: they can be searched


def test_long_words_and_tables_stay_on_the_page() -> None:
    from meddl.saliency.report.blocks import Heading, Items, Table, Text

    word = "w" * 300
    rows = tuple((f"structure {n} {word}", word, f"{n}") for n in range(6))
    blocks = (
        Heading(word, 1),
        Text(word, "warning"),
        Items((word,)),
        Table(("a", "b", "c"), rows, (2,)),
        Text("", "small"),
    )
    assert pdf_of(blocks, word).count(b"/Type /Page ") >= 1
    assert html_of(blocks, word)


def test_the_same_explanation_gives_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, hashlib\n"
        "from core import explanations\nfrom core.phantoms import PLACES\n"
        "from meddl.saliency.report import write_report\n"
        "image = explanations.image(PLACES['oblique'])\n"
        "made = explanations.explanation([explanations.attribution(image)])\n"
        "for path in write_report(made, image, [pathlib.Path(p) for p in sys.argv[1:]]):\n"
        "    print(hashlib.sha256(path.read_bytes()).hexdigest())\n"
    )
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root / "MedDLExtension" / "MedDLCore"), str(root / "Testing")])
    digests = set()
    for seed, locale in (("1", "C"), ("2", "C.UTF-8")):
        (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
        environment = {
            **os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONPATH": paths, "TZ": "Asia/Tokyo",
            "SOURCE_DATE_EPOCH": "", "MATPLOTLIBRC": str(tmp_path) if seed == "2" else "",
        }  # fmt: skip
        environment = {name: value for name, value in environment.items() if value}
        files = [str(tmp_path / "r.html"), str(tmp_path / "r.pdf")]
        digests.add(subprocess.run([sys.executable, "-c", code, *files], env=environment, check=True,
                                   capture_output=True, text=True).stdout)  # fmt: skip
    assert len(digests) == 1


def test_users_settings_of_matplotlib_stay_theirs(tmp_path: Path) -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 31.0}):
        image = explanations.image(STRAIGHT)
        write_report(explanations.explanation([explanations.attribution(image)]), image, tmp_path / "r.pdf")
        assert mpl.rcParams["font.size"] == 31.0


@pytest.mark.parametrize("name", ["r.docx", "r"])
def test_other_kinds_of_report_are_refused(name: str, tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    with pytest.raises(UsageError, match=r"\.html"):
        write_report(explanations.explanation([explanations.attribution(image)]), image, tmp_path / name)
    with pytest.raises(VolumeError, match="does not exist"):
        write_report(explanations.explanation([explanations.attribution(image)]), image, tmp_path / "no" / "r.pdf")
    with pytest.raises(UsageError, match="no map"):
        write_report(explanations.explanation([]), image, tmp_path / "r.pdf")


def test_a_panel_writes_a_report_as_a_job(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    made = explanations.explanation([explanations.attribution(image)])
    params = {
        "prediction": made.prediction.to_dict(), "attributions": [each.to_dict() for each in made.attributions],
        "agreement": [], "image": image, "paths": [tmp_path / "a.html", tmp_path / "a.pdf"],
    }  # fmt: skip
    with InlineRunner() as runner:
        assert runner.submit(WRITE_REPORT, params).wait()["files"] == params["paths"]
        write_report(made, image, tmp_path / "b.html")
        assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
        runner.submit(WRITE_REPORT, {**params, "prediction": None}).wait()
    page = Page((tmp_path / "a.html").read_bytes())
    assert "Hand-made" in page.text and "The answer" not in page.text


def test_the_verdicts_come_to_a_sentence() -> None:
    good, network = Measure("deletion", 0, None, "good"), Measure("randomization", 0, None, "good")
    assert verdict_in_words([good, network]) == "All 2 checks with a verdict speak for the map."
    # Edges of the image can pass all checks but the one that changes the network.
    for untold in ([], [replace(network, value=None, verdict="")]):
        said = verdict_in_words([good, Measure("stability", 1, None, ""), *untold])
        assert said.startswith("The check speaks for the map. Whether the map depends on the network at all is not")
    assert "none speak" in verdict_in_words([Measure("a", 0, None, "bad"), Measure("b", 0, None, "bad")])
    assert verdict_in_words([]) == ""
    said = verdict_in_words([Measure("deletion", 0, None, "doubtful")])
    assert said == "The check does not speak for the map: deletion is doubtful."

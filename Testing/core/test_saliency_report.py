"""Reports and files of explanations: pictures at the right place, colors with their scale, pages that harm nobody."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from core import explanations
from core.phantoms import PLACES, axis_orders, reordered
from meddl.errors import UsageError, VolumeError
from meddl.inference import ClassificationPrediction, ClassProbability, SegmentationPrediction
from meddl.inference.prediction import Box, DetectionPrediction
from meddl.jobs import InlineRunner
from meddl.saliency import AnatomyShare, Attribution, Measure
from meddl.saliency.colors import diverging_colors, growing_colors, map_colors, scale_of
from meddl.saliency.files import write_explanation
from meddl.saliency.report import write_report
from meddl.saliency.report.contents import contents
from meddl.saliency.report.html import html_of
from meddl.saliency.report.outlines import outlines_of_answer, outlines_of_labels
from meddl.saliency.report.pdf import pdf_of
from meddl.saliency.report.pictures import curves_picture, gray_window, planes_picture, shown_planes
from meddl.saliency.report.planes import is_oblique, peak_of, planes_through
from meddl.saliency.report.task import WRITE_REPORT
from meddl.saliency.report.words import verdict_in_words
from meddl.volume import Segment, Volume, read_volume
from PIL import Image

STRAIGHT = PLACES["straight"]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)> & \u202egnp.exe\x07 <b>'


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


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


def lightness(colors: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colors."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    y = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


# Colors


def test_lightness_goes_in_equal_steps_so_that_equal_differences_look_equal() -> None:
    growing = lightness(growing_colors(np.linspace(0, 1, 101)))
    assert np.ptp(np.diff(growing)) < 0.1 and growing[0] < 5 and growing[-1] > 94
    both = lightness(diverging_colors(np.linspace(-1, 1, 201)))
    np.testing.assert_allclose(both, both[::-1], atol=0.5)
    assert np.ptp(np.diff(both[:101])) < 0.1


def test_no_color_is_cut_off_at_what_a_screen_can_show() -> None:
    for colors in (growing_colors(np.linspace(0, 1, 101)), diverging_colors(np.linspace(-1, 1, 201))):
        assert colors.min() > 0.0 and colors.max() < 1.0
        steps = np.abs(np.diff(colors, axis=0)).max(axis=1)
        assert steps.max() < 0.05  # no jump


def test_for_and_against_differ_for_the_color_blind_too() -> None:
    red, blue = diverging_colors(np.array([1.0, -1.0]))
    assert blue[2] - blue[0] > 0.4 and red[0] - red[2] > 0.3  # told apart along blue and yellow


def test_around_zero_a_map_is_transparent() -> None:
    opacity = map_colors(np.array([-1, -0.2, -0.05, 0, 0.05, 0.2, 1, np.nan]), signed=True, threshold=0.1)[:, 3]
    assert (opacity[[2, 3, 4, 7]] == 0).all()
    assert 0 < opacity[1] < opacity[0] and opacity[1] == opacity[5] and opacity[0] == opacity[6]
    assert map_colors(np.zeros(1), signed=False, threshold=0.0)[0, 3] == 0


def test_a_map_without_signs_shows_no_negative_values() -> None:
    assert map_colors(np.array([-0.8]), signed=False)[0, 3] == 0


def test_the_scale_ends_where_nearly_all_values_are() -> None:
    values = np.zeros(100_000)
    values[:5000] = np.linspace(0, 1, 5000)
    values[0] = 1000.0
    assert scale_of(values) == pytest.approx(1.0, abs=0.01)
    assert scale_of(np.zeros(5)) == 1.0
    assert scale_of(np.array([np.nan, 2.0])) == 2.0


# Slices


@pytest.mark.parametrize("order", axis_orders()[::5])
def test_slices_show_the_same_whatever_the_order_of_axes(order: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    image = explanations.image(PLACES["straight"])
    turned = reordered(image, *order)
    at = np.linalg.inv(turned.affine) @ [5, 8, 3, 1]
    straight, other = planes_through(image, (5, 8, 3)), planes_through(turned, np.rint(at[:3]).astype(int))
    for one, two in zip(straight, other, strict=True):
        assert (one.name, one.sides, one.at) == (two.name, two.sides, two.at)
        np.testing.assert_array_equal(one.of(image.array[0]), two.of(turned.array[0]))
        np.testing.assert_allclose(one.points(image.shape), two.points(turned.shape), atol=1e-9)


def test_slices_lie_as_radiologists_look_at_them() -> None:
    image = explanations.image(STRAIGHT)
    axial, coronal, sagittal = planes_through(image, (5, 8, 3))
    assert (axial.sides, coronal.sides, sagittal.sides) == (tuple("RLAP"), tuple("RLSI"), tuple("APSI"))
    assert axial.of(image.array[0]).shape == (14, 12) and axial.size_mm == (12.0, 14.0)
    assert axial.of(image.array[0])[0, 0] == image.array[0, -1, -1, 3]  # top left: front, right
    assert sagittal.of(image.array[0])[0, 0] == image.array[0, 5, -1, -1]  # top left: front, up


@pytest.mark.parametrize("place", PLACES)
def test_the_peak_is_where_the_marks_are(place: str) -> None:
    image = explanations.image(PLACES[place])
    values = explanations.spot(image, (5, 8, 3))[0]
    index = peak_of(values)
    assert index == (5, 8, 3)
    for plane in planes_through(image, index):
        column, row = plane.at
        assert plane.of(values)[row, column] == values.max()
        np.testing.assert_allclose(
            plane.points(image.shape)[row, column], image.affine[:3, :3] @ index + image.affine[:3, 3]
        )


def test_a_plateau_peaks_in_its_middle_and_negative_maps_at_their_least() -> None:
    values = np.zeros((9, 9, 9))
    values[2:7, 3:6, 4:7] = 1.0
    assert peak_of(values) == (4, 4, 5)
    assert peak_of(-values) == (4, 4, 5)
    assert peak_of(np.ones((5, 5, 5))) == (2, 2, 2)
    assert peak_of(np.full((3, 3, 3), np.nan)) == (1, 1, 1)


def test_oblique_images_are_told() -> None:
    assert not is_oblique(explanations.image(PLACES["flipped"]))
    assert is_oblique(explanations.image(PLACES["oblique"]))
    words = " ".join(str(each) for each in _blocks(explanations.image(PLACES["oblique"])))
    assert "oblique" in words


def test_flat_pictures_have_one_slice() -> None:
    flat = explanations.image(STRAIGHT, (20, 16, 1))
    assert [plane.name for plane in planes_through(flat, (3, 4, 0))] == ["axial"]


def test_a_map_of_one_slice_is_shown_alone() -> None:
    image = explanations.image(STRAIGHT)
    values = np.zeros(image.shape)
    values[4:6, 5:9, 3] = 1.0
    assert [plane.name for plane in shown_planes(image, values)] == ["axial"]
    values[4, 5, 6] = 0.5
    assert len(shown_planes(image, values)) == 3


# Pictures


def test_evidence_is_drawn_where_it_lies() -> None:
    image = explanations.image(STRAIGHT, (30, 30, 30)).with_array(np.full((1, 30, 30, 30), 0.5, np.float32))
    right = image.with_array(np.zeros(image.array.shape, np.float32))
    right.array[0, 22:26, 14:18, 14:18] = 1.0  # to the patient's right: to the left in the picture
    drawn = pixels(planes_picture(image, Attribution("saliency", right, "x", 1.0)))
    redness = drawn[..., 0] - drawn[..., 2]
    height, width = redness.shape
    axial = redness[height // 2 :, : int(width * 0.28)] > 60
    assert axial.sum() > 100
    assert np.nonzero(axial)[1].mean() < axial.shape[1] * 0.45
    above = redness[: height // 2, : int(width * 0.28)] > 60
    assert above[:, 12:-12].sum() < axial.sum() / 5  # the image alone (but for the yellow marks)


def test_a_map_on_another_grid_is_refused() -> None:
    image = explanations.image(STRAIGHT)
    other = explanations.attribution(explanations.image(PLACES["oblique"]))
    with pytest.raises(UsageError, match="another image"):
        planes_picture(image, other)


@pytest.mark.parametrize("shape", [(12, 14, 10), (200, 3, 150), (20, 16, 1), (2, 2, 90)])
def test_any_shape_makes_a_picture(shape: tuple[int, int, int]) -> None:
    image = explanations.image(PLACES["anisotropic"], shape)
    at = (1, 1, shape[2] // 2)
    for signed in (True, False):
        made = explanations.attribution(image, at, signed=signed)
        assert pixels(planes_picture(image, made)).shape[1] == 1110


def test_images_without_contrast_or_with_gaps_are_drawn() -> None:
    image = explanations.image(STRAIGHT)
    for array in (np.zeros(image.array.shape), np.full(image.array.shape, np.nan)):
        low, high = gray_window(array[0])
        assert high > low
        planes_picture(image.with_array(array), explanations.attribution(image))
    empty = explanations.attribution(image, map=image.with_array(np.zeros(image.array.shape, np.float32)))
    planes_picture(image, empty)


def test_outlines_follow_structures_on_other_grids() -> None:
    image = explanations.image(PLACES["oblique"], (30, 30, 30))
    fine = np.diag([2.0, 2.0, 2.0, 1.0])
    labels = Volume(np.zeros((1, 60, 40, 20), np.uint8), image.affine @ np.linalg.inv(fine))
    labels.array[0, 20:40, 10:30, 5:15] = 3
    segments = (Segment(3, "cube", (0, 1, 0)), Segment(4, "nothing", (1, 0, 0)))
    (outline,) = outlines_of_labels(labels, segments)
    assert outline.name == "cube"
    inside = labels.affine[:3, :3] @ (30, 20, 10) + labels.affine[:3, 3]
    outside = labels.affine[:3, :3] @ (30, 35, 10) + labels.affine[:3, 3]
    np.testing.assert_array_equal(outline.contains(np.stack([inside, outside, inside + 1e4])), [True, False, False])


def test_answers_with_a_place_are_outlined() -> None:
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    box = Box("lung", 0.9, np.array([10.0, 0, 0]), np.array([40.0, 10, 10]), turn)
    (outline,) = outlines_of_answer(DetectionPrediction((box,), {}))
    np.testing.assert_array_equal(outline.contains(np.array([[10.0, 19, 0], [29.0, 0, 0]])), [True, False])
    labels = Volume(np.ones((1, 3, 3, 3), np.uint8), np.eye(4))
    brain = Segment(1, "brain", (1, 0, 0))
    assert len(outlines_of_answer(SegmentationPrediction(labels, (brain,), {}, {}, {}))) == 1
    assert outlines_of_answer(ClassificationPrediction((), {})) == ()


def test_curves_have_their_picture() -> None:
    several = [replace(explanations.MEASURES[0], name=name) for name in ("deletion", "insertion", "randomization", "x")]
    assert pixels(curves_picture(several)).shape[0] > pixels(curves_picture(several[:1])).shape[0]


# Pages


def _blocks(image: Volume, **more: object) -> tuple[object, ...]:
    return contents(explanations.explanation([explanations.attribution(image, **more)]), image)


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
        "62 % of the evidence lies in lesion (31 times its share of the volume)", "Of 2 checks with a verdict 1 speaks",
        "it does not explain the model", "(5.0, 8.0, 3.0) mm RAS", "value 2:", "7 % is not accounted for",
        "Petsiuk et al. 2018", "Sundararajan et al. 2017", "7.0%", "abab", "torch: 2.13", "2026-01-02T03:04:05",
        "Gradient: class lesion", "was not looked at", "Two fifths", "Adebayo et al. 2018", "31.0", "500.0",
    ):  # fmt: skip
        assert said in page.text, said
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 3  # two maps, one set of curves
    assert all((each["alt"] or "").strip() for each in pictures)


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
    good = Measure("deletion", 0, None, "good")
    assert verdict_in_words([good, Measure("stability", 1, None, "")]) == "The check speaks for the map."
    assert verdict_in_words([good, good]) == "All 2 checks with a verdict speak for the map."
    assert "none speak" in verdict_in_words([Measure("a", 0, None, "bad"), Measure("b", 0, None, "bad")])
    assert verdict_in_words([]) == ""


# Files


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("place", ["anisotropic", "oblique", "oblique and left-handed"])
def test_maps_come_back_as_they_were_written(suffix: str, place: str, tmp_path: Path) -> None:
    image = explanations.image(PLACES[place])
    made = explanations.attribution(image)
    write_explanation(explanations.explanation([made]), tmp_path / "out", suffix=suffix)
    back = read_volume(tmp_path / "out" / f"integrated_gradients{suffix}")
    np.testing.assert_array_equal(back.array, made.map.array)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)


def test_all_facts_are_in_the_index(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT, channels=2)
    one = explanations.attribution(image, channels=image.with_array(image.array.astype(np.float32)))
    files = write_explanation(explanations.explanation([one]), tmp_path / "out")
    names = {file.name for file in files}
    assert names == {
        "integrated_gradients.nrrd", "integrated_gradients_channels.nrrd", "answer.json", "anatomy.csv", "measures.csv",
        "explanation.json",
    }  # fmt: skip
    assert files[-1].name == "explanation.json"
    known = json.loads(files[-1].read_text())
    (said,) = known["attributions"]
    assert said["peak"] == {"ras_mm": [5.0, 8.0, 3.0], "value": 2.0}
    assert said["measures"][0]["curve"] == [list(point) for point in explanations.CURVE]
    assert said["anatomy_sentence"].startswith("62 %")
    assert "seconds" not in said["facts"] and "created" not in known["provenance"]
    assert known["files"]["maps"] == {"integrated_gradients": "integrated_gradients.nrrd"}
    header = (tmp_path / "out" / "integrated_gradients.nrrd").read_bytes()[:2000]
    assert b"MedDL.Target:=class lesion" in header and b"MedDL.Model:=Hand-made" in header


def test_tables_are_safe_in_a_spreadsheet(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    evil = (AnatomyShare("=cmd()", 1, 0, 1, 1), explanations.ANATOMY[-1])
    write_explanation(explanations.explanation([explanations.attribution(image, anatomy=evil)]), tmp_path / "out")
    with (tmp_path / "out" / "anatomy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["structure"] == "'=cmd()" and rows[1]["positive"] == "0.38"


def test_files_are_the_same_each_time_and_those_of_an_earlier_explanation_do_not_stay(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    made = explanations.attribution(image)

    def digest() -> dict[str, str]:
        paths = sorted((tmp_path / "out").iterdir())
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    write_explanation(explanations.explanation([made]), tmp_path / "out")
    first = digest()
    later = replace(made, facts={**made.facts, "seconds": 99.0})
    write_explanation(explanations.explanation([later]), tmp_path / "out")
    assert digest() == first
    write_explanation(explanations.explanation([replace(made, anatomy=(), measures=())]), tmp_path / "out")
    assert set(first) - set(digest()) == {"anatomy.csv", "measures.csv"}


def test_maps_are_not_written_as_what_cannot_hold_them(tmp_path: Path) -> None:
    image = explanations.image(STRAIGHT)
    with pytest.raises(UsageError, match="cannot be written"):
        write_explanation(explanations.explanation([explanations.attribution(image)]), tmp_path / "out", suffix=".png")
    assert not (tmp_path / "out").exists()

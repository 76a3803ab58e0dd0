"""Looking at many cases: what stands out, tables, plots and the report; on real images where a package ships them."""

from __future__ import annotations

import csv
import doctest
import hashlib
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import realdata
from core.loaded_cases import RED, from_files, loaded
from core.phantoms import PLACES, numbered
from meddl.datasets.case import (
    Case,
    LoadedCase,
    SegmentationLabel,
)
from meddl.datasets.facts import CaseFacts, ChannelFacts, StructureFacts
from meddl.datasets.image_digest import image_digest
from meddl.datasets.inspection import inspect_case
from meddl.datasets.plots import intensity_plot, spacing_plot, volumes_plot
from meddl.datasets.quality import duplicates, mixtures, outliers, quality_rows, volume_rows
from meddl.datasets.report import report_files
from meddl.volume import Volume, read_segmentation, read_volume, write_volume


@pytest.fixture(scope="module")
def site() -> list[CaseFacts]:
    """Seven CT cases that differ as patients do: parts of TotalSegmentator's abdomen, a little larger or brighter."""
    folder = realdata.totalsegmentator()
    image = read_volume(folder / "example_ct_sm.nii.gz")
    labels, segments = read_segmentation(folder / "example_seg.nii.gz")
    facts = []
    for n in range(7):
        affine = image.affine @ np.diag([1 + 0.03 * n, 1 + 0.02 * n, 1, 1])
        array = image.array + np.int16(5 * n)
        case = Case(f"case {n}", {"CT": Volume(array, affine)}, SegmentationLabel(Volume(labels.array, affine)))
        facts.append(inspect_case(LoadedCase(case, {"CT": case.images["CT"]}, Volume(labels.array, affine), segments)))
    return facts


def test_patients_who_differ_as_patients_do_do_not_stand_out(site: list[CaseFacts]) -> None:
    assert outliers(site) == ()
    assert mixtures(site) == () and duplicates(site) == ()


def test_an_organ_outlined_twice_as_large_an_offset_and_thick_slices_stand_out(site: list[CaseFacts]) -> None:
    folder = realdata.totalsegmentator()
    image = read_volume(folder / "example_ct_sm.nii.gz")
    labels, segments = read_segmentation(folder / "example_seg.nii.gz")
    wrong = labels.array.copy()
    wrong[(wrong == 0) & (image.array > 0)] = 1  # all of the body that has no label became spleen
    thick = image.affine @ np.diag([1, 1, 4, 1])
    no_offset = image.array + np.int16(1024)
    cases = {
        "spleen": loaded(image, wrong, segments),
        "thick": loaded(Volume(image.array, thick), labels.array, segments),
        "offset": loaded(image.with_array(no_offset), labels.array, segments),
    }
    strange = [
        inspect_case(LoadedCase(Case(name, {"CT": each.images["image"]}, each.case.label), {"CT": each.images["image"]},
                                each.labels, each.segments))
        for name, each in cases.items()
    ]  # fmt: skip

    found = {(each.case, each.column) for each in outliers([*site, *strange])}

    assert ("spleen", "label 1") in found
    assert ("thick", "spacing (mm)") in found
    assert {("offset", column) for column in ("1 %", "median", "99 %")} <= found
    assert not any(case.startswith("case") for case, _ in found)


def test_pyradiomics_patients_under_one_channel_are_found_to_be_a_mixture() -> None:
    files = realdata.pyradiomics()
    facts = [inspect_case(from_files(files[f"{name}_image"], files[f"{name}_label"], name))
             for name in ("brain1", "brain2", "breast1", "lung1", "lung2")]  # fmt: skip

    assert mixtures(facts) == (
        'In channel "image", 2 images have values as low as those of air in CT, and 3 have not: they may be of several '
        "modalities, or lack an offset.",
    )
    assert not any(each.case.startswith("brain") and each.column == "label 1" for each in outliers(facts))


def _fact(name: str, **numbers: float) -> CaseFacts:
    values = {"minimum": 0.0, "maximum": 100.0, "mean": 50.0, "p1": 1.0, "p50": 50.0, "p99": 99.0, **numbers}
    channel = ChannelFacts((10, 10, 10), (1.0, 1.0, values.pop("edge", 1.0)), "RAS", "CT", "int16", not_finite=0,
                           digest=f"{hash(name):x}", **{k: v for k, v in values.items() if k != "ml"})  # fmt: skip
    liver = StructureFacts("liver", "Liver", "", RED, 100, numbers.get("ml", 1500.0), 1, 0)
    return CaseFacts(name, "segmentation", {"CT": channel}, (liver,))


def test_of_four_cases_nothing_is_unusual_and_of_equal_ones_a_single_other_is() -> None:
    def equal(count: int) -> list[CaseFacts]:
        return [_fact(str(n)) for n in range(count)]

    assert outliers([*equal(3), _fact("odd", ml=1.0)]) == ()
    (found,) = outliers([*equal(9), _fact("odd", ml=1.0)])
    assert (found.case, found.column, found.median) == ("odd", "liver", 1500.0)
    assert found.sentence == "Volume of Liver is 1 ml, that of most cases near 1500 ml."
    assert outliers([*equal(9), _fact("a little", edge=1.2)]) == ()


def test_modalities_that_are_known_are_compared_by_name() -> None:
    ct, mr = _fact("a"), _fact("b")
    object.__setattr__(mr.channels["CT"], "modality", "MR")

    assert mixtures([ct, mr]) == ('The images of channel "CT" are of several modalities: 1 CT, 1 MR.',)


def test_tables_have_a_row_per_image_and_per_structure(site: list[CaseFacts]) -> None:
    rows, volumes = quality_rows(site), volume_rows(site)

    assert [row["case"] for row in rows] == [fact.id for fact in site]
    assert rows[0]["size"] == "122 x 101 x 30" and rows[0]["structures"] == 41
    assert len(volumes) == 7 * 41
    assert quality_rows([CaseFacts("broken", "", {}, problems=("It is damaged.",))]) == [
        {"case": "broken", "remarks": "It is damaged."}
    ]


def test_plots_are_the_same_bytes_whatever_the_user_set_up(site: list[CaseFacts]) -> None:
    import matplotlib as mpl

    plots = (spacing_plot, volumes_plot, intensity_plot)
    first = [plot(site) for plot in plots]
    with mpl.rc_context({"font.size": 20, "savefig.dpi": 30, "axes.facecolor": "black", "text.usetex": True}):
        second = [plot(site) for plot in plots]

    assert first == second
    for png in first:
        assert png.startswith(b"\x89PNG") and b"tEXt" not in png and b"tIME" not in png and b"Matplotlib" not in png


def test_plots_take_names_as_they_are_and_leave_no_window_or_setting_behind() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    fact = _fact("$\\frac{1}{$ \u202e\n\u4f60")
    object.__setattr__(fact.structures[0], "name", "$\\undefined{")

    assert all(plot([fact]) for plot in (spacing_plot, volumes_plot, intensity_plot))
    assert dict(mpl.rcParams) == before
    assert volumes_plot([]) and spacing_plot([]) and intensity_plot([])


def test_the_report_is_the_same_bytes_again_and_in_another_process(site: list[CaseFacts], tmp_path: Path) -> None:
    files = report_files(site)
    (tmp_path / "facts.json").write_text(json.dumps([fact.to_dict() for fact in site]))
    program = (
        "import sys, json, hashlib; sys.path[:0] = sys.argv[2:]\n"
        "from meddl.datasets.facts import CaseFacts; from meddl.datasets.report import report_files\n"
        "facts = [CaseFacts.from_dict(each) for each in json.load(open(sys.argv[1]))]\n"
        "print(hashlib.sha256(b''.join(k.encode() + v for k, v in report_files(facts).items())).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "facts.json"), *sys.path]
    other = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()

    assert other == hashlib.sha256(b"".join(k.encode() + v for k, v in files.items())).hexdigest()
    assert sorted(files) == list(files)
    rows = list(csv.DictReader(io.StringIO(files["report/cases.csv"].decode())))
    assert [row["case"] for row in rows] == [fact.id for fact in site]
    assert b"Nothing stands out." in files["report/quality.md"]


def test_names_in_tables_are_no_formulas() -> None:
    fact = _fact("=1+1")
    object.__setattr__(fact.structures[0], "name", "@SUM(A1)")

    files = report_files([fact])

    assert b"'=1+1" in files["report/cases.csv"] and b"'@SUM(A1)" in files["report/volumes.csv"]


@pytest.mark.parametrize("name", ["image_digest", "inspection", "markdown", "splitting", "stratification"])
def test_examples_in_the_documentation_run(name: str) -> None:
    done = doctest.testmod(importlib.import_module(f"meddl.datasets.{name}"))

    assert done.attempted and not done.failed


def test_importing_what_looks_at_cases_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import meddl.datasets.inspection, meddl.datasets.quality, meddl.datasets.splitting, meddl.datasets.finishing\n"
        "print([n for n in ('torch', 'monai', 'SimpleITK', 'scipy', 'matplotlib', 'cc3d') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *sys.path], capture_output=True, check=True, text=True)

    assert done.stdout.strip() == "[]"


def test_written_volumes_keep_their_digest(tmp_path: Path) -> None:
    image = numbered(PLACES["oblique"])

    for name in ("a.nrrd", "a.nii.gz", "a.mha"):
        write_volume(image, tmp_path / name)

        assert image_digest(read_volume(tmp_path / name)) == image_digest(image)

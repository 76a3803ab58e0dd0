"""DICOM SEG: what is written is what two independent readers find, where it was, under the right patient and codes."""

from __future__ import annotations

import tracemalloc
import warnings
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from core.dicom_writer import write_enhanced, write_series
from core.phantoms import PLACES, axis_orders, reordered, world_of
from core.test_volume_pictures import written
from meddl.errors import UsageError, VolumeError
from meddl.volume import Segment, Volume, read_segmentation, read_volume, write_volume
from meddl.volume.dicom_seg import Maker, check_dicom_source, write_dicom_seg
from meddl.volume.terminology import Code, parse_terminology, serialize_terminology

BRAIN = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~SCT^818983003^Abdomen~SCT^24028007^Right"
)
SEGMENTS = (
    Segment(2, "Größe of a kidney", (0.72, 0.35, 0.27), BRAIN),
    Segment(5, "tumor", (0.0, 1.0, 0.0)),
    Segment(9, "absent", (0.2, 0.4, 1.0)),
)
MAKER = Maker(
    "Kidney model", "1.2.3", {"sha256": "ab" * 32}, ("MedDL 0.2", "torch 2.13"), datetime(2026, 5, 4, 3, 2, 1)
)
SHAPE = (14, 11, 9)


def image(affine: np.ndarray) -> Volume:
    return Volume(np.random.default_rng(0).integers(-900, 900, (1, *SHAPE)).astype(np.int16), affine)


def labels_for(volume: Volume, dtype: type = np.uint8) -> Volume:
    """Two structures in a few slices, with an empty slice within."""
    array = np.zeros((1, *volume.shape), dtype)
    array[0, 2:7, 3:8, 2:4] = 2
    array[0, 2:7, 3:8, 5:7] = 2
    array[0, 8:12, 1:3, 6] = 5
    return Volume(array, volume.affine)


def points(labels: Volume, segments: tuple[Segment, ...], name: str) -> np.ndarray:
    """The RAS mm of all voxels of a segment, sorted."""
    segment = next(each for each in segments if each.name == name)
    mask = labels.array[segment.layer] == segment.label
    where = world_of(labels.affine, labels.shape)[:, mask].T
    return where[np.lexsort(np.round(where, 2).T)]


def same(read: tuple[Volume, tuple[Segment, ...]], labels: Volume, segments: tuple[Segment, ...] = SEGMENTS) -> None:
    assert [segment.name for segment in read[1]] == [segment.name for segment in segments]
    for segment in segments:
        np.testing.assert_allclose(points(*read, segment.name), points(labels, segments, segment.name), atol=0.02)


def by_highdicom(path: Path) -> tuple[Volume, tuple[Segment, ...]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = highdicom.seg.segread(path)
        volume = seg.get_volume(combine_segments=False)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    array = np.zeros((len(seg.segment_numbers), *volume.spatial_shape), np.uint8)
    segments = []
    for layer, number in enumerate(seg.segment_numbers):
        array[layer] = volume.array[..., layer] * number
        name = seg.get_segment_description(number).segment_label
        segments.append(Segment(number, name, (0, 0, 0), layer=layer))
    return Volume(array, affine), tuple(segments)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("where", PLACES)
def test_two_readers_find_every_voxel_where_it_was(where: str, kind: str, tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES[where]))
    volume = read_volume(tmp_path / "series")
    labels = labels_for(volume)
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER, kind=kind)
    same(read_segmentation(tmp_path / "x.dcm"), labels)
    same(by_highdicom(tmp_path / "x.dcm"), labels)


def test_labels_in_another_axis_order_land_at_the_same_place(tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES["oblique"]))
    labels = labels_for(read_volume(tmp_path / "series"))
    for number, order in enumerate(axis_orders()[::7]):
        path = tmp_path / f"{number}.dcm"
        write_dicom_seg(reordered(labels, *order), SEGMENTS, path, source=tmp_path / "series", maker=MAKER)
        same(read_segmentation(path), labels)


def test_each_frame_refers_to_the_slice_it_lies_on(tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES["oblique"]), name=lambda k: f"{(k * 5) % 9}.dcm")
    volume = read_volume(tmp_path / "series")
    labels = labels_for(volume)
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER)
    seg = pydicom.dcmread(tmp_path / "x.dcm")
    at = {
        str(file.SOPInstanceUID): np.array(file.ImagePositionPatient, float)
        for file in map(pydicom.dcmread, (tmp_path / "series").iterdir())
    }
    assert seg.NumberOfFrames == 5
    for group in seg.PerFrameFunctionalGroupsSequence:
        reference = group.DerivationImageSequence[0].SourceImageSequence[0]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(at[str(reference.ReferencedSOPInstanceUID)], position, atol=1e-3)


def test_patient_study_model_codes_and_colors_are_in_it(tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES["straight"]))
    labels = labels_for(read_volume(tmp_path / "series"))
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER)
    seg, source = pydicom.dcmread(tmp_path / "x.dcm"), pydicom.dcmread(next((tmp_path / "series").iterdir()))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID and seg.Modality == "SEG"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert seg.SoftwareVersions[:2] == ["MedDL 0.2", "torch 2.13"] and "Kidney model 1.2.3" in seg.ContentDescription
    first = seg.SegmentSequence[0]
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Kidney model", "1.2.3")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert first.SegmentAlgorithmType == "AUTOMATIC" and first.TrackingID == "Kidney model: Größe of a kidney"
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == ("64033007", "Left")
    assert first.AnatomicRegionSequence[0].CodeMeaning == "Abdomen"
    _, segments = read_segmentation(tmp_path / "x.dcm")
    for read, given in zip(segments, SEGMENTS, strict=True):
        np.testing.assert_allclose(read.color, given.color, atol=0.02)
        assert parse_terminology(read.terminology) == parse_terminology(given.terminology)
    assert len({item.TrackingUID for item in seg.SegmentSequence}) == 3


def test_overlapping_structures_keep_their_layers(tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES["flipped"]))
    volume = read_volume(tmp_path / "series")
    array = np.zeros((2, *volume.shape), np.uint8)
    array[0, 2:8, 2:8, 2:6] = 1
    array[1, 4:6, 4:10, 3:5] = 1
    segments = (Segment(1, "whole", (1, 0, 0), layer=0), Segment(1, "core", (0, 1, 0), layer=1))
    labels = Volume(array, volume.affine)
    write_dicom_seg(labels, segments, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER)
    same(read_segmentation(tmp_path / "x.dcm"), labels, segments)
    same(by_highdicom(tmp_path / "x.dcm"), labels, segments)
    with pytest.raises(UsageError, match="overlap"):
        write_dicom_seg(labels, segments, tmp_path / "y.dcm", source=tmp_path / "series", maker=MAKER, kind="LABELMAP")


def test_enhanced_multi_frame_sources(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "ct.dcm", image(PLACES["flipped"]), edit=enhanced)
    labels = labels_for(read_volume(tmp_path / "ct.dcm"))
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "ct.dcm", maker=MAKER)
    same(read_segmentation(tmp_path / "x.dcm"), labels)


def enhanced(dataset: pydicom.FileDataset, _: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]


def test_a_radiograph(tmp_path: Path) -> None:
    written(
        tmp_path / "dx.dcm", np.arange(60, dtype=np.uint8).reshape(6, 10), PixelSpacing=["0.5", "0.25"],
        StudyInstanceUID="1.2.3",
    )  # fmt: skip
    volume = read_volume(tmp_path / "dx.dcm")
    labels = volume.with_array((volume.array > 30).astype(np.uint8) * 2)
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "dx.dcm", maker=MAKER)
    same(read_segmentation(tmp_path / "x.dcm"), labels)


def test_the_same_result_at_the_same_time_is_the_same_file(tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES["straight"]))
    labels = labels_for(read_volume(tmp_path / "series"), np.uint16)
    for name in ("x", "y"):
        write_dicom_seg(labels, SEGMENTS, tmp_path / name, source=tmp_path / "series", maker=MAKER)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_no_voxels_at_all_is_an_answer_too(tmp_path: Path) -> None:
    write_series(tmp_path / "series", image(PLACES["straight"]))
    volume = read_volume(tmp_path / "series")
    labels = volume.with_array(np.zeros((1, *SHAPE), np.uint8))
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER)
    assert read_segmentation(tmp_path / "x.dcm")[0].array.max() == 0


def test_a_real_compressed_series(tmp_path: Path) -> None:
    source = realdata_series(tmp_path)
    volume = read_volume(source)
    labels = volume.with_array((volume.array > 100).astype(np.uint8) * 2)
    write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=source, maker=MAKER)
    same(read_segmentation(tmp_path / "x.dcm"), labels)


def realdata_series(folder: Path) -> Path:
    from pydicom.data import get_testdata_file

    path = folder / "mr"
    path.mkdir()
    (path / "x.dcm").write_bytes(Path(str(get_testdata_file("MR_small_jp2klossless.dcm"))).read_bytes())
    return path


class TestRefusals:
    def test_what_is_no_dicom(self, tmp_path: Path) -> None:
        write_volume(image(np.eye(4)), tmp_path / "x.nrrd")
        for source in (tmp_path / "x.nrrd", tmp_path / "missing", None):
            with pytest.raises(UsageError, match=r"no DICOM.*\.seg\.nrrd"):
                check_dicom_source(source)

    def test_another_grid(self, tmp_path: Path) -> None:
        write_series(tmp_path / "series", image(PLACES["oblique"]))
        volume = read_volume(tmp_path / "series")
        check_dicom_source(tmp_path / "series")
        moved = volume.affine.copy()
        moved[0, 3] += 0.5
        for labels in (
            Volume(labels_for(volume).array, moved),
            Volume(labels_for(volume).array[:, :, :, 1:], volume.affine),
            Volume(labels_for(volume).array, PLACES["straight"]),
        ):
            with pytest.raises(VolumeError, match="does not lie on the voxels"):
                write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER)
        assert not (tmp_path / "x.dcm").exists()

    def test_series_without_identifiers_and_de_identified_ones(self, tmp_path: Path) -> None:
        def emptied(dataset: pydicom.FileDataset, _: int) -> None:
            dataset.StudyInstanceUID = ""

        def nameless(dataset: pydicom.FileDataset, _: int) -> None:
            del dataset.PatientName, dataset.PatientID

        write_series(tmp_path / "a", image(np.eye(4)), edit=emptied)
        with pytest.raises(VolumeError, match="unique identifiers"):
            check_dicom_source(tmp_path / "a")
        write_series(tmp_path / "b", image(np.eye(4)), edit=nameless)
        labels = labels_for(read_volume(tmp_path / "b"))
        write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "b", maker=MAKER)
        same(read_segmentation(tmp_path / "x.dcm"), labels)

    def test_reading_what_is_no_segmentation_or_damaged(self, tmp_path: Path) -> None:
        files = write_series(tmp_path / "series", image(np.eye(4)))
        with pytest.raises(VolumeError, match="no DICOM segmentation"):
            read_segmentation(files[0])
        labels = labels_for(read_volume(tmp_path / "series"))
        write_dicom_seg(labels, SEGMENTS, tmp_path / "x.dcm", source=tmp_path / "series", maker=MAKER)
        whole = (tmp_path / "x.dcm").read_bytes()
        for part in (0.3, 0.6, 0.95):
            (tmp_path / "y.dcm").write_bytes(whole[: int(len(whole) * part)])
            with pytest.raises(VolumeError):
                read_segmentation(tmp_path / "y.dcm")


class TestFilesMadeToFillTheMemory:
    """A few kilobytes that would unfold to gigabytes, or to hours."""

    @staticmethod
    def crafted(path: Path, frames: list[tuple[int, float]], side: int = 16, **more: object) -> Path:
        """Write a segmentation of all-set frames, each (segment, height in mm)."""
        dataset = pydicom.Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3"
        dataset.Rows = dataset.Columns = side
        dataset.NumberOfFrames, dataset.SamplesPerPixel = len(frames), 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = dataset.PixelRepresentation = 0
        dataset.SegmentationType = "BINARY"
        dataset.SegmentSequence = [items(SegmentNumber=number) for number in sorted({each for each, _ in frames})]
        dataset.PerFrameFunctionalGroupsSequence = [
            items(
                PlanePositionSequence=[items(ImagePositionPatient=[0, 0, height])],
                SegmentIdentificationSequence=[items(ReferencedSegmentNumber=number)],
            )
            for number, height in frames
        ]
        dataset.SharedFunctionalGroupsSequence = [
            items(
                PixelMeasuresSequence=[items(PixelSpacing=[1, 1], SpacingBetweenSlices=1)],
                PlaneOrientationSequence=[items(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            )
        ]
        dataset.PixelData = b"\xff" * (side * side * len(frames) // 8)
        for name, value in more.items():
            setattr(dataset, name, value)
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    def test_what_is_crafted_is_read_where_it_is_small(self, tmp_path: Path) -> None:
        labels, segments = read_segmentation(self.crafted(tmp_path / "x.dcm", [(1, 0), (2, 0), (2, 3)]))
        assert labels.array.shape == (2, 16, 16, 4) and [each.layer for each in segments] == [0, 1]

    def test_names_steer_no_terminal(self, tmp_path: Path) -> None:
        named = [items(SegmentNumber=1, SegmentLabel="a\x1b[2Jb")]
        path = self.crafted(tmp_path / "x.dcm", [(1, 0)], SegmentSequence=named)
        assert read_segmentation(path)[1][0].name == "a [2Jb"

    def test_segments_one_over_the_other_and_frames_far_away(self, tmp_path: Path) -> None:
        far = self.crafted(tmp_path / "x.dcm", [(1, 900_000), *((number, 0) for number in range(1, 20))])
        with pytest.raises(VolumeError, match="spreads its frames over 900001 slices and 10 layers"):
            read_segmentation(far)
        many = self.crafted(tmp_path / "y.dcm", [(number, 0) for number in range(1, 400)])
        with pytest.raises(VolumeError, match="257 layers"):
            read_segmentation(many)

    def test_label_maps_of_all_labels(self, tmp_path: Path) -> None:
        side = 128
        values = np.arange(side * side, dtype=np.uint16).tobytes()
        path = self.crafted(
            tmp_path / "x.dcm", [(number, 0) for number in range(1)], side,
            SegmentationType="LABELMAP", BitsAllocated=16, BitsStored=16, HighBit=15, PixelData=values,
            SegmentSequence=[items(SegmentNumber=number) for number in range(side * side)],
        )  # fmt: skip
        tracemalloc.start()
        try:
            labels, segments = read_segmentation(path)
            assert tracemalloc.get_traced_memory()[1] < 200 << 20
        finally:
            tracemalloc.stop()
        assert len(segments) == side * side - 1 and {each.layer for each in segments} == {0}
        assert np.array_equal(np.sort(labels.array, axis=None), np.arange(side * side))

    def test_files_deflated_as_a_whole(self, tmp_path: Path) -> None:
        path = self.crafted(tmp_path / "x.dcm", [(1, 0)])
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
        with pytest.raises(VolumeError, match="deflated"):
            read_segmentation(path)


def items(**facts: object) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for name, value in facts.items():
        setattr(dataset, name, value)
    return dataset


def test_terminology_goes_to_codes_and_back() -> None:
    codes = parse_terminology(BRAIN)
    assert (codes.type, codes.modifier) == (Code("SCT", "64033007", "Kidney"), Code("SCT", "7771000", "Left"))
    assert codes.region_modifier is not None
    assert parse_terminology(serialize_terminology(codes)) == codes
    for broken in ("", "nonsense", "a~b^c~d", "~^^~^^~", "x~SCT^1^y~^2^z"):
        assert parse_terminology(broken).type.meaning == "Tissue"

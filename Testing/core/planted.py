"""Cases with identifiers planted wherever one can hide, and a search for them in whatever was written."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np
import pydicom
from core.dicom_writer import write_series
from meddl.volume import Segment, Volume, write_segmentation, write_volume
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from pydicom.sequence import Sequence
from pydicom.uid import MRImageStorage

WORDS = (
    "family given other_id private creator overlay overlay_name series_text date institution uid aet preamble "
    "comment nested file folder seg_header descrip aux intent extension gzip_name db nrrd_comment nrrd_value "
    "nrrd_content mha_comment node attribute member column_case column_patient column_study column_site "
    "operator phone "
)
"""Where identifiers are planted."""


def _name(number: int) -> str:
    """Return a word that stands nowhere else, of letters only."""
    letters = "bcdfghjklm"
    return "Qzx" + "".join(letters[int(digit)] + "u" for digit in f"{number:02}")


PLANTED = {word: _name(number) for number, word in enumerate(WORDS.split())}
PLANTED["date"] = "19370617"
PLANTED["uid"] = "1.3.12.2.1107.5.1.4.73737.30000018"
PLANTED["other_id"] = "98537317"
PLANTED["phone"] = "0170-8836617"
# What one field of a header has room for.
PLANTED["intent"], PLANTED["db"] = "Qzxintent", "Qzxdbname"

AFFINE = np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 10], [0, 0, 2.0, -30], [0, 0, 0, 1]])


def _image(seed: int) -> Volume:
    noise = np.random.default_rng(seed).normal(size=(1, 32, 30, 12)) * 30
    noise[0, 8:20, 8:20, 3:9] += 200
    return Volume(np.rint(noise).astype(np.int16), AFFINE)


def _labels(image: Volume) -> Volume:
    return image.with_array((np.abs(image.array.astype(int)) > 150).astype(np.uint8))


def plant(folder: Path) -> Path:
    """Write a list of five cases, each of another kind of file, full of identifiers; return the list."""
    place = folder / f"study_{PLANTED['folder']}"
    place.mkdir(parents=True)
    rows = []
    for number, (write, label) in enumerate(
        [(_dicom, ".seg.nrrd"), (_nifti, ".nii.gz"), (_nrrd, ".seg.nrrd"), (_mha, ".nrrd"), (_scene, "")]
    ):
        image = _image(number)
        path = write(place, image)
        mask = ""
        if label:
            mask = str(place / f"{PLANTED['file']}_{number}_seg{label}")
            write_segmentation(_labels(image), [Segment(1, "Tumor", (1, 0, 0))], Path(mask))
        if label == ".seg.nrrd":
            _into_nrrd(Path(mask), f"# {PLANTED['seg_header']}\nowner:={PLANTED['seg_header']}")
        end = str(number) if number else ""
        rows.append([
            f"{PLANTED['column_case']} {number}", PLANTED["column_patient"] + end, PLANTED["column_study"],
            PLANTED["column_site"], str(path), mask,
        ])  # fmt: skip
    listing = folder / "cases.csv"
    with listing.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["case", "patient", "study", "site", "T1w", "segmentation"], *rows])
    return listing


def _dicom(place: Path, image: Volume) -> Path:
    folder = place / f"{PLANTED['file']}_dicom"

    def edit(dataset: pydicom.Dataset, k: int) -> None:
        dataset.Modality, dataset.SOPClassUID = "MR", MRImageStorage
        dataset.PatientName = f"{PLANTED['family']}^{PLANTED['given']}"
        dataset.PatientID = PLANTED["other_id"]
        other = pydicom.Dataset()
        other.PatientID, other.TypeOfPatientID = PLANTED["other_id"], "TEXT"
        dataset.OtherPatientIDsSequence = Sequence([other])
        dataset.PatientBirthDate = dataset.StudyDate = dataset.ContentDate = PLANTED["date"]
        dataset.private_block(0x0029, PLANTED["creator"], create=True).add_new(1, "LO", PLANTED["private"])
        dataset.add_new(0x60000022, "LO", PLANTED["overlay_name"])
        dataset.add_new(0x60003000, "OW", PLANTED["overlay"].encode().ljust(10))
        dataset.SeriesDescription = f"thorax {PLANTED['series_text']} lung"
        dataset.InstitutionName, dataset.PatientComments = PLANTED["institution"], PLANTED["comment"]
        dataset.OperatorsName, dataset.PatientTelephoneNumbers = PLANTED["operator"], PLANTED["phone"]
        dataset.SoftwareVersions = f"VB10 for {PLANTED['institution']}"
        code = pydicom.Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99", f"of {PLANTED['family']}"
        code.RequestAttributesSequence = Sequence([pydicom.Dataset()])
        code.RequestAttributesSequence[0].RequestedProcedureDescription = PLANTED["nested"]
        dataset.AnatomicRegionSequence = Sequence([code])
        dataset.StudyInstanceUID = PLANTED["uid"]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{PLANTED['uid']}.{k + 1}"
        dataset.file_meta.SourceApplicationEntityTitle = PLANTED["aet"].upper()
        dataset.preamble = PLANTED["preamble"].encode().ljust(128, b"\0")

    write_series(folder, image, edit=edit, series_uid=f"{PLANTED['uid']}.99")
    return folder


def _nifti(place: Path, image: Volume) -> Path:
    path = place / f"{PLANTED['file']}_b.nii.gz"
    file = nib.Nifti1Image(image.array[0], image.affine)
    file.header["descrip"], file.header["aux_file"] = PLANTED["descrip"], PLANTED["aux"]
    file.header["intent_name"], file.header["db_name"] = PLANTED["intent"], PLANTED["db"]
    file.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PLANTED["extension"].encode()))
    sink = io.BytesIO()
    with gzip.GzipFile(filename=PLANTED["gzip_name"], mode="wb", fileobj=sink, mtime=0) as zipped:
        zipped.write(file.to_bytes())
    path.write_bytes(sink.getvalue())
    return path


def _nrrd(place: Path, image: Volume) -> Path:
    path = place / f"{PLANTED['file']}_c.nrrd"
    write_volume(image, path)
    lines = f"# {PLANTED['nrrd_comment']}\ncontent: {PLANTED['nrrd_content']}\npatient:={PLANTED['nrrd_value']}"
    _into_nrrd(path, lines)
    return path


def _into_nrrd(path: Path, lines: str) -> None:
    start, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(start + b"\n" + lines.encode() + b"\n" + rest)


def _mha(place: Path, image: Volume) -> Path:
    path = place / f"{PLANTED['file']}_d.mha"
    write_volume(image, path)
    path.write_bytes(
        path.read_bytes().replace(b"ElementType", f"Comment = {PLANTED['mha_comment']}\nElementType".encode(), 1)
    )
    return path


def _scene(place: Path, image: Volume) -> Path:
    path, scratch = place / f"{PLANTED['file']}_e.mrb", place / "scratch"
    scratch.mkdir()
    write_volume(image, scratch / "a.nrrd")
    write_segmentation(_labels(image), [Segment(1, "Tumor", (1, 0, 0))], scratch / "b.seg.nrrd")
    member = PLANTED["member"]
    scene = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<MRML version="5.12">\n'
        f'<VolumeArchetypeStorage id="s1" fileName="Data/{member}.nrrd" ></VolumeArchetypeStorage>\n'
        f'<Volume id="v1" name="{PLANTED["node"]}" attributes="owner:{PLANTED["attribute"]}" '
        f'description="{PLANTED["attribute"]}" references="storage:s1;" ></Volume>\n'
        f'<SegmentationStorage id="s2" fileName="Data/{member}.seg.nrrd" ></SegmentationStorage>\n'
        f'<Segmentation id="g1" name="{PLANTED["node"]} seg" '
        f'references="storage:s2;referenceImageGeometryRef:v1;" ></Segmentation>\n</MRML>\n'
    )
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(f"{PLANTED['node']}/{PLANTED['node']}.mrml", scene)
        zipped.write(scratch / "a.nrrd", f"{PLANTED['node']}/Data/{member}.nrrd")
        zipped.write(scratch / "b.seg.nrrd", f"{PLANTED['node']}/Data/{member}.seg.nrrd")
    for file in scratch.iterdir():
        file.unlink()
    scratch.rmdir()
    return path


def plant_pictures(folder: Path, *, burned_in: bool = False) -> Path:
    """Write a list of four pictures of two classes with words in their chunks, and on request in their pixels."""
    rows = []
    for number in range(4):
        ramp = np.add.outer(np.arange(200) / 3, np.arange(260) / (3 + number)).astype(np.uint8)
        picture = Image.fromarray(ramp)
        if burned_in:
            font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 16)
            ImageDraw.Draw(picture).text((10, 10), f"{PLANTED['family']} {PLANTED['date']}", fill=255, font=font)
        words = PngImagePlugin.PngInfo()
        words.add_text("Author", PLANTED["nrrd_comment"])
        words.add_itxt("Title", PLANTED["nrrd_value"], zip=True)
        exif = Image.Exif()
        exif[0x010E] = PLANTED["descrip"]
        path = folder / f"{PLANTED['file']}_{number}.png"
        folder.mkdir(exist_ok=True)
        picture.save(path, pnginfo=words, exif=exif)
        rows.append(
            [f"{PLANTED['column_case']} {number}", f"{PLANTED['column_patient']} {number}", str(path), "ab"[number % 2]]
        )
    listing = folder / "cases.csv"
    with listing.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["case", "patient", "image", "class"], *rows])
    return listing


def found_in(root: Path) -> dict[str, set[str]]:
    """Return which files have an identifier in their name or bytes, whatever they are packed in, by identifier."""
    found: dict[str, set[str]] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        texts = [name.encode()] + ([data for data in _unpacked(path.read_bytes())] if path.is_file() else [])
        for word, text in PLANTED.items():
            if any(_holds(data, text) for data in texts):
                found.setdefault(word, set()).add(name)
    return found


def _holds(data: bytes, text: str) -> bool:
    low = data.lower()
    plain = text.lower()
    dated = re.fullmatch(r"(\d{4})(\d\d)(\d\d)", text)
    ways = [plain, *(["-".join(dated.groups()), ".".join(reversed(dated.groups()))] if dated else [])]
    return any(way.encode(code) in low for way in ways for code in ("ascii", "utf-16-le", "utf-16-be"))


def _unpacked(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield bytes, and what they are when they are decompressed: gzip, zip, bzip2, xz, and any zlib stream within."""
    yield data
    if depth > 3:
        return
    if data[:2] == b"\x1f\x8b":
        yield from _unpacked(gzip.decompress(data), depth + 1)
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            for name in zipped.namelist():
                yield name.encode()
                yield from _unpacked(zipped.read(name), depth + 1)
    elif data[:3] == b"BZh":
        yield bz2.decompress(data)
    elif data[:6] == b"\xfd7zXZ\x00":
        yield lzma.decompress(data)
    for mark in (b"\x1f\x8b\x08", b"\x78\x9c", b"\x78\x01", b"\x78\xda", b"\x78\x5e"):
        for start in [each.start() for each in re.finditer(re.escape(mark), data)][:200]:
            try:
                yield zlib.decompressobj(31 if mark[0] == 0x1F else 15).decompress(data[start:], 1 << 24)
            except zlib.error:
                continue

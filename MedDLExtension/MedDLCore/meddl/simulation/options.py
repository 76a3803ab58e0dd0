"""What is simulated, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal, TypeAlias

from meddl.errors import UsageError
from meddl.simulation.setting_checks import check_one_of, check_range, check_within, is_like, make_tuples

Axis: TypeAlias = Literal["left-right", "front-back", "head-foot"]
AXES: tuple[Axis, ...] = ("left-right", "front-back", "head-foot")
ACROSS: Mapping[str, Axis] = {"axial": "head-foot", "coronal": "front-back", "sagittal": "left-right"}
"""The axis that slices of a plane lie across."""
VIEWS: Mapping[str, tuple[float, float]] = {
    "PA": (0.0, 0.0),
    "AP": (180.0, 0.0),
    "LL": (90.0, 0.0),
    "RL": (-90.0, 0.0),
}
"""Angles in degrees by name, as DICOM calls views: of "PA" (postero-anterior) the detector is in front of the patient,
of "LL" (left lateral) at the left side."""


@dataclass(frozen=True)
class Undersampling:
    """An MR image of which only a part of k-space was measured, with zeros for the rest.

    Attributes:
        acceleration: k-space has so many times the lines that are measured; of several, each image draws one.
        center_fraction: share of the lines, in the middle, that are all measured; one for each acceleration.
        mask: which of the others are: by chance ("random"), or every n-th ("equispaced").
        encoding: "2d": slice by slice, lines are left out along one axis; "3d": along both axes of ``plane``, which are
            the phase-encoding ones, by the root of the acceleration each.
        plane: of the slices.
        phase_axis: along which lines are left out in 2d; "" for the plane's usual one.
        phase: the image gets a smooth phase by chance: one without would be known from half of its k-space.
        coils: receiver coils with smooth sensitivities, joined by the root of the sum of squares.
        snr: of the whole k-space's image; noise is added to k-space. One number, or a range; () for no noise.
    """

    method: ClassVar[str] = "undersampling"
    title: ClassVar[str] = "Undersampled MR"

    acceleration: tuple[float, ...] = (4.0,)
    center_fraction: tuple[float, ...] = (0.08,)
    mask: Literal["random", "equispaced"] = "random"
    encoding: Literal["2d", "3d"] = "2d"
    plane: Literal["axial", "coronal", "sagittal"] = "axial"
    phase_axis: Literal["", "left-right", "front-back", "head-foot"] = ""
    phase: bool = True
    coils: int = 1
    snr: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        make_tuples(self, "acceleration", "center_fraction", "snr")
        check_one_of(
            self, mask=("random", "equispaced"), encoding=("2d", "3d"), plane=tuple(ACROSS), phase_axis=("", *AXES)
        )
        check_range(self, "snr", 0.1, 1e4, empty=True)
        if not 1 <= self.coils <= 32:
            raise UsageError(f"coils is {self.coils}. It takes 1 to 32.")
        if not self.acceleration or len(self.acceleration) != len(self.center_fraction):
            raise UsageError("Give one center_fraction for each acceleration.")
        for speed, center in zip(self.acceleration, self.center_fraction, strict=True):
            if not 1 < speed <= 32:
                raise UsageError(f"acceleration is {speed:g}. It lies above 1, and is 32 at most.")
            share = speed ** (-1 if self.encoding == "2d" else -0.5)
            if not 0 < center < share:
                raise UsageError(f"center_fraction is {center:g}, where an acceleration of {speed:g} measures "
                                 f"{share:.2g} of the lines: it lies between 0 and that.")  # fmt: skip
        if self.phase_axis and (self.encoding == "3d" or self.phase_axis == ACROSS[self.plane]):
            raise UsageError(f"phase_axis is {self.phase_axis!r}, which is no axis of {self.plane} slices to choose.")


@dataclass(frozen=True)
class Rician:
    """An MR magnitude image with more noise.

    Attributes:
        snr: mean of the foreground by the standard deviation of the noise in each of the two parts of the signal. One
            number, or a range that each image draws from.
    """

    method: ClassVar[str] = "rician"
    title: ClassVar[str] = "Noisy MR"

    snr: tuple[float, ...] = (10.0,)

    def __post_init__(self) -> None:
        make_tuples(self, "snr")
        check_range(self, "snr", 0.1, 1e4)


@dataclass(frozen=True)
class LowDose:
    """A CT taken with less dose.

    Attributes:
        dose: share of the full dose. One number, or a range that each image draws from.
        photons: of the full dose, by detector bin and view with nothing in the way.
        electronic_noise: standard deviation of the detector's own noise, in photons.
        views: over half a turn.
        image: "difference": noise is all that is added, what the original shows stays as sharp as it is; "fbp": the
            image is made anew from its projections, by filtered back projection.
        filter: of the back projection.
        noisy_original: the original has the noise of full dose itself: only what is lacking is added.
        energy_kev: effective energy of the X-rays.
    """

    method: ClassVar[str] = "low_dose"
    title: ClassVar[str] = "Low-dose CT"

    dose: tuple[float, ...] = (0.25,)
    photons: float = 1e6
    electronic_noise: float = 3.0
    views: int = 360
    image: Literal["difference", "fbp"] = "difference"
    filter: Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"] = "hann"
    noisy_original: bool = True
    energy_kev: float = 70.0

    def __post_init__(self) -> None:
        make_tuples(self, "dose")
        check_one_of(self, image=("difference", "fbp"), filter=("ramp", "shepp-logan", "cosine", "hamming", "hann"))
        check_range(self, "dose", 1e-4, 1.0)
        check_within(self, "photons", 10, 1e9)
        check_within(self, "electronic_noise", 0, 1e4)
        check_within(self, "views", 8, 5000)
        check_within(self, "energy_kev", 30, 150)
        if self.noisy_original and max(self.dose) >= 1:
            raise UsageError("dose is 1: the original has the noise of full dose already. Choose less, or say with "
                             "noisy_original = false that it has none.")  # fmt: skip


@dataclass(frozen=True)
class Projection:
    """X-ray pictures of a CT: digitally reconstructed radiographs, with what is labeled projected too.

    Attributes:
        views: each gives a picture: "PA", "AP", "LL", "RL", or angles in degrees as DICOM's positioner has them,
            "PRIMARY" or "PRIMARY/SECONDARY": primary 0 is PA, and grows as the detector moves to the patient's left;
            secondary grows as it moves to the head.
        jitter_degrees: both angles of each picture are moved by chance, by so much at most.
        beam: "cone", from a point, or "parallel".
        source_mm: from the X-rays' source to the isocenter, which is the image's center.
        size: pixels across and down.
        field_mm: how wide the picture is in the isocenter's plane; 0 for all of the patient.
        energy_kev: of the X-rays.
        value: "film": 0 to 4095, bright where much is in the way; "line_integral": of the attenuation.
        contrast: of the film: how steep its curve is.
        min_path_mm: a structure is where rays run through so much of it.
        structures: names of those that are projected, in upper or lower case; () for all.
        paths: tell how far each ray runs through each structure, too.
    """

    method: ClassVar[str] = "projection"
    title: ClassVar[str] = "X-ray of a CT"

    views: tuple[str, ...] = ("AP",)
    jitter_degrees: float = 0.0
    beam: Literal["cone", "parallel"] = "cone"
    source_mm: float = 1000.0
    size: tuple[int, ...] = (256, 256)
    field_mm: float = 0.0
    energy_kev: float = 70.0
    value: Literal["film", "line_integral"] = "film"
    contrast: float = 1.6
    min_path_mm: float = 1.0
    structures: tuple[str, ...] = ()
    paths: bool = False

    def __post_init__(self) -> None:
        make_tuples(self, "views", "size", "structures")
        check_one_of(self, beam=("cone", "parallel"), value=("film", "line_integral"))
        check_within(self, "jitter_degrees", 0, 45)
        check_within(self, "source_mm", 100, 1e5)
        check_within(self, "field_mm", 0, 5000)
        check_within(self, "energy_kev", 30, 150)
        check_within(self, "contrast", 0.05, 20)
        check_within(self, "min_path_mm", 0, 1000)
        if len(self.size) != 2 or not all(8 <= each <= 4096 for each in self.size):
            raise UsageError("size is two numbers of pixels, across and down, from 8 to 4096.")
        if not self.views:
            raise UsageError("Name at least one view, for instance AP.")
        for view in self.views:
            angles(view)


Method: TypeAlias = Undersampling | Rician | LowDose | Projection
METHODS: Mapping[str, type[Undersampling] | type[Rician] | type[LowDose] | type[Projection]] = {
    each.method: each for each in (Undersampling, Rician, LowDose, Projection)
}


@dataclass(frozen=True)
class SimulationOptions:
    """What is made of each image.

    As plain data it is one object: ``{"method": "low_dose", "dose": [0.1], "variants": 2, "seed": 7}``.

    Attributes:
        method: how the image is taken.
        variants: of each image; of projections, of each view.
        seed: of what is left to chance.
        channel: of a case's images; "" is the first.
    """

    method: Method = field(default_factory=Undersampling)
    variants: int = 1
    seed: int = 0
    channel: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.variants <= 99:
            raise UsageError(f"variants is {self.variants}. It takes 1 to 99.")
        if self.variants > 1 and isinstance(self.method, Projection) and not self.method.jitter_degrees:
            raise UsageError("Variants of a projection would all be the same. Give jitter_degrees, or more views.")

    @property
    def count(self) -> int:
        """How many images are made of one."""
        return self.variants * (len(self.method.views) if isinstance(self.method, Projection) else 1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        own = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.method).items()}
        return {"method": self.method.method, **own, "variants": self.variants, "seed": self.seed,
                "channel": self.channel}  # fmt: skip

    @classmethod
    def from_dict(cls, data: Any) -> SimulationOptions:
        """Return the options that plain data describe; what they leave out is the default.

        Raises:
            UsageError: they describe none; the message says what is wrong.
        """
        if not isinstance(data, Mapping):
            raise UsageError("The settings of a simulation are an object of names and values.")
        kind = METHODS.get(data.get("method", "")) if isinstance(data.get("method"), str) else None
        if kind is None:
            raise UsageError(f"The method is {data.get('method')!r}. Choose one of: {', '.join(METHODS)}.")
        own = {each.name: each.default for each in fields(kind)}
        own.update({name: example for name, example in _EXAMPLES.items() if own.get(name) == ()})
        common = {"variants": 1, "seed": 0, "channel": ""}
        for name, value in data.items():
            if name == "method":
                continue
            if name not in own and name not in common:
                raise UsageError(f"{kind.title} has no {name!r}. It has: {', '.join([*own, *common])}.")
            if not is_like(value, example := own.get(name, common.get(name))):
                shown = list(example) if isinstance(example, tuple) else example
                raise UsageError(f"{name} is {value!r}, which it cannot be. An example: {shown!r}.")
        method = kind(**{name: data[name] for name in own if name in data})
        return cls(method, **{name: data[name] for name in common if name in data})


_EXAMPLES: Mapping[str, tuple[Any, ...]] = {"snr": (20.0,), "structures": ("Liver",)}
"""Of settings whose default is nothing."""


def angles(view: str) -> tuple[float, float]:
    """Return the primary and the secondary angle of a view in degrees.

    Raises:
        UsageError: it is no view.

    Example:
        >>> angles("LL"), angles("30/-10")
        ((90.0, 0.0), (30.0, -10.0))
    """
    if view in VIEWS:
        return VIEWS[view]
    try:
        primary, _, secondary = view.partition("/")
        first, second = float(primary), float(secondary or 0)
    except ValueError:
        first = second = float("nan")
    if not (-360 <= first <= 360 and -90 < second < 90):
        raise UsageError(f"{view!r} is no view. Choose one of {', '.join(VIEWS)}, or give angles in degrees, for "
                         "instance 30 or 30/-10 (the second above -90 and below 90).")  # fmt: skip
    return first, second

"""The transforms there are, by the names that plans have for them."""

from __future__ import annotations

from meddl.augmentation import intensity, kspace, resolution, spatial
from meddl.augmentation.transform import Transform
from meddl.errors import UsageError

TRANSFORMS: dict[str, Transform] = {
    each.name: each
    for each in (
        spatial.Flip(),
        spatial.Affine(),
        spatial.Elastic(),
        intensity.Noise(),
        intensity.Gain(),
        intensity.Contrast(),
        intensity.BiasField(),
        intensity.Blur(),
        intensity.Sharpen(),
        intensity.Cutout(),
        resolution.LowResolution(),
        resolution.Anisotropy(),
        resolution.Gibbs(),
        kspace.Ghosting(),
        kspace.Motion(),
        kspace.Spike(),
    )
}


def transform(name: object, where: str) -> Transform:
    """Return the transform called ``name``.

    Raises:
        UsageError: there is none; the message begins with ``where``.
    """
    if not isinstance(name, str) or name not in TRANSFORMS:
        raise UsageError(f"{where}: there is no transform {name!r}. Choose one of: {', '.join(TRANSFORMS)}.")
    return TRANSFORMS[name]

"""How images are made by a generator that leaves a choice: in how many steps, and of what size."""

from __future__ import annotations

from dataclasses import dataclass

from meddl.errors import UsageError

_MOST_STEPS = 1000


@dataclass(frozen=True)
class Sampling:
    """What may be chosen when images are made; most generators leave no choice of size.

    Attributes:
        steps: of a flow or diffusion for each image; 0: as many as the model tells.
        size: voxels along R, A and S that the image is made with, before it is brought to the label map's grid; ():
            as it fits best.

    Raises:
        UsageError: these are no such numbers.
    """

    steps: int = 0
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= _MOST_STEPS:
            raise UsageError(
                f"{self.steps} steps were asked for. Ask for 1 to {_MOST_STEPS}, or leave it to the model."
            )
        if self.size and (len(self.size) != 3 or any(type(each) is not int or each < 1 for each in self.size)):
            raise UsageError("The size of an image is three numbers of voxels, for instance 256,256,128.")

    def only(self, name: str, *allowed: str) -> None:
        """Refuse what a generator leaves no choice of.

        Args:
            name: of the generator.
            allowed: "steps" or "size", or both.

        Raises:
            UsageError: something else was chosen.
        """
        if self.steps and "steps" not in allowed:
            raise UsageError(f"The generator '{name}' makes an image in one step: leave the number of steps out.")
        if self.size and "size" not in allowed:
            raise UsageError(f"The generator '{name}' makes images of one size only: leave the size out.")


AS_TOLD = Sampling()
"""As the model tells."""

"""What a user may choose about a phantom data set."""

from dataclasses import dataclass
from typing import Literal, get_args

from hipseg.errors import ConfigError

MaskForm = Literal["overlay", "rtstruct", "nifti"]
MASK_FORMS: tuple[str, ...] = get_args(MaskForm)
SMALLEST_MATRIX, LARGEST_MATRIX = 64, 1024
FEWEST_SLICES = 4


@dataclass(frozen=True)
class PhantomOptions:
    """The choices behind one data set.

    Args:
        patients: how many; their hips go from normal to dislocated.
        slices: of each patient's series.
        matrix: rows and columns of a slice.
        seed: the same seed and options give the same bytes.
        masks: form of the masks.
        organs: the trunk with one structure an organ, in place of the hip.
        metal: every second patient, the first among them, carries a plate and screws.
    Raises:
        ConfigError: a number is out of its range, or `masks` is unknown.
    """

    patients: int = 21
    slices: int = 60
    matrix: int = 512
    seed: int = 0
    masks: MaskForm = "overlay"
    organs: bool = False
    metal: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        _need(self.patients >= 1, "patients", self.patients, "1 or more")
        _need(self.slices >= FEWEST_SLICES, "slices", self.slices, f"{FEWEST_SLICES} or more")
        _need(SMALLEST_MATRIX <= self.matrix <= LARGEST_MATRIX, "matrix", self.matrix, f"{SMALLEST_MATRIX} to {LARGEST_MATRIX}")
        _need(self.seed >= 0, "seed", self.seed, "0 or more")
        _need(self.masks in MASK_FORMS, "masks", self.masks, ", ".join(MASK_FORMS))


def _need(is_good: bool, name: str, found: object, accepted: str) -> None:
    if not is_good:
        raise ConfigError(f"phantom option {name} is out of range: found {found}; accepted: {accepted}")

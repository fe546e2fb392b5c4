"""Label numbers, what masks and cases are called, and the Hounsfield units of air. Apart from `axes`, which loads NumPy."""

from types import MappingProxyType
from typing import Literal

MaskKind = Literal["overlay", "rtstruct", "segmentation", "nifti", "nrrd"]
"""What a mask was made from."""
Subset = Literal["train", "test"]
"""The side of its publisher's own split that a case lies on."""

BACKGROUND_LABEL = 0
HIP_LABEL = 1
AIR_HU = -1000
"""Hounsfield units of air; what a slice is padded with."""

ORGAN_LABELS = MappingProxyType({"liver": 1, "bladder": 2, "lungs": 3, "kidneys": 4, "bone": 5, "brain": 6})
"""CT-ORG's label numbers. Source: Rister et al., CT-ORG, Scientific Data 7 (2020) 381."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from hipseg.errors import ConfigError
from hipseg.shards.schema import Limits, read_as


@dataclass(frozen=True)
class Bone:
    name: Annotated[str, Limits(pattern=r"^[a-z]+$")]
    share: Annotated[float, Limits(gt=0, le=1)]
    voxels: tuple[Annotated[int, Limits(ge=1, le=9)], ...] = ()

    def __post_init__(self):
        if self.name == "tail":
            raise ConfigError("no tail")


def test_a_value_within_its_limits_becomes_the_dataclass():
    assert read_as(Bone, {"name": "femur", "share": 1, "voxels": [1, 9]}) == Bone("femur", 1.0, (1, 9))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Femur"}, r"^name: .*should match pattern"),
        ({"share": 0}, r"^share: .*greater than 0"),
        ({"share": 1.5}, r"^share: .*less than or equal to 1"),
        ({"voxels": [3, 0]}, r"^voxels\.1: .*greater than or equal to 1"),
        ({"voxels": [10]}, r"^voxels\.0: .*less than or equal to 9"),
        ({"voxels": ["many"]}, r"^voxels\.0: .*valid integer"),
    ],
)
def test_what_goes_beyond_a_limit_is_refused_with_its_place(change, message):
    with pytest.raises(ValueError, match=message):
        read_as(Bone, {"name": "femur", "share": 0.5, **change})


def test_what_the_dataclass_itself_refuses_keeps_its_error():
    with pytest.raises(ConfigError, match="no tail"):
        read_as(Bone, {"name": "tail", "share": 0.5})

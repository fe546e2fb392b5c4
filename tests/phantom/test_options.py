import pytest

from hipseg.errors import ConfigError
from hipseg.phantom.options import PhantomOptions


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("patients", 0, "1 or more"),
        ("slices", 3, "4 or more"),
        ("matrix", 63, "64 to 1024"),
        ("matrix", 1025, "64 to 1024"),
        ("seed", -1, "0 or more"),
        ("masks", "png", "overlay, rtstruct, nifti"),
    ],
)
def test_option_out_of_range_is_refused_by_name(name, value, accepted):
    with pytest.raises(ConfigError, match=rf"phantom option {name} .*found {value}; accepted: {accepted}"):
        PhantomOptions(**{name: value})


def test_smallest_and_largest_options_are_accepted():
    assert PhantomOptions(patients=1, slices=4, matrix=64).matrix == 64
    assert PhantomOptions(matrix=1024).matrix == 1024

"""What a mask file names, against a series in one frame of reference."""

from types import SimpleNamespace

import pytest

from hipseg.ingest.references import References

SERIES = [SimpleNamespace(series_uid="2.25.1", instance_uid=f"2.25.1.{z}", frame_uid="2.25.5") for z in range(3)]
SERIES_WORDS, FRAME_WORDS = (
    "a mask file names another series",
    "an RTSTRUCT file names the series or its images, and another frame",
)


def refer(series, images, frames):
    return References(frozenset(series), frozenset(images), frozenset(frames), frozenset(frames), "", "")


@pytest.mark.parametrize(
    ("series", "images", "frames", "expected"),
    [
        (["2.25.1"], ["2.25.1.0"], ["2.25.5"], []),
        (["2.25.9"], ["2.25.1.2"], ["2.25.5"], []),
        ([], [], ["2.25.5"], []),
        ([], [], [], []),
        (["2.25.9"], ["2.25.9.2"], ["2.25.5"], [SERIES_WORDS]),
        ([], ["2.25.9.2"], ["2.25.5"], [SERIES_WORDS]),
        (["2.25.1"], [], ["2.25.6"], [FRAME_WORDS]),
        (["2.25.1"], [], ["2.25.6", "2.25.5"], []),
    ],
)
def test_only_what_leads_elsewhere_is_warned_of(series, images, frames, expected):
    warnings = list(refer(series, images, frames).warnings(SERIES))
    assert len(warnings) == len(expected)
    assert all(words.startswith(start) for words, start in zip(warnings, expected, strict=True))

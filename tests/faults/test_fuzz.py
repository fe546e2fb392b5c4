"""A thousand mutated files; `tools/fuzz_ingest.py` runs ten thousand."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from tools.fuzz_bases import list_files, write_bases
from tools.fuzz_ingest import Tally, fuzz, judge, mutate


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {base.name: base for base in write_bases(tmp_path_factory.mktemp("fuzz") / "good")}


@pytest.fixture
def spoiled(bases, tmp_path):
    """Give a copy of a good data set to spoil: `spoiled("native")`."""

    def copy(name):
        shutil.copytree(bases[name].folder, tmp_path / name)
        return bases[name], tmp_path / name, list_files(tmp_path / name)

    return copy


def edit(path, **values):
    dataset = dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.mark.slow
def test_mutated_files_neither_crash_nor_hang_nor_are_taken_for_good():
    tally = Tally()
    fuzz(1000, 7, tally)
    assert tally.failures == []
    assert tally.counts["refused"] > 500
    assert tally.counts["read right"] > 100


def test_every_good_data_set_is_read_right(bases):
    assert len(bases) == 16
    assert {name: judge(base, base.folder) for name, base in bases.items()} == dict.fromkeys(bases, ("read right", set()))


def test_a_wrong_value_is_wrong_unless_it_cannot_be_seen(spoiled):
    base, folder, paths = spoiled("native")
    raw = paths[0].read_bytes()
    paths[0].write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert judge(base, folder) == ("wrong", {"values"})
    assert judge(base, folder, {"mask", "values"}) == ("unseen", {"values"})
    assert judge(base, folder, {"mask"}) == ("wrong", {"values"})
    assert judge(base, folder, {None}) == ("unseen", {"values"})


def test_a_wrong_mask_is_wrong(spoiled):
    base, folder, _ = spoiled("mask.nii")
    path = folder / "mask.nii"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert judge(base, folder) == ("wrong", {"mask"})
    path.unlink()
    assert judge(base, folder) == ("wrong", {"mask"})


def test_a_slice_less_is_wrong_even_if_it_was_set_aside_or_has_become_a_case(spoiled):
    base, folder, paths = spoiled("big")
    edit(paths[-1], Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", SeriesInstanceUID="2.25.1")
    assert judge(base, folder) == ("set aside and counted", {"slices"})
    paths[-1].unlink()
    assert judge(base, folder) == ("wrong", {"slices"})
    for path in paths[:-1]:
        path.unlink()
    assert judge(base, folder) == ("refused", set())


def test_voxels_in_another_place_are_wrong(spoiled):
    base, folder, paths = spoiled("big")
    for path in paths:
        edit(path, PixelSpacing=[0.75, 0.9])
    assert judge(base, folder) == ("wrong", {"grid"})


def test_a_difference_with_a_warning_is_none_in_silence(spoiled):
    base, folder, paths = spoiled("big")
    edit(paths[0], RescaleIntercept=-1000)
    assert judge(base, folder) == ("taken with a warning", {"values"})
    # In a frame of reference of its own it is in line with nothing.
    edit(paths[0], RescaleIntercept=-1024, SeriesInstanceUID="2.25.1", FrameOfReferenceUID="2.25.2")
    assert judge(base, folder) == ("taken with a warning", {"cases"})


def test_each_truth_is_found_once(bases):
    base = bases["medium"]
    assert judge(replace(base, truths=base.truths[:1]), base.folder)[0] == "wrong"
    assert judge(replace(base, truths=base.truths[:1] * 2), base.folder)[0] == "wrong"


def test_the_bytes_that_hide_a_change_are_those_of_pixels_and_masks(bases):
    (span,) = bases["enhanced"].unseen["multi"][-1:]
    raw = (bases["enhanced"].folder / "multi").read_bytes()
    assert (span.first, span.end, span.kind) == (len(raw) - 3 * 240, len(raw), "values")
    contours = bases["rtstruct"].unseen["rs"]
    raw = (bases["rtstruct"].folder / "rs").read_bytes()
    assert [raw[one.first : one.first + 9] for one in contours] == [b"-8.750000"] * 3
    assert {one.kind for one in contours} == {"mask"}
    assert bases["archive"].unseen == {"patient.zip": ()}
    (span,) = bases["labelmap"].unseen["mask.dcm"]
    raw = (bases["labelmap"].folder / "mask.dcm").read_bytes()
    # The value of the pixels begins with the item of their table: two offsets of 4 bytes.
    assert raw[span.first - 16 : span.first - 8] == b"\xfe\xff\x00\xe0\x08\0\0\0"
    assert (span.end, span.kind) == (len(raw), "mask")


def test_mutations_are_seeded_and_change_something():
    raw = bytes(range(200))
    mutants = [mutate(raw, np.random.default_rng(n)) for n in range(100)]
    assert mutants == [mutate(raw, np.random.default_rng(n)) for n in range(100)]
    assert sum(new != raw for new, _, _ in mutants) > 90
    for new, start, end in mutants:
        assert new[:start] == raw[:start]
        assert len(new) != len(raw) or new[max(start, end) :] == raw[max(start, end) :]

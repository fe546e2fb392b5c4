"""Every fault of the corpus is refused by name or read right, none silently wrong."""

import re

import numpy as np
import pytest

from hipseg.cli.main import run
from hipseg.errors import HipsegError, MaskError, SeriesError
from hipseg.ingest.cases import find_cases, open_case
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from hipseg.shards.reader import open_reader, read_image_volume, read_label_volume
from tests.faults.corpus import FAULTS, write_good
from tests.faults.table import read_page, render
from tests.ingest.builders import PATIENT

REFUSED = sorted(name for name, fault in FAULTS.items() if fault.outcome == "refused")
TAKEN = sorted(name for name, fault in FAULTS.items() if fault.outcome != "refused")
CURE = re.compile(
    r"[;:,] (or )?(let --|--list-roi|(choose|convert|copy|correct|cut|delete|draw|export|give|join|keep|move|"
    r"name|pack|put|remove|rename|resample|save|split|unpack|write) )"
    r"|(is|are) (accepted|expected)|must be|belongs to other slices|lies wholly beside the image"
)
"""What is to be done, or where only the user can know that, what would be accepted."""


def spoil(tmp_path, name):
    good = write_good(tmp_path / "data", name)
    truth = FAULTS[name].spoil(good)
    return truth or (good.volume, good.labels)


def read(source, fault):
    opened = open_case(source, "c0ffee", fault.rois, untilt=fault.untilt)
    slices = list(opened.slices)
    images = np.array([image for image, _ in slices])
    return opened, images, None if opened.mask_kind is None else np.array([labels for _, labels in slices])


def test_there_are_at_least_forty():
    assert len(REFUSED) >= 40
    assert len(TAKEN) >= 20


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name_with_its_cure(tmp_path, name):
    spoil(tmp_path, name)
    cases = find_cases(tmp_path / "data").cases
    assert cases
    for source in cases:
        with pytest.raises((SeriesError, MaskError), match=FAULTS[name].words) as refusal:
            read(source, FAULTS[name])
        message = str(refusal.value)
        assert "c0ffee" in message
        assert PATIENT not in message
        assert CURE.search(message.partition("c0ffee")[2])


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_read_right(tmp_path, name):
    volume, labels = spoil(tmp_path, name)
    source = find_cases(tmp_path / "data").cases[0]
    opened, images, found = read(source, FAULTS[name])
    np.testing.assert_array_equal(images, volume)
    assert (found is None) == (labels is None)
    if labels is not None:
        np.testing.assert_array_equal(found, labels)
    if FAULTS[name].outcome == "warned":
        assert any(re.search(FAULTS[name].words, warning) for warning in (*opened.warnings, *opened.late_warnings()))
    else:
        assert (*opened.warnings, *opened.late_warnings()) == ()


def pack(tmp_path, fault):
    options = [f"--roi={name}={label}" for name, label in fault.rois.items()] + ["--untilt"] * fault.untilt
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "s"), "--salt-file", str(tmp_path / "salt"), *options])


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_packing_says_the_same(tmp_path, name, capsys):
    fault = FAULTS[name]
    volume, labels = spoil(tmp_path, name)
    paths = DatasetPaths(tmp_path / "s")
    if fault.outcome == "refused":
        with pytest.raises(HipsegError, match=r"none of the \d cases could be packed"):
            pack(tmp_path, fault)
        manifest = read_manifest(paths)
        assert not manifest.cases
        assert re.search(fault.words, manifest.refusals[0].reason)
        assert manifest.refusals[0].reason in capsys.readouterr().err
        return
    pack(tmp_path, fault)
    shown = capsys.readouterr()
    records = read_manifest(paths).cases
    assert all(f"warning: case {one.case}: {words}" in shown.err for one in records for words in one.warnings)
    assert fault.outcome == "read" or all(any(re.search(fault.words, words) for words in one.warnings) for one in records)
    found = {}
    for record in records:
        with open_reader(paths, record) as reader:
            found[read_image_volume(reader).tobytes()] = read_label_volume(reader).tobytes() if record.has_mask else None
    assert found[volume.tobytes()] == (None if labels is None else labels.tobytes())


def test_the_page_of_refusals_says_what_is_said():
    assert read_page() == render(), "docs/refusals.md is behind; write it anew with: python -m tests.faults.table"

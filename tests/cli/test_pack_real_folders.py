"""Every folder of real data, packed as a user would: what its publisher's description leads one to expect is what is seen."""

import re
from pathlib import Path

import pytest

from hipseg.cli.main import run
from hipseg.errors import PARTIAL_EXIT_CODE, HipsegError
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Manifest, read_manifest

pytestmark = pytest.mark.data

CHOOSE = r"choose with --roi NAME=LABEL; --list-roi shows the names"
NOT_OURS = "neither DICOM nor NIfTI nor NRRD"
IBSI = ("--roi", "GTV_Mass_CT=1")
EXPECTED: dict[str, tuple[tuple[str, ...], int, int, dict[str, int], tuple[str, ...]]] = {
    "awkward-singles": (
        (),
        3,
        0,
        {"RTSTRUCT of no CT series here": 1, "damaged DICOM file": 1, "modality MR": 1, NOT_OURS: 2},
        (r"single slice without extent",),
    ),
    "ct-transfer-syntaxes": ((), 0, 0, {NOT_OURS: 2}, (r"slices 1 and 2 of 15 by position lie 0\.000 mm apart .*14 such pairs",)),
    "dcmqi-ct-seg": (
        (),
        0,
        0,
        {NOT_OURS: 2},
        (rf"13 structures \(6 DICOM SEG, 7 NRRD\); {CHOOSE}", "NRRD mask fits 2 series", rf"2 structures .*{CHOOSE}"),
    ),
    "dcmqi-ct-seg/CT": ((), 1, 0, {}, ()),
    "dicompyler-rtstruct": ((), 0, 0, {NOT_OURS: 2}, (rf"9 structures \(9 RTSTRUCT\); {CHOOSE}",)),
    "ge-head-gantry-tilt": ((), 0, 0, {NOT_OURS: 2}, (r"gantry tilt .* \(18\.5 degrees\).* or let --untilt do it",)),
    "ibsi-sts-hip": (IBSI, 12, 12, {NOT_OURS: 3}, ()),
    "missing-slice-geometry": (
        (),
        0,
        0,
        {NOT_OURS: 2},
        (r"10\.00 mm between slices 3 and 4 of 4 by position \(1 slice missing\), expected 5\.00",),
    ),
    "overlay-philips-ct": ((), 1, 0, {"localizer": 3, NOT_OURS: 2}, ()),
    "overlay-siemens-roi": ((), 0, 0, {}, (r"no CT series in the folder given: 3 files looked at \(1 modality MR, 2",)),
    "rt-utils-rtstruct/mock_data": ((), 0, 0, {}, (rf"9 structures \(9 RTSTRUCT\); {CHOOSE}",)),
    "rt-utils-rtstruct/one_slice_data": ((), 0, 0, {}, (r"single slice without extent",)),
    "rt-utils-rtstruct/oriented_data": ((), 0, 0, {NOT_OURS: 1}, (r"values with fractions, the lowest of them -10 HU",)),
    "rt-utils-rtstruct": (
        (),
        0,
        0,
        {NOT_OURS: 3},
        (r"the same image twice; 1 such pairs\); .*remove the copy", rf"9 structures .*{CHOOSE}"),
    ),
    "tiny-series": ((), 2, 0, {NOT_OURS: 4}, (r"202\.50 mm between slices 1 and 2 of 4",)),
    "totalseg-body-dicom-j2k": ((), 1, 1, {NOT_OURS: 2}, ()),
    "totalseg-ct-3mm-small": ((), 0, 0, {}, (r"no CT series .*130 NIfTI, 2 .*or an nnU-Net data set, or CT-ORG",)),
    "tptbox-vertebra": ((), 0, 0, {}, (r"no CT series .*3 NIfTI, 2 .*or an nnU-Net data set, or CT-ORG",)),
}
"""By folder: options, cases packed, those with a mask, files set aside by reason, and a pattern for each refusal or the error."""
SYNTAXES = 15


def pack(folder: Path, tmp_path: Path, options: tuple[str, ...] = ()) -> tuple[str, Manifest | None]:
    """Pack as a user would; give the error's words, empty where there is none, and the manifest, if there is one."""
    paths, said = DatasetPaths(tmp_path / "shards"), ""
    try:
        run(["pack", str(folder), "-o", str(paths.root), "--salt-file", str(tmp_path / "salt"), *options])
    except HipsegError as error:
        said = str(error)
    except SystemExit as ended:
        assert ended.code == PARTIAL_EXIT_CODE
    return said, read_manifest(paths) if paths.manifest.exists() else None


def test_no_folder_is_left_out(data_root):
    folders = {path.name for path in data_root.iterdir() if path.is_dir()}
    assert folders == {name.split("/")[0] for name in EXPECTED}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_folder_is_packed_or_refused_as_it_should_be(data_root, tmp_path, name):
    options, packed, masked, set_aside, patterns = EXPECTED[name]
    said, manifest = pack(data_root / name, tmp_path, options)
    if manifest is None:
        assert re.search(patterns[0], said)
        return
    assert (len(manifest.cases), sum(one.has_mask for one in manifest.cases)) == (packed, masked)
    assert dict(manifest.set_aside) == set_aside
    reasons = [one.reason for one in manifest.refusals]
    assert len(reasons) == len(patterns)
    assert all(any(re.search(pattern, reason) for reason in reasons) for pattern in patterns)
    assert bool(said) == (not packed)


def test_a_slice_in_each_transfer_syntax_is_packed_by_itself(data_root, tmp_path):
    paths = sorted((data_root / "ct-transfer-syntaxes").glob("*.dcm"))
    assert len(paths) == SYNTAXES
    digests = {}
    for path in paths:
        folder = tmp_path / path.stem[-20:]
        folder.mkdir()
        (folder / "slice").write_bytes(path.read_bytes())
        said, manifest = pack(folder, tmp_path / f"{folder.name}-out")
        assert said == ""
        digests[path.name.split("_")[1]] = manifest.cases[0].image_digest, manifest.cases[0].warnings
    # Nine lossless syntaxes hold the same pixels; the four lossy JPEGs say that their slope leaves fractions.
    lossless = [digest for digest, _ in digests.values()]
    assert max(lossless.count(one) for one in lossless) == 9
    rounded = {name for name, (_, warnings) in digests.items() if any("rounded to whole ones" in one for one in warnings)}
    assert all(name.startswith("JPEGProcess") for name in rounded)
    assert len(rounded) == 4

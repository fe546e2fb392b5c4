"""NRRD labels: any space, axis order and encoding comes onto the grid; 3D Slicer's segments and layers are told apart."""

import bz2
import gzip
import itertools
import shutil
import warnings

import nrrd
import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.geometry import affine_lps, make_grid
from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.nrrd import is_nrrd, nrrd_stem, open_nrrd_on, read_nrrd_header, read_nrrd_values
from hipseg.ingest.nrrdsegments import NrrdSegment
from hipseg.ingest.scratch import Scratch
from tests.ingest.builders import cut, volume_hu, write_ct_series
from tests.ingest.media import zip_folder

GRID = make_grid((4, 3, 5), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), ((0.8, 0.6, 0), (-0.6, 0.8, 0), (0, 0, 1)))
SPACES = {"left-posterior-superior": (1, 1, 1), "RAS": (-1, -1, 1), "left-anterior-superior": (1, -1, 1)}


def read_on(path, grid, layer=0):
    volume = open_nrrd_on(path, grid, Scratch(), layer)
    return np.stack([volume.read(z) for z in range(grid.shape_zyx[0])])


def labels_zyx(grid=GRID):
    return np.random.default_rng(4).integers(0, 4, grid.shape_zyx).astype(np.uint8)


def header(grid=GRID, space="left-posterior-superior", **more):
    """Describe a volume [x, y, z] on a grid."""
    affine = np.diag([*SPACES[space], 1.0]) @ affine_lps(grid)
    return {"space": space, "space directions": affine[:3, :3].T, "space origin": affine[:3, 3], **more}


def write(path, voxels_xyz, **options):
    nrrd.write(str(path), voxels_xyz, header(**options))
    return path


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_every_space_and_encoding_gives_the_same_voxels(tmp_path, space, encoding):
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0), space=space, encoding=encoding)
    assert is_nrrd(path.read_bytes()[:16])
    assert np.array_equal(read_on(path, GRID), labels_zyx())


def test_a_sparse_mask_may_be_far_smaller_than_deflate_could_make_it(tmp_path):
    grid = make_grid((64, 128, 128), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[20:30, 40:50, 40:50] = 1
    path = write(tmp_path / "m.nrrd", labels.transpose(2, 1, 0), grid=grid, encoding="bzip2")
    assert path.stat().st_size * 1100 < labels.nbytes
    assert np.array_equal(read_on(path, grid), labels)


@pytest.mark.parametrize(
    ("word", "other"),
    [
        (b"encoding: raw", b"encoding: Raw"),
        (b"left-posterior-superior", b"Left-Posterior-Superior"),
        (b"left-posterior-superior", b"lps"),
        (b"type: uint8", b"type: Unsigned Char"),
        (b"encoding: raw", b"encoding: raw\nbyte skip: -1"),
    ],
)
def test_words_of_a_header_are_read_in_any_case(tmp_path, word, other):
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0), encoding="raw")
    assert word in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(word, other))
    assert np.array_equal(read_on(path, GRID), labels_zyx())


def test_voxels_at_the_end_of_their_file_are_found_there_and_missed(tmp_path):
    nrrd.write(str(tmp_path / "m.nhdr"), labels_zyx().transpose(2, 1, 0), header(encoding="raw"))
    text = (tmp_path / "m.nhdr").read_text()
    (tmp_path / "m.nhdr").write_text(text.replace("encoding: raw", "encoding: raw\nbyte skip: -1"))
    voxels = (tmp_path / "m.raw").read_bytes()
    (tmp_path / "m.raw").write_bytes(b"another header" + voxels)
    assert np.array_equal(read_on(tmp_path / "m.nhdr", GRID), labels_zyx())
    (tmp_path / "m.raw").write_bytes(voxels[:-5])
    with pytest.raises(MaskError, match="is cut short: 5 of its bytes are missing"):
        read_on(tmp_path / "m.nhdr", GRID)


@pytest.mark.parametrize("skip", ["byte skip: 3", "line skip: 1", "byte skip: -1"])
def test_bytes_to_skip_are_refused(tmp_path, skip):
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0), encoding="gzip")
    path.write_bytes(path.read_bytes().replace(b"encoding: gzip", b"encoding: gzip\n" + skip.encode()))
    with pytest.raises(MaskError, match="written as text or with bytes to skip"):
        read_nrrd_header(path)


def test_a_filter_that_another_thread_sets_meanwhile_stays(tmp_path, monkeypatch):
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0))
    read_header = nrrd.read_header

    def read_beside_another(lines):
        warnings.filterwarnings("ignore", "of another thread")
        return read_header(lines)

    monkeypatch.setattr(nrrd, "read_header", read_beside_another)
    read_nrrd_header(path)
    assert any(message is not None and message.pattern == "of another thread" for _, message, *_ in warnings.filters)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_order_of_axes_comes_onto_the_grid(tmp_path, order):
    fields = header()
    fields["space directions"] = fields["space directions"][list(order)]
    nrrd.write(str(tmp_path / "m.nrrd"), labels_zyx().transpose(2, 1, 0).transpose(order), fields)
    assert np.array_equal(read_on(tmp_path / "m.nrrd", GRID), labels_zyx())


@pytest.mark.parametrize("dtype", ["<i1", "<u2", ">i2", "<u4", ">u8", "<f4", ">f8"])
def test_every_type_that_holds_whole_numbers_is_read(tmp_path, dtype):
    order = "big" if dtype[0] == ">" else "little"
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0).astype(dtype), endian=order)
    assert np.array_equal(read_on(path, GRID), labels_zyx())


def test_voxels_in_a_file_beside_the_header_are_read(tmp_path):
    nrrd.write(str(tmp_path / "m.nhdr"), labels_zyx().transpose(2, 1, 0), header(encoding="raw"))
    assert {path.name for path in tmp_path.iterdir()} == {"m.nhdr", "m.raw"}
    assert np.array_equal(read_on(tmp_path / "m.nhdr", GRID), labels_zyx())
    (tmp_path / "m.raw").unlink()
    with pytest.raises(MaskError, match="the file of its voxels is not beside it"):
        read_on(tmp_path / "m.nhdr", GRID)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_the_file_of_voxels_counts_with_its_header(tmp_path, is_zipped):
    data = tmp_path / "data"
    write_ct_series(data / "ct", volume_hu(3))
    grid = find_cases(data).cases[0].images[0]
    axes = make_grid((3, 10, 12), (3.0, *grid.pixel_spacing_mm), (-10.0, -20.0, 100.0), np.eye(3))
    labels = np.zeros((3, 10, 12), np.uint8)
    labels[1, 4:6, 3:7] = 1
    # So short and empty that it looks like an image that was cut off at once.
    nrrd.write(str(data / "ct" / "m.nhdr"), labels.transpose(2, 1, 0), header(axes, encoding="gzip"), detached_header=True)
    assert (data / "ct" / "m.raw.gz").is_file()
    if is_zipped:
        zip_folder(data / "ct", data / "p.zip")
        shutil.rmtree(data / "ct")
    found = find_cases(data)
    assert found.set_aside == ({"ZIP archive, looked into": 1} if is_zipped else {})
    (source,) = found.cases
    assert source.nrrds[0].voxels is not None
    assert np.array_equal(np.stack([one for _, one in open_case(source, "c0", {}).slices]), labels)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_a_header_without_its_file_of_voxels_is_refused(tmp_path, is_zipped):
    data = tmp_path / "data"
    write_ct_series(data / "ct", volume_hu(4))
    axes = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), np.eye(3))
    nrrd.write(str(data / "ct" / "m.nhdr"), np.zeros((12, 10, 4), np.uint8), header(axes, encoding="raw"))
    (data / "ct" / "m.raw").unlink()
    if is_zipped:
        zip_folder(data / "ct", data / "p.zip")
        shutil.rmtree(data / "ct")
    (source,) = find_cases(data).cases
    with pytest.raises(MaskError, match=r"mask of case c0: .*the file of its voxels is not beside it"):
        open_case(source, "c0", {})


@pytest.mark.parametrize("name", ["../m.raw", "/etc/passwd", "LIST", "m%03d.raw 1 4 1", "sub/m.raw", ".."])
def test_voxels_elsewhere_are_never_opened(tmp_path, name):
    nrrd.write(str(tmp_path / "m.nhdr"), labels_zyx().transpose(2, 1, 0), header(encoding="raw"))
    text = (tmp_path / "m.nhdr").read_text().replace("data file: m.raw", f"data file: {name}")
    (tmp_path / "m.nhdr").write_text(text)
    with pytest.raises(MaskError, match=r"several files or in another folder|not beside it"):
        read_on(tmp_path / "m.nhdr", GRID)


def test_voxels_behind_a_link_are_not_followed(tmp_path):
    nrrd.write(str(tmp_path / "m.nhdr"), labels_zyx().transpose(2, 1, 0), header(encoding="raw"))
    (tmp_path / "m.raw").rename(tmp_path / "other")
    (tmp_path / "m.raw").symlink_to(tmp_path / "other")
    with pytest.raises(MaskError, match="behind a symbolic link"):
        read_on(tmp_path / "m.nhdr", GRID)


def slicer(path, layers_xyz, segments):
    """Write a .seg.nrrd as 3D Slicer does: layers as the first axis, segments as fields."""
    fields = {"space": "left-posterior-superior", "space origin": header()["space origin"], "encoding": "gzip"}
    fields["kinds"] = ["list", "domain", "domain", "domain"]
    fields["space directions"] = np.vstack([np.full(3, np.nan), header()["space directions"]])
    for number, (name, value, layer) in enumerate(segments):
        fields |= {f"Segment{number}_Name": name, f"Segment{number}_LabelValue": str(value), f"Segment{number}_Layer": str(layer)}
    nrrd.write(str(path), layers_xyz, fields)
    return path


def test_segments_of_3d_slicer_have_names_values_and_layers(tmp_path):
    first, second = labels_zyx(), np.ones_like(labels_zyx())
    layers = np.stack([first.transpose(2, 1, 0), second.transpose(2, 1, 0)])
    path = slicer(tmp_path / "m.seg.nrrd", layers, [("Femur", 1, 0), ("Sch_del", 3, 0), ("all", 1, 1)])
    path.write_bytes(path.read_bytes().replace(b"Sch_del", "Schädel".encode()))
    expected = (NrrdSegment("Femur", 1, 0), NrrdSegment("Schädel", 3, 0), NrrdSegment("all", 1, 1))
    assert read_nrrd_header(path).segments == expected
    assert np.array_equal(read_on(path, GRID, 0), first)
    assert np.array_equal(read_on(path, GRID, 1), second)
    assert nrrd_stem(path) == "m"


def test_a_segment_in_a_layer_that_is_not_there_is_refused(tmp_path):
    layers = labels_zyx().transpose(2, 1, 0)[np.newaxis]
    with pytest.raises(MaskError, match=r"segment 0 with value 1 in layer 1; .* layers 0 to 0"):
        read_nrrd_header(slicer(tmp_path / "m.seg.nrrd", layers, [("x", 1, 1)]))


def test_values_that_occur_are_listed(tmp_path):
    assert read_nrrd_values(write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0))) == (1, 2, 3)


@pytest.mark.parametrize("value", [-1, 256, 0.5, np.nan])
def test_an_image_in_place_of_labels_is_refused(tmp_path, value):
    with pytest.raises(MaskError, match="an NRRD mask is an image, not labels"):
        read_on(write(tmp_path / "m.nrrd", np.full((5, 3, 4), value, np.float32)), GRID)


def test_another_grid_is_refused(tmp_path):
    moved = make_grid(GRID.shape_zyx, GRID.spacing_mm_zyx, (-10, -20, 101.0), GRID.directions_xyz)
    with pytest.raises(MaskError, match=r"an NRRD mask does not fit: .* first voxel 1\.00 mm from the series'"):
        read_on(write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0), grid=moved), GRID)


@pytest.mark.parametrize("field", ["space", "space directions", "space origin"])
def test_a_volume_without_place_is_refused(tmp_path, field):
    fields = header()
    if field == "space":
        fields = {"space dimension": 3, **{key: value for key, value in fields.items() if key != "space"}}
    else:
        del fields[field]
    nrrd.write(str(tmp_path / "m.nrrd"), labels_zyx().transpose(2, 1, 0), fields)
    with pytest.raises(MaskError, match="does not say where it lies"):
        read_nrrd_header(tmp_path / "m.nrrd")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_a_file_that_breaks_off_is_refused_wherever_it_does(tmp_path, encoding):
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0), encoding=encoding)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 7):
        cut(path, size)
        with pytest.raises(MaskError):
            read_on(path, GRID)
        path.write_bytes(whole)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_header_that_announces_more_than_the_file_can_hold_is_refused_at_once(tmp_path, pack):
    encoding = "gzip" if pack is gzip.compress else "bzip2"
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0), encoding=encoding)
    start = path.read_bytes().split(b"\n\n")[0].replace(b"sizes: 5 3 4", b"sizes: 50000 30000 40000")
    path.write_bytes(start + b"\n\n" + pack(bytes(60)))
    with pytest.raises(MaskError, match="its header announces 40000 x 30000 x 50000 voxels"):
        read_nrrd_values(path)


def test_no_word_of_a_header_reaches_the_message(tmp_path):
    path = write(tmp_path / "m.nrrd", labels_zyx().transpose(2, 1, 0))
    path.write_bytes(path.read_bytes().replace(b"dimension: 3", b"dimension: Secret^Patient"))
    with pytest.raises(MaskError, match="damaged header") as refusal:
        read_nrrd_header(path)
    assert "Secret" not in str(refusal.value)

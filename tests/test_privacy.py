"""No text of a source file leaves it: known strings are planted everywhere, and every output byte is searched for them."""

import base64
import gzip
import hashlib
import re
import tempfile
import uuid

import h5py
import nibabel
import nrrd
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import DicomDictionary

from hipseg.cli.main import main
from hipseg.errors import PARTIAL_EXIT_CODE, SeriesError
from tests.ingest.builders import Plane, cut, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.enhanced_builder import write_enhanced
from tests.ingest.layouts import write_nnunet
from tests.ingest.seg_builder import read_sources, write_seg

TEXT_VRS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UR", "CS"}
DATED_VRS = {"DA": "18530729", "TM": "031707.090909", "DT": "18530729031707.090909", "AS": "713W"}
FUNCTIONAL = {
    "ImageType", "Modality", "PhotometricInterpretation", "RescaleType", "SpecificCharacterSet", "PatientID", "OverlayType",
    "PresentationLUTShape", "LossyImageCompression", "PatientPosition", "Laterality", "ImageLaterality", "FrameLaterality",
    "VolumetricProperties",
}  # fmt: skip
"""Values that decide whether an image is taken at all; Patient ID is planted by each patient."""
TOKEN = re.compile(rb"ZQ[0-9A-F]{8}", re.IGNORECASE)
NAMED = re.compile(rb"ZQ\w{3,}", re.IGNORECASE)
WIDE = re.compile(rb"Z\0Q\0(?:\w\0){3,}|\0Z\0Q(?:\0\w){3,}", re.IGNORECASE)


class Planted:
    """What was planted: texts that no output may hold, whole or as plain digests."""

    def __init__(self):
        self.texts = set(DATED_VRS.values()) - {"713W"}

    def uid(self, name):
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}"
        self.texts.add(uid)
        return uid

    def name(self, words):
        self.texts.add(f"ZQ{words}")
        return f"ZQ{words}"

    def needles(self):
        """Give every form in which a text could come out."""
        for one in sorted(self.texts):
            yield from (one.encode(), one.encode("utf-16-le"), one.encode("utf-16-be"), one.encode().hex().encode())
            yield base64.b64encode(one.encode()).rstrip(b"=")[:-1]
            for method in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512, hashlib.blake2b):
                digest = method(one.encode()).digest()
                # A key of twelve digits that began a plain digest could be undone by trying.
                yield from (digest, digest.hex()[:12].encode(), base64.b64encode(digest)[:12])


def plant(dataset, planted):
    """Fill every text attribute that the standard knows and the data set lacks, and a private block."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if tag >> 16 not in (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0028, 0x0032, 0x0038, 0x0040, 0x0054, 0x3006):
            continue
        if keyword in FUNCTIONAL or not keyword or tag in dataset:
            continue
        if vr in TEXT_VRS:
            dataset.add_new(tag, vr, f"ZQ{tag:08X}")
        elif vr in DATED_VRS:
            dataset.add_new(tag, vr, DATED_VRS[vr])
        elif vr == "UI" and "Concatenation" not in keyword:
            # A part of a concatenation is another kind of file; all other identifiers are only names.
            dataset.add_new(tag, vr, planted.uid(keyword))
    block = dataset.private_block(0x0099, "ZQPRIVATECREATOR", create=True)
    block.add_new(0x01, "LO", "ZQ00990001")
    block.add_new(0x02, "UN", b"ZQ00990002")
    planted.texts |= {"ZQPRIVATECREATOR"}


def write_patient(root, kind, planted, slices=4, change=None):
    """Write one patient, everything of whom is planted, with a mask of one kind."""
    folder = root / planted.name(f"Folder{kind}") / planted.name(f"Series{kind}")
    seed = sum(kind.encode())
    options = {
        "patient_id": planted.name(f"Patient{kind}"),
        "study_uid": planted.uid(f"study {kind}"),
        "series_uid": planted.uid(f"series {kind}"),
        "frame_uid": planted.uid(f"frame {kind}"),
    }

    def fill(dataset, z):
        dataset.SOPInstanceUID = planted.uid(f"image {kind} {z}")
        plant(dataset, planted)
        if change is not None:
            change(dataset, z)

    overlays = None
    if kind == "overlay":
        mask = np.zeros((10, 12), dtype=bool)
        mask[2:7, 3:9] = True
        words = {"label": planted.name("OverlayLabel"), "description": planted.name("OverlayDescription")}
        overlays = {1: [Plane(mask, **words)]}
    paths = write_ct_series(folder, volume_hu(slices, seed=seed), overlays=overlays, change=fill, **options)
    for n, path in enumerate(paths):
        paths[n] = path.rename(folder / planted.name(f"File{kind}{n}"))
    if kind == "seg":
        write_planted_seg(paths, folder / planted.name("Segmentation"), planted)
    if kind == "nrrd":
        write_planted_nrrd(folder / f"{planted.name('Slicer')}.seg.nrrd", planted)
    if kind == "rtstruct":
        contours = {planted.name("RoiName"): [rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 103.0)]}
        path = write_rtstruct(
            folder / planted.name("Structures"), contours, series_uid=options["series_uid"], frame_uid=options["frame_uid"]
        )
        dataset = dcmread(path)
        plant(dataset, planted)
        dataset.save_as(path)
    if kind == "nifti":
        write_planted_nifti(folder / f"{planted.name('Labels')}.nii.gz", planted)
    return paths


def write_planted_seg(paths, path, planted):
    pixels = np.zeros((4, 10, 12), dtype=bool)
    pixels[1:3, 2:7, 3:9] = True

    def change(dataset):
        segment = dataset.SegmentSequence[0]
        segment.SegmentDescription, segment.TrackingID = planted.name("SegmentDescription"), planted.name("TrackingId")
        plant(dataset, planted)

    sources = read_sources(paths)
    for source in sources:
        # highdicom copies what it can check; everything is planted again in what it writes.
        source.PatientSex = source.PatientAge = None
    write_seg(path, sources, pixels, [planted.name("SegmentLabel")], change=change)


def write_planted_nrrd(path, planted):
    labels = np.zeros((12, 10, 4), dtype=np.uint8)
    labels[3:9, 2:7, 1:3] = 1
    fields = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.5, 0.75, 3.0]),
        "space origin": np.array([-10.0, -20.0, 100.0]),
        "content": planted.name("NrrdContent"),
        "Segment0_ID": planted.name("NrrdSegmentId"),
        "Segment0_Name": planted.name("NrrdSegmentName"),
        "Segment0_LabelValue": "1",
        "Segment0_Tags": planted.name("NrrdTags"),
        planted.name("NrrdKey"): planted.name("NrrdValue"),
    }
    nrrd.write(str(path), labels, fields)


def write_planted_nifti(path, planted):
    labels = np.zeros((12, 10, 4), dtype=np.uint8)
    labels[3:9, 2:7, 1:3] = 1
    affine = np.diag([-0.5, -0.75, 3.0, 1.0])
    affine[:3, 3] = [10.0, 20.0, 100.0]
    write_nifti(path, labels, affine)
    image = nibabel.load(path)
    for field, words in {"descrip": "Descrip", "aux_file": "AuxFile", "db_name": "DbName", "intent_name": "IntentName"}.items():
        image.header[field] = planted.name(words).encode()
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), affine, image.header), path)


@pytest.fixture
def planted():
    return Planted()


@pytest.fixture
def tmp_root(tmp_path, monkeypatch):
    """A place whose every new file is an output: work, configuration and temporary files."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "out" / "config"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "out" / "tmp"))
    (tmp_path / "out" / "tmp").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "out" / "tmp"))
    monkeypatch.chdir(tmp_path / "out")
    return tmp_path


def call(capfdbinary, *arguments, expected=0):
    """Run one command line; give all that it wrote."""
    try:
        main([str(one) for one in arguments])
        code = 0
    except SystemExit as end:
        code = end.code or 0
    shown = capfdbinary.readouterr()
    assert code == expected, (arguments, code, shown)
    return shown.out + shown.err


def every_byte(folder):
    """Give names and contents of all files below a folder, compressed ones also opened, with all attributes of HDF5 files."""
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)).encode()
        if not path.is_file():
            continue
        raw = path.read_bytes()
        yield raw
        if raw[:2] == b"\x1f\x8b":
            yield gzip.decompress(raw)
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                found = []
                file.visititems(lambda name, one, found=found: found.append((name, {**one.attrs})))
                yield repr([{**file.attrs}, found]).encode()


def assert_silent(blobs, planted):
    needles = tuple(planted.needles())
    assert len(needles) > 200
    for blob in blobs:
        assert not (TOKEN.findall(blob) + NAMED.findall(blob) + WIDE.findall(blob))
        assert not [needle for needle in needles if needle in blob]


def pack_all(tmp_root, capfdbinary, *options, expected=0):
    table = tmp_root / "table.csv"
    return call(capfdbinary, "pack", tmp_root / "data", "-o", "shards", "--keep-key-table", table, *options, expected=expected)


@pytest.mark.slow
def test_no_text_leaves_good_series_with_any_mask(tmp_root, planted, capfdbinary):
    for kind in ("overlay", "rtstruct", "nifti", "seg", "nrrd", "none"):
        write_patient(tmp_root / "data", kind, planted)
    write_enhanced(
        tmp_root / "data" / planted.name("Enhanced") / "a",
        volume_hu(seed=9),
        change=lambda dataset: plant_enhanced(dataset, planted),
    )
    said = [
        pack_all(tmp_root, capfdbinary),
        call(capfdbinary, "inspect", "shards"),
        call(capfdbinary, "inspect", "shards", "--json"),
        call(capfdbinary, "verify", "shards"),
        call(capfdbinary, "split", "shards", "--folds", "2"),
        call(capfdbinary, "unpack", "shards", "-o", "unpacked"),
        pack_all(tmp_root, capfdbinary),
        call(capfdbinary, "pack", "--help"),
    ]
    assert b"packed 7 of 7 cases" in said[0]
    assert b"5 with a mask, 2 without" in said[0]
    assert_silent([*said, *every_byte(tmp_root / "out")], planted)
    # What is asked for by name is given, which also shows that the plants were there to be found.
    table = tmp_root / "table.csv"
    assert table.stat().st_mode & 0o777 == 0o600
    assert len(set(NAMED.findall(table.read_bytes()))) >= 8
    listed = call(capfdbinary, "pack", tmp_root / "data", "--list-roi")
    assert {b"ZQOverlayLabel", b"ZQRoiName", b"ZQLabels", b"ZQSegmentLabel", b"ZQNrrdSegmentName"} <= set(NAMED.findall(listed))


def test_no_text_leaves_an_nnunet_data_set(tmp_root, planted, capfdbinary):
    data = tmp_root / "data"
    labels = {"background": 0, planted.name("LabelOne"): 1, planted.name("LabelTwo"): 2}
    words = {key: planted.name(f"Json{key}") for key in ("name", "description", "reference", "licence", "release")}
    write_nnunet(data, labels=labels, **words)
    for path in data.rglob("Secret*"):
        path.rename(path.with_name(path.name.replace("Secret", planted.name("Nnunet"))))
    cut(next((data / "labelsTr").glob("*_001*")), 200)
    said = [
        pack_all(tmp_root, capfdbinary, expected=PARTIAL_EXIT_CODE),
        call(capfdbinary, "inspect", "shards"),
        call(capfdbinary, "inspect", "shards", "--json"),
        call(capfdbinary, "verify", "shards"),
    ]
    assert b"packed 2 of 3 cases" in said[0]
    assert_silent([*said, *every_byte(tmp_root / "out")], planted)
    assert b"ZQLabelOne" in call(capfdbinary, "pack", data, "--list-roi")


def plant_enhanced(dataset, planted):
    dataset.PatientID = planted.name("PatientEnhanced")
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = planted.uid("enhanced series"), planted.uid("enhanced study")
    dataset.FrameOfReferenceUID = planted.uid("enhanced frame")
    plant(dataset, planted)


def spoil_position(dataset, z):
    if z == 2:
        dataset.ImagePositionPatient = None


def spoil_tilt(dataset, z):
    x, y, height = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y + z, height]


def spoil_values(dataset, z):
    dataset.RescaleType = "ZQRESCALE"


def spoil_orientation(dataset, z):
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0.7, 0]


def spoil_modality(dataset, z):
    dataset.Modality = "ZQMODALITY"


def spoil_segmentation(path):
    dataset = dcmread(path)
    del dataset.PixelData
    dataset.save_as(path)


SPOILS = [spoil_position, spoil_tilt, spoil_values, spoil_orientation]


@pytest.mark.slow
def test_no_text_leaves_series_that_are_refused(tmp_root, planted, capfdbinary):
    data = tmp_root / "data"
    planted.texts |= {"1.2.840.99999.9.9.9", "ZQRESCALE", "ZQMODALITY"}
    write_patient(data, "overlay", planted)
    for n, change in enumerate(SPOILS):
        write_patient(data, f"bad{n}", planted, change=change)
    write_patient(data, "odd", planted, change=spoil_modality)
    for n, size in enumerate((-100, 700, 2000)):
        cut(write_patient(data, f"cut{n}", planted)[1], size)
    write_patient(data, "gap", planted)[1].unlink()
    coded = write_patient(data, "coded", planted)[1]
    coded.write_bytes(coded.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.9.9.9\0"))
    cut(next(write_patient(data, "rtstruct", planted)[0].parent.glob("ZQStructures")), -60)
    spoil_segmentation(next(write_patient(data, "seg", planted)[0].parent.glob("ZQSegmentation")))
    labels = next(write_patient(data, "nifti", planted)[0].parent.glob("ZQLabels*"))
    labels.write_bytes(gzip.compress(gzip.decompress(labels.read_bytes())[:-40]))
    (data / planted.name("Notes.txt")).write_text(planted.name("Remark"))
    said = [
        pack_all(tmp_root, capfdbinary, expected=PARTIAL_EXIT_CODE),
        call(capfdbinary, "pack", data / next(iter(data.glob("ZQFolderbad0"))), "-o", "none", expected=SeriesError.exit_code),
        call(capfdbinary, "inspect", "shards"),
        call(capfdbinary, "inspect", "shards", "--json"),
        call(capfdbinary, "verify", "shards"),
    ]
    assert said[0].count(b"refused case") == len(SPOILS) + 8
    assert_silent([*said, *every_byte(tmp_root / "out")], planted)


def test_the_search_finds_what_it_looks_for(planted):
    """A search that finds nothing is only worth something when it finds what is there."""
    uid = planted.uid("one")
    forms = [b"xx ZQ00100010 xx", "zq00100010".encode("utf-16-le"), uid.encode(), hashlib.sha1(uid.encode()).hexdigest().encode()]
    for n in range(300):
        planted.uid(str(n))
    for blob in forms:
        with pytest.raises(AssertionError):
            assert_silent([b"nothing", blob], planted)
    assert_silent([b"nothing"], planted)

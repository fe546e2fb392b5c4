import csv
import re
import stat
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from hipseg.cli.main import run
from hipseg.cli.pack import default_salt_file, parse_rois
from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError, MaskError, SeriesError
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from hipseg.shards.reader import open_reader, read_image_volume
from tests.ingest.builders import Plane, cut, volume_hu, write_ct_series, write_rtstruct

MASK = np.zeros((10, 12), dtype=bool)
MASK[2:5, 3:9] = True


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def write_patient(root, name, seed, planes=1):
    overlays = (
        {1: [Plane(MASK, group=0x6000 + 2 * number, label=f"part {number}") for number in range(planes)]} if planes else None
    )
    uid = f"2.25.5{seed}"
    return write_ct_series(
        root / name, volume_hu(seed=seed), patient_id=name, series_uid=uid, study_uid=uid + ".1", overlays=overlays
    )


def pack(tmp_path, *options):
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), *options])
    return read_manifest(DatasetPaths(tmp_path / "shards"))


def test_a_line_a_case_and_a_sum(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1)
    write_patient(tmp_path / "data", "Roe", 2, planes=0)
    (tmp_path / "data" / "notes.txt").write_text("nothing")
    manifest = pack(tmp_path)
    masked, bare = sorted(manifest.cases, key=lambda one: not one.has_mask)
    shown = capsys.readouterr()
    layout, salt_line, *case_lines, rate, aside, last = shown.out.splitlines()
    assert layout == "layout: DICOM tree"
    assert salt_line.startswith(f"made a new salt at {tmp_path}/config/hipseg/salt; keep it")
    assert set(case_lines) == {
        f"packed case {masked.case}: 4 slices, mask from overlay, 18 voxels of label 1",
        f"packed case {bare.case}: 4 slices, no mask",
    }
    assert re.fullmatch(r"packed 8 slices in \d+\.\d s: \d+ slices/s, \d+ MB/s", rate)
    assert aside == "set aside 1 of 9 files: 1 neither DICOM nor NIfTI nor NRRD"
    assert last == f"packed 2 of 2 cases into {tmp_path}/shards: 1 with a mask, 1 without"
    assert shown.err == ""


def test_patients_that_are_a_guess_are_warned_of(tmp_path, capsys):
    for seed in (1, 2):
        uid = f"2.25.5{seed}"
        write_ct_series(
            tmp_path / "data" / str(seed), volume_hu(), patient_id="", series_uid=uid, study_uid=uid + ".1", frame_uid=uid
        )
    pack(tmp_path)
    assert "warning: 2 of 2 series name no patient (0010,0020); each study, or folder, counts" in capsys.readouterr().err


def test_the_salt_is_kept_so_that_keys_stay(tmp_path, capsys, config_home):
    write_patient(tmp_path / "data", "Doe", 1)
    first = pack(tmp_path)
    assert stat.S_IMODE((config_home / "hipseg" / "salt").stat().st_mode) == 0o600
    capsys.readouterr()
    assert pack(tmp_path) == first
    assert "new salt" not in capsys.readouterr().out


def test_a_case_whose_files_did_not_change_is_kept(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1)
    case = pack(tmp_path).cases[0].case
    capsys.readouterr()
    pack(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "layout: DICOM tree",
        f"kept case {case}: packed before, and its files did not change",
        f"packed 1 of 1 cases into {tmp_path}/shards (1 of them before): 1 with a mask, 0 without",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--store", "uint8"], "--store uint8 and --window LOW HIGH go together"),
        (["--window", "-200", "1300"], "--store uint8 and --window LOW HIGH go together"),
        (["--store", "uint8", "--window", "300", "300"], "impossible window 300 to 300 HU"),
        (["--store", "uint8", "--window", "0", "40000"], "impossible window 0 to 40000 HU"),
        (["--part", "0/4"], "no part 0 of 4; parts are 1/4 to 4/4"),
        (["--part", "5/4"], "no part 5 of 4"),
        (["--part", "x"], "--part 'x' is not I/N, as in --part 3/16"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        pack(tmp_path, *options)
    assert list(tmp_path.iterdir()) == []


def test_a_small_store_keeps_the_window_and_says_so(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1)
    (record,) = pack(tmp_path, "--store", "uint8", "--window", "-200", "1300", "--codec", "zstd").cases
    assert record.window_hu == (-200, 1300)
    with open_reader(DatasetPaths(tmp_path / "shards"), record) as reader:
        found = read_image_volume(reader)
    assert found.dtype == np.int16
    # 255 steps over 1500 HU: half a step is 2.94 HU, and whole units add half of one.
    assert np.abs(found - np.clip(volume_hu(seed=1), -200, 1300)).max() == 3
    run(["verify", str(tmp_path / "shards")])
    run(["unpack", str(tmp_path / "shards"), "-o", str(tmp_path / "out")])
    with pytest.raises(ConfigError, match="packed with --store uint8 --window -200 1300, this call has --store int16"):
        pack(tmp_path)


def test_merging_takes_no_data_and_packing_does(tmp_path):
    with pytest.raises(click.UsageError, match="takes no DATA"):
        run(["pack", str(tmp_path), "--merge"])
    with pytest.raises(click.UsageError, match="name the folder DATA"):
        run(["pack"])


def test_a_salt_file_of_ones_own_gives_other_keys(tmp_path, config_home):
    write_patient(tmp_path / "data", "Doe", 1)
    keys = set()
    for name in ("a", "b"):
        run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / name), "--salt-file", str(tmp_path / f"{name}.salt")])
        keys.add(read_manifest(DatasetPaths(tmp_path / name)).cases[0].case)
    assert len(keys) == 2
    assert not config_home.exists()


def test_without_xdg_the_salt_lies_below_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_salt_file() == tmp_path / ".config" / "hipseg" / "salt"


def test_where_no_home_is_known_a_salt_file_must_be_named(monkeypatch):
    def know_nothing():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", know_nothing)
    with pytest.raises(ConfigError, match=r"no home folder is known, .*; name its file with --salt-file"):
        default_salt_file()


def test_lines_that_nobody_reads_stop_the_packing_with_a_word(tmp_path):
    for seed in range(3):
        write_patient(tmp_path / "data", f"patient {seed}", seed)
    hipseg = f"{sys.executable} -m hipseg pack {tmp_path}/data -o {tmp_path}/shards"
    ended = subprocess.run(
        ["bash", "-c", f"{hipseg} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=False
    )
    words = "error: cannot write to standard output: Broken pipe; the same command goes on from what is packed\n"
    assert (ended.returncode, ended.stderr) == (2, words)


@pytest.mark.parametrize(
    "arguments", [["", "-o", "out"], ["data", "-o", ""], ["data", "--salt-file", ""], ["data", "--keep-key-table", ""]]
)
def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch, arguments):
    write_patient(tmp_path / "data", "Doe", 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.BadParameter, match="it is empty, perhaps a variable that is not set"):
        run(["pack", *arguments])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_some_refused_ends_with_the_exit_code_of_a_part(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1)
    cut(write_patient(tmp_path / "data", "Roe", 2)[0], -20)
    with pytest.raises(SystemExit) as ended:
        pack(tmp_path)
    assert ended.value.code == PARTIAL_EXIT_CODE
    manifest = read_manifest(DatasetPaths(tmp_path / "shards"))
    (refusal,) = manifest.refusals
    shown = capsys.readouterr()
    assert shown.err == f"refused case {refusal.case}: {refusal.reason}\n"
    assert f"packed case {manifest.cases[0].case}: 4 slices" in shown.out
    assert "packed 1 of 2 cases" in shown.out


def test_all_refused_ends_with_the_error_of_the_first(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1, planes=2)
    with pytest.raises(MaskError, match="none of the 1 cases could be packed; the reasons are above and in"):
        pack(tmp_path)
    assert "2 overlay" in capsys.readouterr().err
    cut(write_patient(tmp_path / "other", "Roe", 2)[0], -20)
    with pytest.raises(SeriesError, match="none of the 1 cases"):
        run(["pack", str(tmp_path / "other"), "-o", str(tmp_path / "elsewhere")])


def test_a_case_refused_now_and_packed_before_is_pointed_out(tmp_path, capsys):
    files = write_patient(tmp_path / "data", "Doe", 1)
    case = pack(tmp_path).cases[0].case
    cut(files[0], -20)
    with pytest.raises(SeriesError):
        pack(tmp_path)
    assert f"warning: case {case} was refused now, but stays as it was packed before" in capsys.readouterr().err


def test_structures_are_chosen_by_name(tmp_path):
    write_patient(tmp_path / "data", "Doe", 1, planes=3)
    assert pack(tmp_path, "--roi", "part 1=4").cases[0].label_voxels == {4: 18}


def test_a_line_tells_the_first_labels_and_counts_the_rest(tmp_path, capsys):
    strips = [np.zeros((10, 12), dtype=bool) for _ in range(9)]
    for number, strip in enumerate(strips):
        strip[number, : number + 1] = True
    planes = [Plane(strip, group=0x6000 + 2 * number, label=f"part {number}") for number, strip in enumerate(strips)]
    write_ct_series(tmp_path / "data", volume_hu(), overlays={0: planes})
    pack(tmp_path, *(word for number in range(9) for word in ("--roi", f"part {number}={number + 1}")))
    told = ", ".join(f"{label} voxels of label {label}" for label in range(1, 7))
    assert f"mask from overlay, {told}, 3 more labels\n" in capsys.readouterr().out


def test_names_that_nothing_answers_to_are_pointed_out(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1, planes=0)
    pack(tmp_path, "--roi", "femur=1")
    assert capsys.readouterr().err == "warning: --roi was given, but no case has any mask to choose from\n"


def test_one_patient_under_two_names_is_pointed_out(tmp_path, capsys):
    write_ct_series(tmp_path / "data" / "a", volume_hu(), patient_id="Doe", series_uid="2.25.1")
    write_ct_series(tmp_path / "data" / "b", volume_hu(), patient_id="Roe", series_uid="2.25.2")
    one, two = pack(tmp_path).cases
    message = f"warning: cases {one.case} and {two.case} are the same image, voxel for voxel; folds keep them on one side\n"
    assert capsys.readouterr().err == message


def test_of_many_copies_of_one_image_a_few_are_named(tmp_path, capsys):
    for number in range(9):
        write_ct_series(tmp_path / "data" / str(number), volume_hu(2), series_uid=f"2.25.{number}")
    named = " and ".join(one.case for one in pack(tmp_path).cases[:6])
    assert f"warning: cases {named} and 3 more are the same image" in capsys.readouterr().err


def test_structures_are_listed_and_nothing_is_written(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1, planes=2)
    write_patient(tmp_path / "data", "Roe", 2, planes=1)
    write_patient(tmp_path / "data", "Poe", 3, planes=0)
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--list-roi"])
    assert capsys.readouterr().out.splitlines() == [
        "overlay      part 0  (2 of 3 cases)",
        "overlay      part 1  (1 of 3 cases)",
        "1 of 3 cases have no mask",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_structures_that_cannot_be_read_are_counted_and_the_others_listed(tmp_path, capsys):
    write_patient(tmp_path / "data", "Doe", 1)
    path = write_patient(tmp_path / "data", "Roe", 2)[0]
    structures = write_rtstruct(path.parent / "rs", {"hip": []}, series_uid="2.25.52")
    cut(structures, -30)
    with pytest.raises(SystemExit) as ended:
        pack(tmp_path, "--list-roi")
    assert ended.value.code == PARTIAL_EXIT_CODE
    shown = capsys.readouterr()
    assert shown.out == "overlay      part 0  (1 of 2 cases)\n"
    assert shown.err.startswith("warning: the structures of 1 of 2 cases cannot be listed: an RTSTRUCT file breaks off")


def test_the_key_table_says_what_keys_stand_for_also_of_refused_cases(tmp_path):
    write_patient(tmp_path / "data" / "ward", "Doe", 1)
    cut(write_patient(tmp_path / "data" / "ward", "Roe", 2)[0], -20)
    with pytest.raises(SystemExit):
        pack(tmp_path, "--keep-key-table", str(tmp_path / "keys.csv"))
    manifest = read_manifest(DatasetPaths(tmp_path / "shards"))
    with (tmp_path / "keys.csv").open(newline="") as handle:
        rows = {row["case"]: row for row in csv.DictReader(handle)}
    doe, roe = rows[manifest.cases[0].case], rows[manifest.refusals[0].case]
    assert (doe["patient_id"], doe["series_uid"], doe["folder"]) == ("Doe", "2.25.51", "ward/Doe")
    assert doe["patient"] == manifest.cases[0].patient
    assert (roe["patient_id"], roe["folder"]) == ("Roe", "ward/Roe")
    assert stat.S_IMODE((tmp_path / "keys.csv").stat().st_mode) == 0o600


def test_a_key_table_among_the_shards_is_refused_before_anything_is_read(tmp_path):
    write_patient(tmp_path / "data", "Doe", 1)
    with pytest.raises(ConfigError, match="keep it in a private folder"):
        pack(tmp_path, "--keep-key-table", str(tmp_path / "shards" / "keys.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_salt_among_the_shards_is_refused_before_anything_is_read(tmp_path):
    write_patient(tmp_path / "data", "Doe", 1)
    with pytest.raises(ConfigError, match=r"salt file .* would lie in"):
        pack(tmp_path, "--salt-file", str(tmp_path / "shards" / "salt"))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("content", [{}, {"a.txt": "one", "deep/b.txt": "two"}])
def test_a_folder_without_series_is_refused_and_nothing_is_made(tmp_path, content):
    (tmp_path / "data").mkdir()
    for name, text in content.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    with pytest.raises(SeriesError, match="no CT series") as caught:
        pack(tmp_path)
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "shards").write_text("a file")
    with pytest.raises(ConfigError, match="cannot write"):
        run(["pack", str(tmp_path / "missing"), "-o", str(tmp_path / "shards")])
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_nothing_that_names_a_patient_leaves_the_source(tmp_path, capsys):
    def name_everything(dataset, z):
        dataset.PatientName, dataset.PatientBirthDate, dataset.StudyDate = "Doe^Jane", "20110203", "20200506"
        dataset.StudyDescription, dataset.InstitutionName = "left hip of Jane", "Saint Elsewhere"

    for seed, patient in enumerate(("JD-4711", "JD-4712")):
        folder = tmp_path / "data" / f"Jane {patient}"
        write_ct_series(
            folder,
            volume_hu(seed=seed),
            patient_id=patient,
            series_uid=f"2.25.88{seed}",
            overlays={1: [Plane(MASK, label="Jane's hip", description="drawn by Dr Who")]},
            change=name_everything,
        )
    cut(folder / "image0003", -20)
    with pytest.raises(SystemExit):
        pack(tmp_path)
    run(["inspect", str(tmp_path / "shards"), "--json"])
    shown = capsys.readouterr()
    outputs = {path.name: path.read_bytes() for path in (tmp_path / "shards").iterdir()}
    outputs |= {"stdout": shown.out.encode(), "stderr": shown.err.encode()}
    outputs |= {"names": "\n".join(outputs).encode()}
    for secret in ("JD-471", "Jane", "Doe^", "20110203", "20200506", "2.25.88", "Elsewhere", "Dr Who"):
        for name, content in outputs.items():
            # The folder of the run itself is no secret of the source.
            assert secret.encode() not in content.replace(str(tmp_path).encode(), b""), (secret, name)


@pytest.mark.parametrize(
    ("options", "rois"),
    [
        ([], {}),
        (["femur=1", "pelvis=2"], {"femur": 1, "pelvis": 2}),
        (["left=1", "right=1"], {"left": 1, "right": 1}),
        (["a=b=255"], {"a=b": 255}),
    ],
)
def test_structures_are_read_from_their_options(options, rois):
    assert parse_rois(options) == rois


@pytest.mark.parametrize(
    "option", ["femur", "femur=", "=1", "femur=0", "femur=256", "femur=-1", "femur=one", "femur=1.5", "femur=²", ""]
)
def test_options_that_are_no_structures_are_refused(option):
    with pytest.raises(ConfigError, match=r"is not NAME=LABEL with a label of 1 to 255, as in --roi femur=1"):
        parse_rois([option])


def test_one_structure_cannot_have_two_labels():
    with pytest.raises(ConfigError, match="--roi names 'femur' twice"):
        parse_rois(["femur=1", "femur=2"])


def test_a_patient_packed_after_the_folds_were_dealt_is_pointed_out_with_the_command(tmp_path, capsys):
    for seed in range(2):
        write_patient(tmp_path / "data", f"p{seed}", seed)
    pack(tmp_path)
    run(["split", str(tmp_path / "shards"), "--folds", "2"])
    capsys.readouterr()
    pack(tmp_path)
    assert "folds" not in capsys.readouterr().err
    write_patient(tmp_path / "data", "p2", 2)
    pack(tmp_path)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if "folds" in line]
    assert warning.startswith("warning: the folds do not fit the packed cases any more: case c")
    assert f"`hipseg split {tmp_path / 'shards'} --folds 2 --overwrite`" in warning

import pytest

from hipseg.cli import main

SMALL = ["--patients", "2", "--slices", "4", "--matrix", "64"]


def test_tells_each_patient_and_what_to_run_next(tmp_path, capsys):
    main.run(["phantom", str(tmp_path / "my data"), *SMALL])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("patient 1 of 2: ")
    assert "4 slices every" in lines[0]
    assert lines[-1].endswith(f"next: hipseg-pack '{tmp_path}/my data'")


def test_next_command_for_organs_names_every_structure(tmp_path, capsys):
    main.run(["phantom", str(tmp_path / "organs"), "--organs", *SMALL])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("-o shards-pretrain --roi liver=1 --roi bladder=2 --roi lungs=3 --roi kidneys=4 --roi bone=5")


def test_nifti_organs_need_no_choice_of_structures(tmp_path, capsys):
    main.run(["phantom", str(tmp_path / "organs"), "--organs", "--masks", "nifti", *SMALL])
    assert capsys.readouterr().out.splitlines()[-1].endswith("-o shards-pretrain")


@pytest.mark.parametrize(("option", "value"), [("--matrix", "32"), ("--slices", "3"), ("--patients", "0"), ("--seed", "-1")])
def test_option_out_of_range_ends_with_one_line_and_code_2(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as ending:
        main.main(["phantom", str(tmp_path / "data"), option, value])
    error = capsys.readouterr().err
    assert ending.value.code == 2
    assert error.startswith(f"error: phantom option {option[2:]} is out of range: found {value};")
    assert error.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_folder_in_use_ends_with_code_2(tmp_path, capsys):
    (tmp_path / "here.txt").write_text("")
    with pytest.raises(SystemExit) as ending:
        main.main(["phantom", str(tmp_path), *SMALL])
    assert ending.value.code == 2
    assert "nothing is overwritten" in capsys.readouterr().err

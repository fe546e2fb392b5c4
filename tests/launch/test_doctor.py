import json

import pytest
from click.testing import CliRunner

from hipseg.cli.main import root
from hipseg.errors import LaunchError
from hipseg.launch import doctor
from hipseg.launch.doctor import TENSORFLOW_PROBE, examine, probe
from hipseg.launch.machine import Machine

from .fakes import NOT_CONFIGURED

TENSORFLOW = {"version": "2.21.0", "cuda": True, "gpus": ["Card"]}
HOROVOD = {"version": "0.28.1", "gloo": True, "nccl": False, "mpi": False}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine whose parts a test chooses: the answers of both libraries, cards, memory, programs."""

    def set_up(tensorflow=TENSORFLOW, horovod=HOROVOD, gpus=("0",), memory_bytes=8 * 1024**3):
        monkeypatch.setattr(doctor, "probe", lambda program: tensorflow if program is TENSORFLOW_PROBE else horovod)
        monkeypatch.setattr(doctor, "look_at_machine", lambda: Machine(4, memory_bytes, gpus))
        monkeypatch.setenv("PATH", str(tmp_path))
        return {one.name: one for one in examine(tmp_path / "not" / "there")}

    return set_up


def test_sound_machine_needs_no_cure(machine):
    found = machine()
    assert found["TensorFlow"].found == "2.21.0, with CUDA"
    assert found["graphics cards"].found == "1 in the machine, 1 seen by TensorFlow; Card"
    assert found["Horovod"].found == "0.28.1: gloo yes, nccl no, mpi no"
    assert (found["cores"].found, found["memory"].found) == ("4", "8.0 GiB free")
    assert found["Slurm"].found == "none; studies run on this machine"
    assert [one.name for one in found.values() if one.cure and one.name != "disk"] == []


@pytest.mark.parametrize(
    ("changes", "name", "cure"),
    [
        ({"tensorflow": "No module named 'tensorflow'"}, "TensorFlow", "make env"),
        ({"horovod": "undefined symbol"}, "Horovod", "make env"),
        ({"tensorflow": {**TENSORFLOW, "gpus": []}}, "graphics cards", "make env GPU=1"),
        ({"memory_bytes": 1024**3}, "memory", "larger machine"),
    ],
)
def test_what_is_missing_has_a_cure(machine, changes, name, cure):
    assert cure in machine(**changes)[name].cure


def test_a_results_folder_that_may_not_be_entered_needs_another(closed):
    disk = next(one for one in doctor._judge_machine(closed / "results") if one.name == "disk")
    assert disk.found.endswith(f"GiB free for {closed / 'results'}, where you may not write")
    assert disk.cure == "name another folder with --results"


def test_gpu_build_says_what_was_never_run(machine):
    assert "has not been run on a graphics card" in machine(horovod={**HOROVOD, "nccl": True})["GPU build"].found


def test_probe_gives_the_last_line_of_an_error():
    assert probe("raise ValueError('no such thing')") == "ValueError: no such thing"


@pytest.mark.parametrize("probe_answer", [TENSORFLOW, "broken"])
def test_command_prints_json_and_fails_where_nothing_can_be_trained(monkeypatch, probe_answer):
    monkeypatch.setattr(doctor, "probe", lambda program: probe_answer if program is TENSORFLOW_PROBE else HOROVOD)
    result = CliRunner().invoke(root, ["doctor", "--json"])
    names = [one["name"] for one in json.loads(result.stdout)]
    assert {"Python", "TensorFlow", "Horovod", "disk", "Slurm"} <= set(names)
    assert isinstance(result.exception, LaunchError) == (probe_answer == "broken")


@pytest.mark.slow
def test_the_environment_that_runs_this_is_sound():
    found = {one.name: one for one in examine(doctor.Path())}
    assert found["TensorFlow"].cure is None
    assert found["Horovod"].cure is None
    assert "gloo yes" in found["Horovod"].found


@pytest.mark.parametrize(
    ("answer", "found", "cure"),
    [
        ({}, "cluster fake: cpu with 4 nodes of 16 cores, 64 GB, at most 2-00:00:00; gpu with ", "hipseg doctor --write-profile"),
        ({"code": 1, "error": NOT_CONFIGURED}, "its programs, and no cluster; studies run on this machine", None),
        ({"text": "Slurmctld(primary) at head is DOWN", "code": 1}, "Slurm's controller does not answer", "--local"),
    ],
)
def test_a_cluster_is_told_from_programs_without_one(slurm, monkeypatch, tmp_path, answer, found, cure):
    monkeypatch.chdir(tmp_path)
    if answer:
        slurm.say("scontrol ping", **answer)
    (finding,) = doctor._judge_slurm()
    assert finding.found.startswith(found)
    assert (finding.cure is None) if cure is None else (cure in finding.cure)


def test_how_long_a_lost_node_goes_unnoticed_is_what_the_cluster_says(slurm, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    slurm.say("scontrol show config", "ClusterName             = fake\nSlurmdTimeout           = 300 sec\n")
    assert [(one.name, one.found) for one in doctor._judge_slurm()][1:] == [
        ("lost nodes", "count as down after 300 sec (SlurmdTimeout), and their jobs start again then")
    ]

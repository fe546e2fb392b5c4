from click.testing import CliRunner

from hipseg.cli.doctor import command
from hipseg.errors import LaunchError
from hipseg.launch.site import PROFILE, ask_site, read_site


def test_the_profile_of_a_cluster_is_written_and_shown(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(command, ["--write-profile"])
    assert ended.output.splitlines() == [
        "cpu (default): 4 nodes of 16 cores, 64 GB, at most 2-00:00:00",
        "gpu: 2 nodes of 32 cores, 128 GB, 4 GPUs, at most 24:00:00",
        "written: configs/cluster.yaml",
    ]
    assert read_site(PROFILE) == ask_site()


def test_without_a_cluster_there_is_no_profile_to_write(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slurm.say("sinfo", code=1, error="sinfo: fatal: Could not establish a configuration source\n")
    ended = CliRunner().invoke(command, ["--write-profile"])
    assert isinstance(ended.exception, LaunchError)
    assert list(tmp_path.iterdir()) == []

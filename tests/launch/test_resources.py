import re

import pytest
from submitit.slurm.slurm import _make_sbatch_string

from hipseg.errors import ConfigError
from hipseg.launch.resources import STAGES, Resources, format_time, parse_time, sbatch_lines, submitit_parameters

SMALL = Resources(cpus_per_rank=2, mem_gb=4, time_min=30)
LARGE = Resources(
    cpus_per_rank=4,
    mem_gb=64,
    time_min=3000,
    nodes=2,
    ranks_per_node=2,
    gpus_per_node=2,
    partition="gpu",
    account="lab 7",
    constraint="a100|v100",
    signal_lead_s=90,
    requeue=False,
)


def test_the_lines_say_what_is_asked_for_and_no_more():
    assert sbatch_lines(SMALL) == (
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=4G",
        "#SBATCH --time=00:30:00",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
    )


def test_names_are_quoted_for_the_shell_that_sbatch_reads_as():
    assert sbatch_lines(LARGE) == (
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=2",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=64G",
        "#SBATCH --time=2-02:00:00",
        "#SBATCH --signal=USR2@90",
        "#SBATCH --no-requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --partition=gpu",
        "#SBATCH --account='lab 7'",
        "#SBATCH --constraint='a100|v100'",
    )


def test_ranks_are_counted_over_all_nodes():
    assert (SMALL.ranks, LARGE.ranks) == (1, 4)


@pytest.mark.parametrize("resources", [SMALL, LARGE, *STAGES.values()])
def test_submitit_writes_the_same_lines(resources, tmp_path):
    script = _make_sbatch_string("true", tmp_path, **submitit_parameters(resources)).splitlines()
    written = [line for line in script if line.startswith("#SBATCH") and not re.match("#SBATCH --(job-name|output)=", line)]
    assert sorted(written) == sorted(sbatch_lines(resources))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("0:30", 1),
        ("1:30:00", 90),
        ("01:00:01", 61),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("2-02:00:00", 3000),
    ],
)
def test_every_form_of_a_time_is_read_as_sbatch_reads_it(text, minutes):
    assert parse_time(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "1h", "-5", "1-", "1:2:3:4", "0", "00:00:00", "٣"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ConfigError, match=r"^time .*"):
        parse_time(text)


@pytest.mark.parametrize("minutes", [1, 30, 60, 1439, 1440, 2879, 2880, 10000])
def test_a_time_is_read_back_as_it_was_written(minutes):
    assert parse_time(format_time(minutes)) == minutes


@pytest.mark.parametrize("name", ["partition", "account", "constraint"])
@pytest.mark.parametrize("value", ["a\nb", "", "a\x00", "a\u2028b"])
def test_a_name_that_would_end_its_line_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"{name} is .*without line breaks"):
        Resources(cpus_per_rank=1, mem_gb=1, time_min=1, **{name: value})


@pytest.mark.parametrize("name", ["nodes", "ranks_per_node", "cpus_per_rank", "mem_gb", "time_min"])
def test_nothing_is_asked_for_by_less_than_one(name):
    with pytest.raises(ConfigError, match=f"{name} is 0; at least 1"):
        Resources(**{"cpus_per_rank": 1, "mem_gb": 1, "time_min": 1, name: 0})

import dataclasses

import pytest

from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.allocation import allocate
from hipseg.launch.request import Request
from hipseg.launch.resources import STAGES, Resources
from hipseg.launch.site import parse_site

from .fakes import SINFO

SITE = parse_site(SINFO, "fake")
GB = 1024**3


def given(request=None, environment=None, memory_bytes=2 * GB, site=SITE, stages=frozenset(STAGES)):
    """Allocate for runs that need so much and 1 GB for each rank after the first."""
    return allocate(request or Request(), site, environment or {}, lambda ranks: memory_bytes + (ranks - 1) * GB, stages)


def run(*arguments, **named):
    return given(*arguments, **named).resources["finetune"]


def test_without_options_a_stage_has_its_default_and_cards_where_there_are_any():
    assert run() == Resources(cpus_per_rank=8, mem_gb=32, time_min=1440, gpus_per_node=0, partition="cpu")
    assert run(Request(partition="gpu")) == Resources(cpus_per_rank=8, mem_gb=32, time_min=1440, gpus_per_node=1, partition="gpu")


def test_every_stage_is_given_something_and_only_the_runs_follow_the_options():
    resources = given(Request(nodes=2, ranks=4, cpus=2, mem_gb=5, time_min=60)).resources
    assert resources.keys() == STAGES.keys()
    assert {name: one.ranks for name, one in resources.items()} == {"pack": 1, "pretrain": 4, "finetune": 4, "aggregate": 1}
    assert resources["pretrain"] == resources["finetune"]
    assert resources["aggregate"].mem_gb == STAGES["aggregate"].mem_gb


def test_each_card_has_a_rank_unless_it_is_said_otherwise():
    assert given(Request(partition="gpu", gpus=4, nodes=2)).ranks == 8
    assert given(Request(partition="gpu", gpus=4, nodes=2, ranks=2)).ranks == 2
    assert given(Request(nodes=2)).ranks == 2


def test_ranks_that_nodes_cannot_share_evenly_are_refused():
    with pytest.raises(ConfigError, match=r"--ranks 3 cannot be spread evenly over --nodes 2; take a multiple of 2"):
        given(Request(ranks=3, nodes=2))


def test_a_default_gives_way_to_what_nodes_have_and_an_option_does_not():
    small = parse_site("p*|up|2:00:00|1-infinite|2|4|8192|(null)|(null)\n", "x")
    assert run(site=small) == Resources(cpus_per_rank=4, mem_gb=8, time_min=120, partition="p")
    with pytest.raises(LaunchError, match=r"what would fit: --mem 8$"):
        given(Request(mem_gb=16), site=small)


@pytest.mark.parametrize(
    ("request_", "environment", "expected"),
    [
        (Request(), {}, ("cpu", None, None)),
        (Request(), {"SBATCH_PARTITION": "gpu", "SBATCH_ACCOUNT": "lab", "SBATCH_CONSTRAINT": "a100"}, ("gpu", "lab", "a100")),
        (Request(partition="cpu", account="mine"), {"SBATCH_PARTITION": "gpu", "SBATCH_ACCOUNT": "lab"}, ("cpu", "mine", None)),
    ],
)
def test_options_come_before_sbatchs_variables_and_those_before_the_cluster(request_, environment, expected):
    resources = run(request_, environment)
    assert (resources.partition, resources.account, resources.constraint) == expected


def test_the_profile_comes_last():
    site = SITE.model_copy(update={"account": "lab", "partition": "gpu"})  # and cpu is the cluster's own
    assert (run(site=site).account, run(site=site).partition) == ("lab", "gpu")
    assert run(environment={"SBATCH_ACCOUNT": "mine"}, site=site).account == "mine"


def test_sbatchs_time_holds_for_the_runs_only():
    resources = given(environment={"SBATCH_TIMELIMIT": "2:00:00"}).resources
    assert (resources["finetune"].time_min, resources["aggregate"].time_min) == (120, STAGES["aggregate"].time_min)
    assert run(Request(time_min=90), {"SBATCH_TIMELIMIT": "2:00:00"}).time_min == 90


@pytest.mark.parametrize(("minutes", "lead_s"), [(1440, 120), (8, 120), (4, 60), (1, 15)])
def test_a_short_job_is_told_to_save_in_its_last_quarter(minutes, lead_s):
    assert run(Request(time_min=minutes)).signal_lead_s == lead_s


def test_what_a_run_needs_on_processors_is_given_as_far_as_nodes_have_it():
    assert run(memory_bytes=40 * GB).mem_gb == 40
    assert given(memory_bytes=40 * GB).warnings == ()
    lacking = given(memory_bytes=100 * GB)
    assert lacking.resources["finetune"].mem_gb == 64
    assert lacking.warnings[0].startswith("one run needs about 100 GB on each node and is given 64 GB")
    assert given(Request(mem_gb=10), memory_bytes=20 * GB).warnings[0].startswith("one run needs about 20 GB on each node and is")


def test_ranks_share_what_a_run_needs_and_nodes_the_ranks():
    # 59 GB for one rank, and 1 for each after it.
    assert run(Request(ranks=4), memory_bytes=59 * GB).mem_gb == 62
    assert run(Request(ranks=4, nodes=2), memory_bytes=77 * GB).mem_gb == 40
    assert given(Request(ranks=4, nodes=2), memory_bytes=77 * GB).warnings == ()


def test_a_job_that_is_not_to_be_submitted_is_not_refused():
    with pytest.raises(LaunchError, match=r"^the pretraining cannot run on this cluster"):
        given(Request(cpus=20))
    with pytest.raises(LaunchError, match=r"^a run cannot run on this cluster"):
        given(Request(cpus=20), stages={"finetune", "aggregate"})
    assert given(Request(cpus=20), stages={"aggregate"}).resources["aggregate"].cpus_per_rank == 1


@pytest.mark.parametrize(
    ("request_", "gpus"),
    [
        (Request(ranks=4), 4),
        (Request(ranks=4, nodes=2), 2),
        (Request(nodes=2), 1),
        (Request(ranks=4, gpus=0), 0),
    ],
)
def test_each_rank_has_a_card_where_there_are_any(request_, gpus):
    assert run(dataclasses.replace(request_, partition="gpu")).gpus_per_node == gpus


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(gpus=1, ranks=4), "4 ranks on a node with 1 graphics card, .* ask for --gpus 4 or more --nodes"),
        (Request(gpus=2, ranks=6, nodes=2), "3 ranks on a node with 2 graphics cards, .* ask for --gpus 3 or more --nodes"),
        (Request(ranks=8), "8 ranks on a node with 4 graphics cards, .* ask for more --nodes"),
    ],
)
def test_ranks_that_would_share_a_card_are_refused(request_, message):
    with pytest.raises(ConfigError, match=message):
        given(dataclasses.replace(request_, partition="gpu"))


def test_beside_a_card_features_do_not_count():
    assert run(Request(partition="gpu"), memory_bytes=100 * GB).mem_gb == 32
    assert given(Request(partition="gpu"), memory_bytes=100 * GB).warnings == ()

import pytest

from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.resources import Resources
from hipseg.launch.site import (
    NodeKind,
    Partition,
    SiteProfile,
    ask_site,
    fits,
    parse_site,
    read_site,
    refuse_impossible,
    write_site,
)

SMALL = NodeKind(nodes=4, cpus=16, memory_mb=65536)
LARGE = NodeKind(nodes=2, cpus=32, memory_mb=131072, gpus=4, features=("a100",))
SITE = SiteProfile(
    cluster="fake",
    default_partition="cpu",
    partitions={
        "cpu": Partition(kinds=(SMALL,), time_limit_min=2880),
        "gpu": Partition(kinds=(LARGE,), time_limit_min=1440, max_nodes=2),
    },
)


def want(**changes):
    return Resources(**{"cpus_per_rank": 8, "mem_gb": 32, "time_min": 60, **changes})


def test_a_cluster_is_asked_what_it_offers(slurm):
    assert ask_site() == SITE


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("gpu:2", 2),
        ("gpu:a100:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2,gpu:t4:1", 3),
        ("craynetwork:4", 0),
        ("gpu:a100:2(S:0),craynetwork:4", 2),
    ],
)
def test_cards_are_counted_whatever_their_kind(gres, gpus):
    site = parse_site(f"p*|up|infinite|1-infinite|1|8|1000|{gres}|(null)\n", "x")
    assert site.partitions["p"] == Partition(kinds=(NodeKind(nodes=1, cpus=8, memory_mb=1000, gpus=gpus),))


def test_unlike_nodes_of_a_partition_are_kept_apart_and_closed_ones_left_out():
    text = "p|up|1:00:00|1|2|8|1000|(null)|x,y\np|up|1:00:00|1|1|16|2000|(null)|(null)\nq|down|1:00:00|1|1|8|1|(null)|(null)\n"
    site = parse_site(text, "x")
    assert site.default_partition is None
    assert list(site.partitions) == ["p"]
    assert [kind.nodes for kind in site.partitions["p"].kinds] == [2, 1]
    assert (site.partitions["p"].time_limit_min, site.partitions["p"].max_nodes) == (60, 1)


@pytest.mark.parametrize("line", ["nonsense", "p|up|soon|1|2|8|1000|(null)|x", "p|up|1:00|1|2|16+|1000|(null)|x"])
def test_what_sinfo_does_not_say_is_not_guessed(line):
    with pytest.raises(LaunchError, match=r"sinfo printed .* was asked for"):
        parse_site(line, "x")


@pytest.mark.parametrize(
    ("wanted", "cure"),
    [
        (want(gpus_per_node=4), "--gpus 0 or --partition gpu"),
        (want(mem_gb=100), "--mem 64 or --partition gpu"),
        (want(time_min=5000), "--time 2-00:00:00"),
        (want(nodes=5), "--nodes 4"),
        (want(ranks_per_node=4), "--cpus 4 or --partition gpu"),
        (want(ranks_per_node=20, cpus_per_rank=2), "--ranks 16"),
        (want(ranks_per_node=20, cpus_per_rank=2, gpus_per_node=20), "--gpus 0"),
        (want(constraint="a100", nodes=1), "another --constraint or --partition gpu"),
        # Each alone is there, and not both on one node.
        (want(gpus_per_node=4, time_min=2000), "--gpus 0"),
        (want(gpus_per_node=8, mem_gb=300, nodes=3), "--gpus 0 --mem 64"),
    ],
)
def test_what_no_node_offers_is_refused_and_what_would_fit_is_named(wanted, cure):
    with pytest.raises(LaunchError) as refusal:
        refuse_impossible(SITE, "cpu", wanted, "a run")
    said = str(refusal.value)
    assert said.startswith("a run cannot run on this cluster: asked ")
    assert "cpu has 4 nodes of 16 cores, 64 GB, at most 2-00:00:00" in said
    assert said.endswith(f"; what would fit: {cure}")


@pytest.mark.parametrize("wanted", [want(), want(nodes=4, ranks_per_node=2, mem_gb=64, time_min=2880), want(constraint="a|b")])
def test_what_is_there_is_not_refused(wanted):
    refuse_impossible(SITE, "cpu", wanted, "a run")


def test_one_of_several_partitions_is_enough():
    refuse_impossible(SITE, "cpu,gpu", want(gpus_per_node=4), "a run")


def test_nodes_of_two_kinds_can_serve_one_job():
    both = Partition(kinds=(SMALL, LARGE))
    assert fits(both, want(nodes=6))
    assert not fits(both, want(nodes=3, gpus_per_node=1))


@pytest.mark.parametrize(("names", "message"), [("none", "no partition 'none' .* cpu, gpu"), (None, "no default partition")])
def test_a_partition_that_is_not_there_is_refused(names, message):
    with pytest.raises(LaunchError, match=message):
        refuse_impossible(SITE, names, want(), "a run")


def test_a_profile_is_read_back_as_written(tmp_path):
    write_site(tmp_path / "configs" / "cluster.yaml", SITE)
    assert read_site(tmp_path / "configs" / "cluster.yaml") == SITE


def test_what_the_user_set_in_a_profile_outlives_a_new_one(tmp_path):
    path = tmp_path / "cluster.yaml"
    write_site(path, SITE.model_copy(update={"partition": "gpu", "account": "lab", "constraint": "a100"}))
    write_site(path, SITE)
    assert (read_site(path).partition, read_site(path).account, read_site(path).constraint) == ("gpu", "lab", "a100")


def test_a_chosen_partition_that_is_gone_gives_way_to_the_default(tmp_path):
    path = tmp_path / "cluster.yaml"
    write_site(path, SITE.model_copy(update={"partition": "gone", "account": "lab"}))
    write_site(path, SITE)
    assert (read_site(path).partition, read_site(path).default_partition, read_site(path).account) == (None, "cpu", "lab")


def test_a_new_default_of_the_cluster_is_no_choice_of_the_user(tmp_path):
    path = tmp_path / "cluster.yaml"
    write_site(path, SITE)
    write_site(path, SITE.model_copy(update={"default_partition": "gpu"}))
    assert (read_site(path).partition, read_site(path).default_partition) == (None, "gpu")


@pytest.mark.parametrize("text", ["[", "cluster: x\n", "cluster: x\npartitions: {}\nqueue: y\n", ""])
def test_a_profile_that_is_none_is_refused_with_the_cure(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    # Written over it would lose the account that stands there.
    for use in (read_site, lambda path: write_site(path, SITE)):
        with pytest.raises(ConfigError, match=r"; mend it, or delete it and write it anew with `hipseg doctor --write-profile`$"):
            use(path)
    assert path.read_text() == text

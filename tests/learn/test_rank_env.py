import pytest

from hipseg.errors import TrainError
from hipseg.learn.rank_env import find_place, gloo_variables, tasks_by_node
from tests.horovod.starting import srun_variables

HOROVODRUN = {
    "HOROVOD_RANK": "3",
    "HOROVOD_SIZE": "4",
    "HOROVOD_LOCAL_RANK": "1",
    "HOROVOD_LOCAL_SIZE": "2",
    "HOROVOD_CROSS_RANK": "1",
    "HOROVOD_CROSS_SIZE": "2",
}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "123",
}
HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}
SUBMITIT = {
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_LOCALID": "1",
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_NODEID": "0",
    "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
    "SUBMITIT_LOCAL_JOB_ID": "77",
}


def numbers(place):
    return (place.rank, place.size, place.local_rank, place.local_size, place.cross_rank, place.cross_size, place.node)


@pytest.mark.parametrize(
    ("environment", "launcher", "expected"),
    [
        (HOROVODRUN, "horovodrun", (3, 4, 1, 2, 1, 2, 1)),
        (MPIRUN, "mpirun", (3, 4, 1, 2, 1, 2, 1)),
        (HYDRA, "mpirun", (3, 4, 1, 2, 1, 2, 1)),
        (SUBMITIT, "submitit", (1, 2, 1, 2, 0, 1, 0)),
        (srun_variables(3, 4, nodes=2), "srun", (3, 4, 1, 2, 1, 2, 1)),
        ({**srun_variables(1, 2), **HOROVODRUN}, "horovodrun", (3, 4, 1, 2, 1, 2, 1)),
        # Within a job Hydra is started by srun, once a node, and `srun --mpi=pmi2` sets the same two names.
        ({**srun_variables(1, 2), **HYDRA}, "mpirun", (3, 4, 1, 2, 1, 2, 1)),
        ({**srun_variables(1, 2), "PMI_RANK": "1", "PMI_SIZE": "2"}, "srun", (1, 2, 1, 2, 0, 1, 0)),
    ],
)
def test_each_launcher_gives_the_same_place(environment, launcher, expected):
    place = find_place(environment)
    assert place.launcher == launcher
    assert numbers(place) == expected


def test_ranks_of_unequally_filled_nodes_are_counted_where_they_have_a_counterpart():
    # Three nodes with 2, 2 and 1 ranks: the last rank is alone on its node; a second local rank exists on two nodes.
    start = {"SLURM_STEP_NUM_TASKS": "5", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1"}
    last = find_place({**start, "SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"})
    second = find_place({**start, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"})
    assert numbers(last) == (4, 5, 0, 1, 2, 3, 2)
    assert numbers(second) == (3, 5, 1, 2, 1, 2, 1)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"},
        srun_variables(0, 1),
        {**HOROVODRUN, "HOROVOD_RANK": "0", "HOROVOD_SIZE": "1", "HOROVOD_LOCAL_RANK": "0", "HOROVOD_LOCAL_SIZE": "1"},
    ],
    ids=["nothing", "batch script", "srun of one", "horovodrun of one"],
)
def test_one_process_has_no_place_among_ranks(environment):
    assert find_place(environment) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SLURM_LOCALID": ""}, "SLURM_LOCALID is ''"),
        ({"SLURM_PROCID": "9"}, r"rank 9 of 4"),
        ({"SLURM_STEP_TASKS_PER_NODE": "two"}, r"2\(x3\),1 is needed"),
        ({"SLURM_STEP_TASKS_PER_NODE": "3"}, r"srun started 4 ranks.*counts \[3\]"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(TrainError, match=message):
        find_place({**srun_variables(1, 4), **change})


@pytest.mark.parametrize("change", [{"OMPI_COMM_WORLD_SIZE": "5"}, {"OMPI_COMM_WORLD_LOCAL_RANK": "0"}])
def test_nodes_that_mpirun_fills_unequally_or_in_turns_are_refused(change):
    with pytest.raises(TrainError, match="every node needs the same number of ranks, and they have to follow each other"):
        find_place({**MPIRUN, **change})


def test_a_start_of_mpirun_without_a_name_is_refused():
    with pytest.raises(TrainError, match="neither PMIX_NAMESPACE nor OMPI_MCA_ess_base_jobid"):
        find_place({name: value for name, value in MPIRUN.items() if name != "PMIX_NAMESPACE"})


def test_tasks_are_read_as_slurm_writes_them():
    assert tasks_by_node("2(x3),1") == [2, 2, 2, 1]
    assert tasks_by_node("4") == [4]


def test_two_steps_of_a_job_and_a_requeued_job_meet_apart():
    first, second = (find_place(srun_variables(0, 2, step=step)).meeting for step in (0, 1))
    again = find_place({**srun_variables(0, 2), "SLURM_RESTART_COUNT": "1"}).meeting
    assert len({first, second, again}) == 3


def test_gloo_is_told_the_address_the_card_and_nodes_of_different_names():
    places = [find_place(srun_variables(rank, 4, nodes=2)) for rank in (1, 2)]
    first, second = (gloo_variables(place, ("10.0.0.7", 4242), "ib0") for place in places)
    assert first["HOROVOD_HOSTNAME"] != second["HOROVOD_HOSTNAME"]
    assert (first["HOROVOD_GLOO_RENDEZVOUS_ADDR"], first["HOROVOD_GLOO_RENDEZVOUS_PORT"]) == ("10.0.0.7", "4242")
    assert (first["HOROVOD_GLOO_IFACE"], first["HOROVOD_CONTROLLER"]) == ("ib0", "gloo")

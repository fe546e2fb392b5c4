"""The local cluster: nodes that are apart, graphics cards, accounts, several clusters at once, and nothing left of it."""

import re
import subprocess

import pytest

from tests.slurm.cluster import LOCAL_SLURM, ask

pytestmark = pytest.mark.slurm

LISTEN = """
import socket, time
server = socket.socket()
server.bind(("", 4711))
print(socket.gethostname(), socket.gethostbyname(socket.gethostname()))
time.sleep(0.5)
"""


def test_two_nodes_listen_on_the_same_port_at_addresses_of_their_own(cluster):
    said = ask("srun", "--nodes=2", "--ntasks-per-node=1", "python3", "-c", LISTEN)
    named = dict(line.split() for line in said.splitlines())
    assert sorted(named) == ["node1", "node2"]
    assert len({*named.values(), "127.0.0.1"}) == 3


def test_a_job_sees_the_cards_that_it_asked_for(cluster):
    shown = [ask("srun", f"--gpus-per-node={count}", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES").strip() for count in (1, 2)]
    assert shown == ["0", "0,1"]
    refused = subprocess.run(["srun", "--gpus-per-node=3", "true"], capture_output=True, text=True, check=False)
    assert "Requested node configuration is not available" in refused.stderr


def test_up_again_changes_nothing(cluster):
    before = ask("bash", "-c", f"cat {cluster}/pid/*")
    ask(LOCAL_SLURM, "up", cluster)
    assert ask("bash", "-c", f"cat {cluster}/pid/*") == before


def test_another_cluster_lives_beside_it_and_leaves_nothing(cluster, tmp_path, monkeypatch):
    own = tmp_path / "another"
    monkeypatch.setenv("HIPSEG_SLURM_NODES", "1")
    try:
        said = ask(LOCAL_SLURM, "up", own)
        monkeypatch.setenv("SLURM_CONF", said.strip().removeprefix("export SLURM_CONF="))
        assert ask("srun", "hostname") == "node1\n"
        number = re.search(r"number=(\d+)", (own / "facts").read_text())[1]
        assert f"hipseg{number} " in ask("ip", "-brief", "link")
        left_behind = subprocess.Popen(["srun", "sleep", "600"], stderr=subprocess.DEVNULL)
    finally:
        ask(LOCAL_SLURM, "down", own)
    left_behind.kill()
    left_behind.wait()
    assert str(own) not in ask("ps", "-e", "-o", "args")
    links = ask("ip", "-brief", "link") + ask("ip", "netns")
    assert not re.search(rf"\b(hipseg{number}|v{number})\b", links)
    assert sorted(path.name for path in own.iterdir()) == ["lock", "log"]


def test_a_folder_that_slurm_cannot_use_is_refused_by_name(cluster, tmp_path):
    done = subprocess.run([LOCAL_SLURM, "up", tmp_path / "my cluster"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"Slurm cannot use a folder called {tmp_path}/my cluster; name another" in done.stderr

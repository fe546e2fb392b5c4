import json

import pytest

from hipseg.errors import ConfigError
from hipseg.launch.request import Request, dump_request, read_request

FULL = Request(
    arms=("unet",),
    folds=(0, 3),
    ranks=4,
    nodes=2,
    gpus=2,
    cpus=4,
    mem_gb=64,
    time_min=90,
    partition="gpu",
    max_requeues=3,
    pack="data",
)


@pytest.mark.parametrize("request_", [Request(), FULL])
def test_a_request_is_read_back_from_json_as_it_was(request_):
    assert read_request(json.loads(json.dumps(dump_request(request_)))) == request_


def test_only_what_was_asked_for_is_written():
    assert dump_request(Request()) == {}
    assert dump_request(Request(ranks=2)) == {"ranks": 2}


def test_what_only_a_cluster_can_do_is_refused_here_by_its_option():
    with pytest.raises(ConfigError, match=r"^--nodes and --gpus and --cpus and --mem and --time and --part.* and --pack are"):
        FULL.refuse_here()
    Request(ranks=2, max_running=1, arms=("unet",)).refuse_here()

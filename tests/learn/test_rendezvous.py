import http.client
import stat
import threading

import psutil
import pytest

from hipseg.errors import TrainError
from hipseg.fsio import write_json
from hipseg.learn.rank_env import find_place
from hipseg.learn.rendezvous import LOOPBACK, find_meeting, interface_of, meeting_file, open_meeting, own_address
from tests.horovod.starting import srun_variables

FIRST, SECOND = (find_place(srun_variables(rank, 2)) for rank in (0, 1))
APART = find_place(srun_variables(0, 2, nodes=2))


def ask(meeting, method, path, body=None):
    connection = http.client.HTTPConnection(meeting.address, meeting.port, timeout=5)
    connection.request(method, path, body)
    response = connection.getresponse()
    try:
        return response.status, response.read()
    finally:
        connection.close()


def test_ranks_find_each_other_by_a_private_file_that_is_gone_afterwards(tmp_path):
    with open_meeting(tmp_path, FIRST, LOOPBACK) as meeting:
        path = meeting_file(tmp_path, SECOND)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        found = find_meeting(tmp_path, SECOND, 5)
        assert (found.address, found.port, found.secret) == (meeting.address, meeting.port, meeting.secret)
        meeting.server.answer = lambda message: message[::-1]
        assert found.say(b"abc") == b"cba"
        assert meeting.say(b"abc") == b"cba"
    assert not path.exists()


def test_the_server_listens_on_its_one_address_only(tmp_path):
    with open_meeting(tmp_path, FIRST, LOOPBACK) as meeting:
        listening = [one.laddr for one in psutil.Process().net_connections() if one.status == psutil.CONN_LISTEN]
    assert (LOOPBACK, meeting.port) in listening
    assert meeting.port not in [port for address, port in listening if address != LOOPBACK]


def test_what_one_rank_puts_the_other_gets_until_the_doors_close(tmp_path):
    with open_meeting(tmp_path, FIRST, LOOPBACK) as meeting:
        assert ask(meeting, "GET", "/global/0")[0] == 404
        assert ask(meeting, "PUT", "/global/0", b"here")[0] == 200
        assert ask(meeting, "GET", "/global/0") == (200, b"here")
        assert ask(meeting, "DELETE", "/global/0")[0] == 200
        assert ask(meeting, "GET", "/global/0") == (200, b"here")
        meeting.close_doors()
        assert ask(meeting, "GET", "/global/0")[0] == 404
        assert ask(meeting, "PUT", "/global/0", b"stranger")[0] == 403
        assert ask(meeting, "PUT", f"/{meeting.secret}/say", b"")[0] == 200


def test_without_the_secret_nobody_speaks_to_rank_0(tmp_path):
    with open_meeting(tmp_path, FIRST, LOOPBACK) as meeting:
        meeting.close_doors()
        heard = []
        meeting.server.answer = lambda message: heard.append(message) or b""
        assert ask(meeting, "PUT", "/guessed/say", b"fail")[0] == 403
        assert heard == []


def test_a_file_that_an_earlier_start_left_behind_is_passed_over(tmp_path):
    write_json(meeting_file(tmp_path, SECOND), {"address": LOOPBACK, "port": 1, "secret": "old"})
    found = []
    waiting = threading.Thread(target=lambda: found.append(find_meeting(tmp_path, SECOND, 10)))
    waiting.start()
    with open_meeting(tmp_path, FIRST, LOOPBACK) as meeting:
        waiting.join()
    assert found[0].port == meeting.port


@pytest.mark.parametrize("is_stale", [True, False])
def test_waiting_for_rank_0_has_an_end(tmp_path, is_stale):
    if is_stale:
        write_json(meeting_file(tmp_path, SECOND), {"address": LOOPBACK, "port": 1, "secret": "old"})
    what = "a file that nobody answers for" if is_stale else "no file"
    with pytest.raises(TrainError, match=rf"rank 1 of 2 waited 0\.3 s for rank 0, and found {what} at .*HIPSEG_INTERFACE"):
        find_meeting(tmp_path, SECOND, 0.3)


def test_several_studies_of_a_node_meet_apart(tmp_path):
    with open_meeting(tmp_path / "a", FIRST, LOOPBACK) as one, open_meeting(tmp_path / "b", FIRST, LOOPBACK) as other:
        assert one.port != other.port
        assert find_meeting(tmp_path / "b", SECOND, 5).port == other.port


def test_ranks_of_one_node_stay_on_loopback_and_those_of_several_do_not():
    assert own_address(FIRST, {}) == LOOPBACK
    outside = [one.address for cards in psutil.net_if_addrs().values() for one in cards if one.family.name == "AF_INET"]
    outside = [address for address in outside if not address.startswith("127.")]
    if outside:
        assert own_address(APART, {}) in outside
    else:
        with pytest.raises(TrainError, match="no network address besides loopback"):
            own_address(APART, {})


def test_the_card_can_be_named_and_a_wrong_name_is_refused_with_the_right_ones():
    assert own_address(APART, {"HIPSEG_INTERFACE": "lo"}) == LOOPBACK
    assert interface_of(LOOPBACK) == "lo"
    with pytest.raises(TrainError, match=r"HIPSEG_INTERFACE is 'ib9'; this node's network cards are .*lo"):
        own_address(FIRST, {"HIPSEG_INTERFACE": "ib9"})

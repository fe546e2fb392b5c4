from hipseg.cli.standing import put_in_words
from hipseg.errors import PARTIAL_EXIT_CODE
from hipseg.launch.graph import Job
from hipseg.launch.progress import Progress
from hipseg.launch.state import Record

PACK = Record(Job("pack", ("pack", "--merge")))


def test_a_packing_that_refused_scans_is_not_said_to_have_taken_all():
    assert put_in_words(Progress(PACK, "done", exit_code=0)) == "done"
    said = put_in_words(Progress(PACK, "done", exit_code=PARTIAL_EXIT_CODE, requeued=1))
    assert said == "done, not with all scans: its log names them, requeued once"

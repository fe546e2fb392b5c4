import pytest

from hipseg.cli.main import run
from hipseg.pack.journal import Entry, open_journal
from hipseg.pack.plan import PackPlan, record_plan
from hipseg.shards.manifest import read_manifest
from tests.shards.builders import pack_noise

RECORD = record_plan(PackPlan(rois={}, salt_id="", set_aside={}))


@pytest.fixture
def packed(tmp_path):
    paths, _ = pack_noise(tmp_path, {f"c{number}": f"p{number}" for number in range(4)}, (2, 3, 4))
    return paths


def write_journal(paths, part, *, is_complete):
    with open_journal(paths.journal(part), RECORD, [Entry(one, "5" * 64) for one in read_manifest(paths).cases]) as journal:
        if is_complete:
            journal.complete()


@pytest.mark.parametrize("command", [["verify"], ["split", "--folds", "2"]], ids=" ".join)
def test_a_packing_that_broke_off_is_pointed_out(packed, capsys, command):
    write_journal(packed, "", is_complete=False)
    run([*command, str(packed.root)])
    words = f"warning: the last packing into {packed.root} has not come to its end, so that cases may be missing; the same"
    assert capsys.readouterr().err.startswith(words)
    write_journal(packed, "", is_complete=True)
    run([*command, str(packed.root)])
    assert capsys.readouterr().err == ""


def test_parts_that_were_not_merged_are_pointed_out(packed, capsys):
    write_journal(packed, "1-of-2", is_complete=True)
    run(["verify", str(packed.root)])
    told = capsys.readouterr().err
    assert told.startswith(f"warning: parts that were packed into {packed.root} are not merged")
    assert told.endswith(f"join them with `hipseg pack --merge -o {packed.root}`\n")

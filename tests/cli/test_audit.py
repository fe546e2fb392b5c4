import json

import pytest
from click.testing import CliRunner

from hipseg.cli.aggregate import command as aggregate
from hipseg.cli.audit import CONDITIONS, command

from ..report.results import write_results

TABLE = "method,dice,iou\nU-Net,0.95,0.92\nother,0.80,0.67\n"
IMPOSSIBLE = TABLE + "worse,0.80,0.90\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def test_each_row_is_judged_under_both_readings_with_its_arithmetic(table):
    ended = CliRunner().invoke(command, [str(table)])
    assert ended.exit_code == 0
    assert ended.output == (
        "line 2: U-Net\n"
        "  as pooled counts: cannot be\n"
        "    cannot be: Dice 0.95 (0.945 to 0.955); IoU 0.92 (0.915 to 0.925) gives Dice 2J/(1+J) = 0.95561 to 0.96104: "
        "0.95561 > 0.955, no value in common\n"
        "    were IoU the mean over structure and background: possible\n"
        "  as means over cases: possible\n"
        "\n"
        "line 3: other\n"
        "  as pooled counts: possible\n"
        "  as means over cases: possible\n"
        f"\n{CONDITIONS}\n"
    )


def test_the_same_as_json(table):
    ended = CliRunner().invoke(command, [str(table), "--json"])
    value = json.loads(ended.output)
    assert (value["format_version"], len(value["rows"])) == (1, 2)
    row = value["rows"][0]
    assert (row["line"], row["name"], row["cells"]["dice"], row["cells"]["recall"]) == (2, "U-Net", "0.95", None)
    assert [row["readings"][one]["verdict"] for one in ("pooled", "means")] == ["cannot be", "possible"]
    assert row["readings"]["pooled"]["findings"][0]["columns"] == ["dice", "iou"]
    assert row["readings_of_iou_averaged_with_background"]["pooled"] == {"verdict": "possible", "findings": []}


def test_a_row_that_cannot_be_at_all_is_told_by_the_exit_code(table):
    table.write_text(IMPOSSIBLE)
    for options in ([], ["--json"]):
        ended = CliRunner().invoke(command, [str(table), *options])
        assert ended.exit_code == 10
        assert "worse" in ended.output


@pytest.mark.parametrize("row", ["alone,0.95,,,\n", "none,,,,\n", "rates,,,0.9,0.8\n"])
def test_a_row_without_two_cells_to_hold_against_each_other_is_not_called_possible(table, row):
    table.write_text("method,dice,iou,precision,recall\n" + row)
    ended = CliRunner().invoke(command, [str(table)])
    assert ended.output.count(": nothing compared\n") == 2
    assert "possible" not in ended.output
    value = json.loads(CliRunner().invoke(command, [str(table), "--json"]).output)
    assert [one["verdict"] for one in value["rows"][0]["readings"].values()] == ["nothing compared"] * 2


def test_our_own_table_can_be_audited_and_passes(tmp_path):
    write_results(tmp_path)
    CliRunner().invoke(aggregate, [str(tmp_path)])
    ended = CliRunner().invoke(command, [str(tmp_path / "comparison.csv"), "--json"])
    assert ended.exit_code == 0
    rows = json.loads(ended.output)["rows"]
    assert [row["readings"]["means"] for row in rows] == [{"verdict": "possible", "findings": []}] * len(rows)
    assert rows

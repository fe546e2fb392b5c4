from fractions import Fraction

import pytest

from hipseg.errors import ReportError
from hipseg.report.published import Range, parse_published, read_cell, read_published


def write(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("0.95", "0.945", "0.955"),
        (".95", "0.945", "0.955"),
        ("0.950", "0.9495", "0.9505"),
        ("95%", "0.945", "0.955"),
        ("95.2 %", "0.9515", "0.9525"),
        ("0.95 ± 0.02", "0.945", "0.955"),
        ("95.2 ± 1.3 %", "0.9515", "0.9525"),
        ("95.2 (1.3) %", "0.9515", "0.9525"),
        ("95.2 % ± 1.3 %", "0.9515", "0.9525"),
        ("0.9 ± 0.1 %", "0.0085", "0.0095"),
        ("0.95 (0.90 to 0.99)", "0.945", "0.955"),
        ("9.5e-01", "0.945", "0.955"),
        ("1.00", "0.995", "1"),
        ("0.00", "0", "0.005"),
        ("1", "0.5", "1"),
    ],
)
def test_a_cell_is_half_a_unit_of_its_last_digit_to_either_side_within_0_and_1(text, low, high):
    assert read_cell(text, "dice").values == Range(Fraction(low), Fraction(high))


def test_digits_beyond_the_twelfth_are_taken_for_rounding_of_the_arithmetic():
    values = read_cell("0.66666666666666663", "iou").values
    assert values.high - values.low == Fraction(1, 10**12)


@pytest.mark.parametrize("text", ["high", "0,95", "-0.1", "0.9.5", "9e99999", "±0.1", "<b>0.95"])
def test_what_is_no_score_is_refused_with_its_place(text):
    with pytest.raises(ReportError, match="dice in line 3"):
        read_cell(text, "dice in line 3")


def test_a_score_beyond_1_is_refused():
    with pytest.raises(ReportError, match=r"dice is 95\.2; a score lies between 0 and 1, or ends in %"):
        read_cell("95.2", "dice")


@pytest.mark.parametrize("text", ["0.95 (CV 2.1 %)", "0.95 ± 2 % (n = 9)"])
def test_a_percent_sign_that_may_be_the_deviation_s_alone_is_refused(text):
    with pytest.raises(ReportError, match=r"dice is .*; put the % behind the number or at the end if it belongs to both"):
        read_cell(text, "dice")


def test_columns_are_found_by_title_and_absent_cells_left_out(tmp_path):
    path = write(tmp_path, "Method,IoU, Dice ,Remark,Recall\nA,0.5,0.7,x,\nB,n/a,0.8,,\N{EN DASH}\n\nC,0.5\n")
    rows = read_published(path)
    assert [(row.line, row.name, {name: cell.text for name, cell in row.cells.items()}) for row in rows] == [
        (2, "A", {"iou": "0.5", "dice": "0.7"}),
        (3, "B", {"dice": "0.8"}),
        (5, "C", {"iou": "0.5"}),
    ]


def test_a_cell_cannot_move_the_cursor():
    cell = read_cell("0.95 (\x1b[2J\x1b[31m)", "dice in line 2")
    assert cell.text == "0.95 (?[2J?[31m)"


def test_a_name_cannot_move_the_cursor(tmp_path):
    (row,) = read_published(write(tmp_path, "method,dice,iou\n\x1b[31mred\x07,0.5,0.5\n"))
    assert row.name == "?[31mred?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "fewer than two columns of scores"),
        ("method;dice;iou\nA;0,5;0,3\n", "out of dice, .*, f1; its titles stand between semicolons, and commas are needed"),
        ("method,dice\nA,0.5\n", "fewer than two columns of scores; name them by a first line, out of dice, iou"),
        ("method,dice,iou\n", "has no row below its titles"),
        ("method,dice,iou\nA,0.5,x\n", "iou in line 2 is 'x'"),
        ("dice, Dice,iou\n0.5,0.6,0.4\n", "has 2 columns titled dice; keep the one that counts"),
        (f"method,dice,iou\nA,0.5,0.4\n{'x' * 200_000},0.5,0.4\n", "cannot read the table .*: field larger than field limit"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(tmp_path, text, message):
    with pytest.raises(ReportError, match=message):
        read_published(write(tmp_path, text))


def test_text_that_is_no_csv_is_refused_wherever_it_comes_from():
    with pytest.raises(ReportError, match=r"cannot read the table thesis at line 1: field larger .*; CSV is needed"):
        parse_published(f"{'x' * 200_000},dice,iou\n", "thesis")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ReportError, match="cannot read the table"):
        read_published(tmp_path / "none.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"dice,iou\n\xff\xfe\n")
    with pytest.raises(ReportError, match="CSV in UTF-8 is needed"):
        read_published(path)

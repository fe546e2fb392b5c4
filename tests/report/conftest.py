"""The comparison of the hand-scored results: whole, partial, with everything there can be, and with names that attack."""

import pytest

from hipseg.report.collect import collect
from hipseg.report.table import compare
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import PERFECT, POOR, write_fold, write_results


@pytest.fixture
def comparison(tmp_path):
    write_results(tmp_path)
    return compare(collect(StudyPaths(tmp_path)))


@pytest.fixture
def partial_comparison(tmp_path):
    write_results(tmp_path)
    StudyPaths(tmp_path).fold("unet", 1).summary.unlink()
    return compare(collect(StudyPaths(tmp_path), allow_partial=True))


@pytest.fixture
def full_comparison(tmp_path):
    """Cleaned answers, a second seed and a warning."""
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold], answers=("raw", "cleaned"))
        write_fold(tmp_path, "unet", fold, PERFECT[fold], repeat=1, answers=("raw", "cleaned"))
        write_fold(tmp_path, "other", fold, PERFECT[fold], answers=("raw", "cleaned"), epochs=4)
    return compare(collect(StudyPaths(tmp_path)))


@pytest.fixture
def hostile_comparison(tmp_path):
    """Names that mean something to a spreadsheet, to Markdown, to LaTeX, to HTML and to the terminal."""
    for fold in (0, 1):
        names = {"study": "=cmd()|' /C calc'!A0 | [red]a_b*c", "method": r"\input{/etc/passwd} 100% of $x & {y} # ~^ -- Żółć 测"}
        counts = {f"<script>alert({fold})": Counts(4, 0, 0, 6)}
        write_fold(tmp_path, "-arm<script>", fold, counts, train=[], val_loss=0.125, **names)
        write_fold(tmp_path, r"@\input{x}", fold, counts, train=[], val_loss=0.125, **names)
    return compare(collect(StudyPaths(tmp_path)))


@pytest.fixture
def obeyed_comparison(tmp_path):
    """Names that a terminal would obey: colour, a bell, and words that run the other way."""
    names = {"study": "\x1b[31mred\x07", "method": "\N{RIGHT-TO-LEFT OVERRIDE}teN-U"}
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold], versions={"numpy\x1b[2J": f"{fold}\x1b[31m"}, **names)
    return compare(collect(StudyPaths(tmp_path)))

"""The comparison of the hand-scored results, whole and partial."""

import pytest

from hipseg.report.collect import collect
from hipseg.report.table import compare
from hipseg.runs import StudyPaths

from .results import PERFECT, write_fold, write_results


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
def hostile_comparison(tmp_path):
    """Names that mean something to a spreadsheet, to Markdown, to LaTeX and to the terminal."""
    for fold in (0, 1):
        names = {"study": "=1+1 | [red]a_b*c", "method": "100% \\of $x & {y} # ~^ -- Żółć 测", "val_loss": 0.125}
        write_fold(tmp_path, "-arm<b>", fold, PERFECT[fold], **names)
    return compare(collect(StudyPaths(tmp_path)))

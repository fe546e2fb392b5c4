import shutil
import subprocess

import pytest

from hipseg.report.collect import collect
from hipseg.report.table import DEFINITION, compare
from hipseg.report.table_latex import to_latex
from hipseg.runs import StudyPaths

from .results import POOR, write_fold

DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\pagestyle{empty}
\raggedright\small
\begin{document}
\noindent
\textbf{Scores over cases}\par\smallskip\noindent
SHRINK
\begin{tabular}{llllrrrrrrrr}
\toprule
Study & Method & Arm & Scored & Dice & IoU & Accuracy & All-background accuracy & Precision & Recall & F1 & Loss \\
\midrule
{[}18{]} & U-Net & unet & hip, raw & HALF & 0.444 $\pm$ 0.509 & 0.900 $\pm$ 0.115 & SHARE & HALF & HALF & HALF & 0.500 \\
This study (with TL) & U-Net & modified-unet-tl & hip, raw & ONE & ONE & ONE & SHARE & ONE & ONE & ONE & 0.020 \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\textbf{Cases behind them}\par\smallskip\noindent
SHRINK
\begin{tabular}{llllrrrrrr}
\toprule
Study & Method & Arm & Scored & Folds & Cases & Patients & Misses & False alarms & Undefined \\
\midrule
{[}18{]} & U-Net & unet & hip, raw & 2/2 & 4 & 4 & 1 & 0 & 1 \\
This study (with TL) & U-Net & modified-unet-tl & hip, raw & 2/2 & 4 & 4 & 0 & 0 & 1 \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\textbf{Dice over cases, patients and folds}\par\smallskip\noindent
SHRINK
\begin{tabular}{llrrrrr}
\toprule
Arm & Scored & Over cases & Over patients & 95\% interval & Over folds & 95\% interval \\
\midrule
unet & hip, raw & HALF & HALF & -0.742 to 1.742 & 0.375 $\pm$ 0.530 & -4.390 to 5.140 \\
modified-unet-tl & hip, raw & ONE & ONE & 1.000 to 1.000 & ONE & 1.000 to 1.000 \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\textbf{Distances over cases}\par\smallskip\noindent
SHRINK
\begin{tabular}{llrrrrrrr}
\toprule
Arm & Scored & HD95 mm & ASSD mm & DIAGONALS & NSD 1 mm & NSD 2 mm & HD95 undefined \\
\midrule
unet & hip, raw & 1.000 $\pm$ 1.414 & 0.250 $\pm$ 0.354 & FAR & 0.583 $\pm$ 0.520 & 0.625 $\pm$ 0.545 & 2 \\
modified-unet-tl & hip, raw & ZERO & ZERO & ZERO & ZERO & ONE & ONE & 1 \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\textbf{Volumes and specificity over cases}\par\smallskip\noindent
SHRINK
\begin{tabular}{llrrrr}
\toprule
Arm & Scored & Truth ml & Prediction ml & Difference ml & Specificity \\
\midrule
unet & hip, raw & 0.020 $\pm$ 0.016 & 0.015 $\pm$ 0.019 & -0.005 $\pm$ 0.010 & 0.969 $\pm$ 0.062 \\
modified-unet-tl & hip, raw & 0.020 $\pm$ 0.016 & 0.020 $\pm$ 0.016 & ZERO & ONE \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\textbf{Arms compared over patients by Dice, second minus first}\par\smallskip\noindent
SHRINK
\begin{tabular}{lllrrrrrrr}
\toprule
First & Second & Test & Patients & Cases left out & Median difference & 95\% interval & Effect size & p & p by Holm \\
\midrule
unet & modified-unet-tl & not tested, patients who differ: 2, p cannot fall below 0.5 & 3 & 1 & 0.500 & n/a & 0.833 & n/a & n/a \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\textbf{Slice-wise, not to be compared with scores over cases}\par\smallskip\noindent
SHRINK
\begin{tabular}{lllrrrrrrrr}
\toprule
Arm & Scored & Empty slices & Slices & Empty & Dice & IoU & Mean IoU & Accuracy & Precision & Recall \\
\midrule
unet & hip, raw & left out & 4 & 1 & 0.500 & 0.444 & 0.652 & 0.867 & 0.500 & 0.500 \\
unet & hip, raw & counted as 1 & 4 & 1 & 0.625 & 0.583 & 0.739 & 0.900 & 0.625 & 0.625 \\
modified-unet-tl & hip, raw & left out & 4 & 1 & 1.000 & 1.000 & 1.000 & 1.000 & 1.000 & 1.000 \\
modified-unet-tl & hip, raw & counted as 1 & 4 & 1 & 1.000 & 1.000 & 1.000 & 1.000 & 1.000 & 1.000 \\
\bottomrule
\end{tabular}}
\par\bigskip\noindent
\footnotesize DEFINITION Structures: hip is label 1 of the masks.
\end{document}
"""
WORDS = {
    "HALF": r"0.500 $\pm$ 0.500",
    "ONE": r"1.000 $\pm$ 0.000",
    "ZERO": r"0.000 $\pm$ 0.000",
    "SHRINK": r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
    "SHARE": r"0.800 $\pm$ 0.163",
    "FAR": r"7.547 $\pm$ 11.383 & 7.047 $\pm$ 11.775",
    "DIAGONALS": r"HD95 or diagonal mm & ASSD or diagonal mm",
    "DEFINITION": DEFINITION.replace("±", r"$\pm$").replace("%", r"\%"),
}


def compile_latex(text, folder):
    (folder / "table.tex").write_text(text)
    return subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"], cwd=folder, capture_output=True, check=False
    )


def test_the_whole_document(comparison):
    expected = DOCUMENT
    for short, long in WORDS.items():
        expected = expected.replace(short, long)
    assert to_latex(comparison) == expected


def test_a_partial_table_begins_with_its_stamp(partial_comparison):
    line = to_latex(partial_comparison).split("\\noindent\n", 1)[1].splitlines()[0]
    assert line == r"\textbf{PARTIAL: fold 1 of arm unet is partial (no summary.json)}\par\medskip\noindent"


def test_warnings_stand_above_the_table(full_comparison):
    assert "\\noindent\narms were trained for different numbers of epochs: unet 3, other 4\\par\\medskip\\noindent\n" in to_latex(
        full_comparison
    )


def test_a_name_is_no_command(hostile_comparison):
    text = to_latex(hostile_comparison)
    assert (
        r"\textbackslash{}input\{/etc/passwd\} 100\% of \$x \& \{y\} \# \textasciitilde{}\textasciicircum{} -{}- Żółć ? & "
        in text
    )
    assert r"=cmd()\textbar{}' /C calc'!A0 \textbar{} {[}red{]}a\_b{*}c & " in text
    assert r"\input" not in text


@pytest.fixture
def long_comparison(tmp_path):
    """Twelve arms, raw and cleaned: 24 rows over cases, 66 pairs of arms and 48 rows over slices."""
    for number in range(12):
        for fold in (0, 1):
            write_fold(tmp_path, f"arm-{number:02}", fold, POOR[fold], answers=("raw", "cleaned"))
    return compare(collect(StudyPaths(tmp_path)))


def test_a_block_of_many_rows_is_cut_and_its_head_repeated(long_comparison):
    text = to_latex(long_comparison)
    title = r"\textbf{Arms compared over patients by Dice, second minus first"
    pieces = [piece.split(r"\end{tabular}")[0] for piece in text.split(title)[1:]]
    assert [piece.split("}", 1)[0] for piece in pieces] == ["", ", continued", ", continued"]
    assert all("First & Second & Test & " in piece for piece in pieces)
    assert [piece.split(r"\midrule")[1].count("\narm-") for piece in pieces] == [30, 30, 6]
    assert text.count("Scores over cases") == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize(
    "which", ["comparison", "partial_comparison", "full_comparison", "hostile_comparison", "long_comparison"]
)
def test_the_document_compiles_as_it_stands(which, request, tmp_path):
    folder = tmp_path / "latex"
    folder.mkdir()
    ended = compile_latex(to_latex(request.getfixturevalue(which)), folder)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (folder / "table.pdf").stat().st_size > 1000
    assert "Overfull" not in (folder / "table.log").read_text(errors="replace")

import shutil
import subprocess

import pytest

from hipseg.report.table import DEFINITION
from hipseg.report.table_latex import to_latex

DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\pagestyle{empty}
\begin{document}
\noindent
\begin{tabular}{llrrrrrrr}
\toprule
Study & Method & Dice & IoU & Accuracy & Precision & Recall & F1 & Loss \\
\midrule
{[}18{]} & U-Net & 0.500 $\pm$ 0.500 & 0.444 $\pm$ 0.509 & 0.900 $\pm$ 0.115 & HALF & HALF & HALF & 0.500 \\
This study (with TL) & U-Net & ONE & ONE & ONE & ONE & ONE & ONE & 0.020 \\
\bottomrule
\end{tabular}
\par\bigskip\noindent
\begin{tabular}{lllrrrrr}
\toprule
Study & Method & Arm & Folds & Cases & Undefined & All-background accuracy & Dice over folds \\
\midrule
{[}18{]} & U-Net & unet & 2/2 & 4 & 1 & 0.800 $\pm$ 0.163 & 0.375 $\pm$ 0.530 \\
This study (with TL) & U-Net & modified-unet-tl & 2/2 & 4 & 1 & 0.800 $\pm$ 0.163 & ONE \\
\bottomrule
\end{tabular}
\par\medskip\noindent\footnotesize DEFINITION
\end{document}
"""
WORDS = {"HALF": r"0.500 $\pm$ 0.500", "ONE": r"1.000 $\pm$ 0.000", "DEFINITION": DEFINITION.replace("±", r"$\pm$")}


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


def test_a_name_is_no_command(hostile_comparison):
    row = to_latex(hostile_comparison).splitlines()[13]
    assert row.startswith(
        r"=1+1 \textbar{} {[}red{]}a\_b{*}c & 100\% \textbackslash{}of \$x \& \{y\} \# \textasciitilde{}\textasciicircum{} "
        r"-{}- Żółć ? & 1.000"
    )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize("which", ["comparison", "partial_comparison", "hostile_comparison"])
def test_the_document_compiles_as_it_stands(which, request, tmp_path):
    folder = tmp_path / "latex"
    folder.mkdir()
    ended = compile_latex(to_latex(request.getfixturevalue(which)), folder)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (folder / "table.pdf").stat().st_size > 1000
    assert b"Overfull" not in ended.stdout

from hipseg.report.table import DEFINITION
from hipseg.report.table_markdown import to_markdown

TABLE = f"""\
| Study | Method | Dice | IoU | Accuracy | Precision | Recall | F1 | Loss | Arm | Folds | Cases | Undefined \
| All-background accuracy | Dice over folds |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |
| \\[18\\] | U-Net | 0.500 ± 0.500 | 0.444 ± 0.509 | 0.900 ± 0.115 | 0.500 ± 0.500 | 0.500 ± 0.500 | 0.500 ± 0.500 | 0.500 \
| unet | 2/2 | 4 | 1 | 0.800 ± 0.163 | 0.375 ± 0.530 |
| This study (with TL) | U-Net | 1.000 ± 0.000 | 1.000 ± 0.000 | 1.000 ± 0.000 | 1.000 ± 0.000 | 1.000 ± 0.000 | 1.000 ± 0.000 \
| 0.020 | modified-unet-tl | 2/2 | 4 | 1 | 0.800 ± 0.163 | 1.000 ± 0.000 |

{DEFINITION}
"""


def test_the_whole_table(comparison):
    assert to_markdown(comparison) == TABLE


def test_a_partial_table_begins_with_its_stamp(partial_comparison):
    lines = to_markdown(partial_comparison).splitlines()
    assert lines[:2] == ["**PARTIAL: fold 1 of arm unet is partial (no summary.json)**", ""]
    assert lines[4].startswith("| \\[18\\] | U-Net | 0.750 ± 0.354 | ")


def test_a_name_cannot_break_the_table(hostile_comparison):
    row = to_markdown(hostile_comparison).splitlines()[2]
    assert row.startswith(r"| =1+1 \| \[red\]a\_b\*c | 100% \\of \$x \& \{y\} # \~^ -- Żółć 测 | 1.000 ± 0.000 | ")
    assert r"| -arm\<b\> |" in row

from hipseg.report.table import DEFINITION
from hipseg.report.table_markdown import to_markdown

HALF, ONE, ZERO = "0.500 ± 0.500", "1.000 ± 0.000", "0.000 ± 0.000"
UNTESTED = "not tested, patients who differ: 2, p cannot fall below 0.5"
TABLE = f"""\
**Scores over cases**

| Study | Method | Arm | Scored | Dice | IoU | Accuracy | All-background accuracy \
| Precision | Recall | F1 | Loss |
| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| \\[18\\] | U-Net | unet | hip, raw | {HALF} | 0.444 ± 0.509 | 0.900 ± 0.115 | 0.800 ± 0.163 | {HALF} | {HALF} | {HALF} | 0.500 |
| This study (with TL) | U-Net | modified-unet-tl | hip, raw | {ONE} | {ONE} | {ONE} | 0.800 ± 0.163 \
| {ONE} | {ONE} | {ONE} | 0.020 |

**Cases behind them**

| Study | Method | Arm | Scored | Folds | Cases | Patients | Misses | False alarms | Undefined |
| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| \\[18\\] | U-Net | unet | hip, raw | 2/2 | 4 | 4 | 1 | 0 | 1 |
| This study (with TL) | U-Net | modified-unet-tl | hip, raw | 2/2 | 4 | 4 | 0 | 0 | 1 |

**Dice over cases, patients and folds**

| Arm | Scored | Over cases | Over patients | 95% interval | Over folds | 95% interval |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
| unet | hip, raw | {HALF} | {HALF} | -0.742 to 1.742 | 0.375 ± 0.530 | -4.390 to 5.140 |
| modified-unet-tl | hip, raw | {ONE} | {ONE} | 1.000 to 1.000 | {ONE} | 1.000 to 1.000 |

**Distances over cases**

| Arm | Scored | HD95 mm | ASSD mm | HD95 or diagonal mm | ASSD or diagonal mm | NSD 1 mm | NSD 2 mm | HD95 undefined |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| unet | hip, raw | 1.000 ± 1.414 | 0.250 ± 0.354 | 7.547 ± 11.383 | 7.047 ± 11.775 | 0.583 ± 0.520 | 0.625 ± 0.545 | 2 |
| modified-unet-tl | hip, raw | {ZERO} | {ZERO} | {ZERO} | {ZERO} | {ONE} | {ONE} | 1 |

**Volumes and specificity over cases**

| Arm | Scored | Truth ml | Prediction ml | Difference ml | Specificity |
| --- | --- | ---: | ---: | ---: | ---: |
| unet | hip, raw | 0.020 ± 0.016 | 0.015 ± 0.019 | -0.005 ± 0.010 | 0.969 ± 0.062 |
| modified-unet-tl | hip, raw | 0.020 ± 0.016 | 0.020 ± 0.016 | {ZERO} | {ONE} |

**Arms compared over patients by Dice, second minus first**

| First | Second | Test | Patients | Cases left out | Median difference | 95% interval | Effect size | p | p by Holm |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| unet | modified-unet-tl | {UNTESTED} | 3 | 1 | 0.500 | n/a | 0.833 | n/a | n/a |

**Slice-wise, not to be compared with scores over cases**

| Arm | Scored | Empty slices | Slices | Empty | Dice | IoU | Mean IoU | Accuracy | Precision | Recall |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| unet | hip, raw | left out | 4 | 1 | 0.500 | 0.444 | 0.652 | 0.867 | 0.500 | 0.500 |
| unet | hip, raw | counted as 1 | 4 | 1 | 0.625 | 0.583 | 0.739 | 0.900 | 0.625 | 0.625 |
| modified-unet-tl | hip, raw | left out | 4 | 1 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 |
| modified-unet-tl | hip, raw | counted as 1 | 4 | 1 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 |

{DEFINITION} Structures: hip is label 1 of the masks.
"""


def test_the_whole_table(comparison):
    assert to_markdown(comparison) == TABLE


def test_a_partial_table_begins_with_its_stamp(partial_comparison):
    lines = to_markdown(partial_comparison).splitlines()
    assert lines[:2] == ["**PARTIAL: fold 1 of arm unet is partial (no summary.json)**", ""]
    assert lines[6].startswith("| \\[18\\] | U-Net | unet | hip, raw | 0.750 ± 0.354 | ")


def test_warnings_stand_above_the_table(full_comparison):
    lines = to_markdown(full_comparison).splitlines()
    assert lines[:2] == ["- arms were trained for different numbers of epochs: unet 3, other 4", ""]


def test_a_name_cannot_break_the_table(hostile_comparison):
    text = to_markdown(hostile_comparison)
    row = text.splitlines()[4]
    assert row.startswith(
        r"| =cmd()\|' /C calc'!A0 \| \[red\]a\_b\*c | \\input\{/etc/passwd\} 100% of \$x \& \{y\}"
        r" # \~^ -- Żółć 测 | -arm\<script\> | hip, raw | 1.000"
    )
    assert r"| -arm\<script\> |" in text
    assert "<" not in text.replace(r"\<", "")

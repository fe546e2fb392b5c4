"""The page of a study: one HTML file that needs no network and sends nothing anywhere."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from hipseg import __version__
from hipseg.report.table import Block
from hipseg.score.record import CaseScore

WORST_DICE = -1.0
"""Where a case without a defined Dice sorts: before all others, since somebody has to look at it."""


@dataclass(frozen=True)
class Standing:
    """How far one job of the study is: `run` says which in words, `text` how far, `detail` why not further."""

    run: str
    text: str
    detail: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure on the page: its title, what it shows in words, and its SVG."""

    title: str
    description: str
    svg: bytes

    @property
    def address(self) -> str:
        """The figure as a data: address."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


@dataclass(frozen=True)
class ArmCell:
    """What one arm scored on one case, in words and as the numbers by which the table sorts.

    Args:
        dice, hd95: in words.
        volume: difference in words, prediction minus truth.
        dice_order, hd95_order, volume_order: for sorting.
    """

    dice: str
    dice_order: float
    hd95: str
    hd95_order: float
    volume: str
    volume_order: float


@dataclass(frozen=True)
class PatientRow:
    """One case in the table of patients.

    Args:
        patient, case: keys.
        worst_dice: of any arm; WORST_DICE where it is undefined.
        cells: in the order of the arms, None where an arm has no score.
        note: why something is undefined, and of which arm; empty where nothing is.
    """

    patient: str
    case: str
    worst_dice: float
    cells: tuple[ArmCell | None, ...]
    note: str


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Args:
        title: of the study.
        made: when, in words.
        stamp: what is missing; None for a whole study.
        warnings: what the folds differ in, and what could not be read.
        standings: one a job.
        arms: names, in the order of the columns.
        blocks: of the comparison table; none before the first fold is complete.
        definition: how the numbers are defined.
        patients: one a case, the worst first.
        plots: the figures.
        cases: what `show_case` gave, the worst first.
        why_no_cases: why some or all cases have no pictures; empty where all have.
        checks: what was checked, or found, one sentence each.
        provenance: name -> value.
    """

    title: str
    made: str
    stamp: str | None
    warnings: tuple[str, ...]
    standings: tuple[Standing, ...]
    arms: tuple[str, ...]
    blocks: tuple[Block, ...]
    definition: str
    patients: tuple[PatientRow, ...]
    plots: tuple[Plot, ...]
    cases: tuple[Mapping[str, Any], ...]
    why_no_cases: str
    checks: tuple[str, ...]
    provenance: Mapping[str, str]


def list_patients(scores: Mapping[str, Sequence[CaseScore]]) -> tuple[PatientRow, ...]:
    """Lay out the table of patients, the worst case first.

    Args:
        scores: arm -> its cases, each once: of one structure and one answer.
    """
    by_case: dict[str, dict[str, CaseScore]] = {}
    for arm, lines in scores.items():
        for line in lines:
            by_case.setdefault(line.case, {})[arm] = line
    rows = []
    for case, of_arm in by_case.items():
        cells = tuple(_make_cell(of_arm[arm]) if arm in of_arm else None for arm in scores)
        patient = next(iter(of_arm.values())).patient
        worst_dice = min(cell.dice_order for cell in cells if cell)
        rows.append(PatientRow(patient, case, worst_dice, cells, _explain(of_arm)))
    return tuple(sorted(rows, key=lambda row: (row.worst_dice, row.case)))


def show_case(picture: Mapping[str, Any], row: PatientRow, arms: Sequence[str]) -> dict[str, Any]:
    """Put the Dice of each arm beside the pictures of a case.

    Args:
        picture: what `encode_case` gave.
        row: of the same case.
        arms: in the order of the row's cells.
    """
    return {**picture, "dice": {arm: cell.dice for arm, cell in zip(arms, row.cells, strict=True) if cell}}


def render_page(page: Page) -> str:
    """Write the page as HTML; every text is escaped, whatever arms and cases are called."""
    environment = Environment(
        loader=PackageLoader("hipseg.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Arms stay in the order of the table.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    style, script = _read_part("report.css"), _read_part("report.js")
    return environment.get_template("report.html").render(
        page=page, version=__version__, style=style, script=script, policy=_make_policy(style, script)
    )


def _explain(of_arm: Mapping[str, CaseScore]) -> str:
    """Say why scores of a case are undefined, each reason once with the arms that it holds for."""
    arms: dict[str, list[str]] = {}
    for arm, line in of_arm.items():
        for reason in sorted(set(line.undefined.values())):
            arms.setdefault(reason, []).append(arm)
    return "; ".join(f"{', '.join(those)}: {reason}" for reason, those in arms.items())


def _make_cell(line: CaseScore) -> ArmCell:
    dice, hd95, volume = line.dice, line.hd95_mm, line.volume_difference_ml
    return ArmCell(
        dice=_number(dice, 3),
        dice_order=WORST_DICE if math.isnan(dice) else dice,
        hd95=_number(hd95, 1),
        # An undefined distance is farther than any other.
        hd95_order=1e9 if math.isnan(hd95) else hd95,
        volume=_number(volume, 1, sign="+"),
        volume_order=0.0 if math.isnan(volume) else abs(volume),
    )


def _number(value: float, decimals: int, sign: str = "-") -> str:
    return "n/a" if math.isnan(value) else f"{value:{sign}z.{decimals}f}"


def _read_part(name: str) -> str:
    return resources.files("hipseg.report").joinpath("templates", name).read_text(encoding="utf-8")


def _make_policy(style: str, script: str) -> str:
    """Allow the page's own style and script, pictures inside the page, and nothing else: no request can leave it."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (style, script))
    style_hash, script_hash = (f"'sha256-{digest}'" for digest in hashes)
    nothing = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{nothing}; img-src data:; style-src {style_hash}; script-src {script_hash}"

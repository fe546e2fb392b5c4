"""The table of `docs/refusals.md`, made by spoiling a good series with every fault of the corpus and reading it.

    python -m tests.faults.table

writes it anew, between the two marks.
"""

import tempfile
from pathlib import Path

from hipseg.errors import HipsegError
from hipseg.ingest.cases import find_cases, open_case
from tests.faults.corpus import FAULTS, Fault, write_good

PAGE = Path(__file__).resolve().parents[2] / "docs" / "refusals.md"
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
HEADS = {
    "refused": "| fault | error | message |\n|---|---|---|\n",
    "warned": "| fault | warning |\n|---|---|\n",
    "read": "| fault |\n|---|\n",
}
TITLES = {"refused": "## Refused", "warned": "## Taken, with a warning", "read": "## Taken as it is"}


def render() -> str:
    """Give the three tables."""
    parts = []
    for outcome, title in TITLES.items():
        rows = [_row(fault) for fault in FAULTS.values() if fault.outcome == outcome]
        parts.append(f"{title}\n\n{HEADS[outcome]}{''.join(rows)}")
    return "\n".join(parts)


def read_page() -> str:
    """Give the tables that the page holds."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0]


def write_page() -> None:
    """Put the tables into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{render()}{END}{rest.partition(END)[2]}")


def _row(fault: Fault) -> str:
    with tempfile.TemporaryDirectory() as folder:
        good = write_good(Path(folder) / "data", fault.name)
        fault.spoil(good)
        source = find_cases(Path(folder) / "data").cases[0]
        try:
            opened = open_case(source, "KEY", fault.rois, untilt=fault.untilt)
            list(opened.slices)
            cells = ["; ".join((*opened.warnings, *opened.late_warnings()))] if fault.outcome == "warned" else []
        except HipsegError as error:
            cells = [type(error).__name__, str(error)]
    return f"| {' | '.join([fault.name.replace('_', ' '), *cells])} |\n"


if __name__ == "__main__":
    write_page()

"""The private key table: the one file that says which patient, series and folder a key stands for."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from hipseg.errors import ConfigError
from hipseg.fsio import locked, naming_closed_paths, write_text
from hipseg.runs import DatasetPaths

PRIVATE_MODE = 0o600
OTHERS_S = 60.0
"""How long to wait for packings that use the same table: of 100,000 cases one writes for 3 s, and each other reads for 1 s."""


@dataclass(frozen=True, repr=False)
class KeyRow:
    """One case: its keys and what they stand for. Private, so it has no repr that a log could show."""

    case: str
    patient: str
    patient_id: str
    series_uid: str
    folder: str


COLUMNS = [one.name for one in fields(KeyRow)]


@naming_closed_paths()
def check_key_table(path: Path, paths: DatasetPaths) -> Path:
    """Refuse a key table that would travel with the shards, or that would overwrite another file.

    Returns:
        Where it is: the end of the links, if the path is one, so that the file there is written and not the link.
    Raises:
        ConfigError: the path, or what it leads to, lies in the data set's folder, holds something else, or may not be entered.
    """
    root, table = paths.root.resolve(), path.resolve()
    if table.is_relative_to(root) or path.parent.resolve().is_relative_to(root):
        raise ConfigError(f"key table {path} would lie in {paths.root}, which is passed on; keep it in a private folder")
    if table.exists():
        read_key_table(table)
    return table


def read_key_table(path: Path) -> dict[str, KeyRow]:
    """Read a key table.

    Returns:
        Rows by case key.
    Raises:
        ConfigError: the file is missing, cannot be read, or is no key table.
    """
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True))
    except FileNotFoundError as error:
        raise ConfigError(f"no key table at {path}; keep one with `hipseg-pack --keep-key-table {path}`") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read key table {path}: {type(error).__name__}") from error
    if not lines or lines[0] != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
        raise ConfigError(f"{path} is no key table; its first line must be {','.join(COLUMNS)}, and every line as long")
    return {row.case: row for row in (KeyRow(*line) for line in lines[1:])}


def merge_key_table(path: Path, rows: Iterable[KeyRow]) -> None:
    """Write rows into a key table, readable by its owner alone; rows of other cases stay.

    Raises:
        ConfigError: the file cannot be read or written, or other packings have been writing it all the time.
    """
    # Of two packings that read it at once, the second one would write it without the rows of the first.
    with locked(path.with_name(f".{path.name}.lock"), f"key table {path}", wait_s=OTHERS_S):
        before: Mapping[str, KeyRow] = read_key_table(path) if path.exists() else {}
        table = {**before, **{row.case: KeyRow(*map(_as_utf8, astuple(row))) for row in rows}}
        if table == before:
            # As every part of a packing finds it but the first.
            return
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(table[case]) for case in sorted(table))
        write_text(path, text.getvalue(), PRIVATE_MODE)


def _as_utf8(value: str) -> str:
    r"""Write bytes of a file name that are no UTF-8, which Python keeps as surrogates, as \xNN."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

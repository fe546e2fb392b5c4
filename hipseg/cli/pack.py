"""`hipseg pack` and `hipseg-pack`: series and masks -> shards and manifest."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError
from hipseg.ingest.cases import FoundCases, find_cases, list_structures
from hipseg.pack.dataset import REFUSING, KeyedCase, PackPlan, check_output, key_cases, pack_cases
from hipseg.pack.keys import create_salt, read_salt, salt_id
from hipseg.pack.table import KeyRow, check_key_table, merge_key_table
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Refusal, read_manifest, same_images

MAX_LABEL = 255
SHOWN_LABELS = 6
"""Labels whose voxels are told in a case's line; `hipseg inspect` tells them all."""


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("shards"), show_default=True, help="The packed data set."
)
@click.option(
    "--roi", "roi_options", metavar="NAME=LABEL", multiple=True, help="Pack this structure under this label; repeatable."
)
@click.option("--untilt", is_flag=True, help="Shear series with gantry tilt back, instead of refusing them.")
@click.option("--list-roi", is_flag=True, help="Only show the names of the structures. They come out of the source: private.")
@click.option("--salt-file", type=click.Path(path_type=Path), help="The salt of the keys. [default: ~/.config/hipseg/salt]")
@click.option(
    "--keep-key-table",
    "key_table",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write which patient, series and folder each key stands for. Private; outside OUTPUT.",
)
def command(
    *,
    data: Path,
    output: Path,
    roi_options: tuple[str, ...],
    untilt: bool,
    list_roi: bool,
    salt_file: Path | None,
    key_table: Path | None,
) -> None:
    """Pack CT series and their masks into shards.

    Every CT series below the folder DATA is a case, with the mask that belongs to it. A case that cannot be packed is refused
    by name, and the others are packed; the exit code is then 10. Cases that OUTPUT holds already stay there, also those that
    DATA no longer has.
    """
    rois = parse_rois(roi_options)
    if list_roi:
        _show_structures(find_cases(data))
        return
    paths = DatasetPaths(output)
    check_output(data, paths)
    if key_table is not None:
        check_key_table(key_table, paths)
    found = find_cases(data)
    salt = _load_salt(salt_file or default_salt_file())
    cases = key_cases(found, salt)
    if key_table is not None:
        merge_key_table(key_table, (_key_row(one) for one in cases))
    outcomes = _pack(cases, paths, PackPlan(rois, salt_id(salt), found.set_aside, untilt))
    _close(outcomes, found, paths, rois)


def parse_rois(options: Iterable[str]) -> dict[str, int]:
    """Read `NAME=LABEL` options; several names may share a label.

    Raises:
        ConfigError: an option is not of that form, or a name is given twice.
    """
    rois: dict[str, int] = {}
    for option in options:
        # A structure's name may itself hold an equals sign.
        name, _, label = option.rpartition("=")
        if not name or not label.isascii() or not label.isdigit() or not 1 <= int(label) <= MAX_LABEL:
            raise ConfigError(f"--roi {option!r} is not NAME=LABEL with a label of 1 to {MAX_LABEL}, as in --roi femur=1")
        if name in rois:
            raise ConfigError(f"--roi names {name!r} twice; give each structure one label")
        rois[name] = int(label)
    return rois


def default_salt_file() -> Path:
    """Say where the salt is kept when no `--salt-file` is given. Source: XDG Base Directory Specification 0.8."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hipseg" / "salt"


def _load_salt(path: Path) -> bytes:
    if create_salt(path):
        click.echo(f"made a new salt at {path}; keep it: with another one the same patients get other keys")
    return read_salt(path)


def _key_row(keyed: KeyedCase) -> KeyRow:
    source = keyed.source
    return KeyRow(keyed.case, keyed.patient, source.patient_id, source.series_uid, source.folder)


def _show_structures(found: FoundCases) -> None:
    """List structures with the number of their cases."""
    counts: Counter[tuple[str, str]] = Counter()
    bare = 0
    for source in found.cases:
        structures = list_structures(source)
        counts.update({(one.kind, one.name) for one in structures})
        bare += not structures
    for (kind, name), cases in sorted(counts.items()):
        # A terminal would obey control characters in a name.
        printable = "".join(letter if letter.isprintable() else "?" for letter in name)
        click.echo(f"{kind:<9} {printable}  ({cases} of {len(found.cases)} cases)")
    if bare:
        click.echo(f"{bare} of {len(found.cases)} cases have no mask")


def _pack(cases: tuple[KeyedCase, ...], paths: DatasetPaths, plan: PackPlan) -> list[CaseRecord | Refusal]:
    """Pack with a bar on a terminal, and a line a case everywhere."""
    outcomes = []
    console = Console(stderr=True)
    with Progress(
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=sys.stderr.isatty(),
    ) as progress:
        for outcome in progress.track(pack_cases(cases, paths, plan), total=len(cases), description="packing"):
            outcomes.append(outcome)
            # Written to the streams themselves, which the bar makes room on; click.echo would go past it and into the bar.
            if isinstance(outcome, Refusal):
                sys.stderr.write(f"refused case {outcome.case}: {outcome.reason}\n")
            else:
                sys.stdout.write(f"{_describe(outcome)}\n")
                sys.stdout.flush()
    return outcomes


def _describe(record: CaseRecord) -> str:
    slices = record.grid.shape_zyx[0]
    line = f"packed case {record.case}: {slices} {'slice' if slices == 1 else 'slices'}"
    if not record.has_mask:
        return f"{line}, no mask"
    counts = [f"{voxels} voxels of label {label}" for label, voxels in sorted(record.label_voxels.items())]
    more = [f"{len(counts) - SHOWN_LABELS} more labels"] if len(counts) > SHOWN_LABELS else []
    return f"{line}, mask from {record.mask_kind}, {', '.join(counts[:SHOWN_LABELS] + more) or 'empty'}"


def _close(outcomes: list[CaseRecord | Refusal], found: FoundCases, paths: DatasetPaths, rois: Mapping[str, int]) -> None:
    """Sum up, warn, and end with the exit code that the refusals ask for."""
    packed = [one for one in outcomes if isinstance(one, CaseRecord)]
    refused = [one for one in outcomes if isinstance(one, Refusal)]
    masked = sum(one.has_mask for one in packed)
    if found.set_aside:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found.set_aside.items()))
        click.echo(f"set aside {sum(found.set_aside.values())} of {found.files_seen} files: {reasons}")
    click.echo(
        f"packed {len(packed)} of {len(outcomes)} cases into {paths.root}: {masked} with a mask, {len(packed) - masked} without"
    )
    if rois and packed and not masked:
        click.echo("warning: --roi was given, but no case has any mask to choose from", err=True)
    manifest = read_manifest(paths)
    for group in same_images(manifest.cases):
        keys = " and ".join(one.case for one in group)
        click.echo(f"warning: cases {keys} are the same image, voxel for voxel; folds keep them on one side", err=True)
    for stale in sorted({one.case for one in refused} & {one.case for one in manifest.cases}):
        click.echo(f"warning: case {stale} was refused now, but stays as it was packed before", err=True)
    if refused and packed:
        sys.exit(PARTIAL_EXIT_CODE)
    if refused:
        kind = next(one for one in REFUSING if one.__name__ == refused[0].error)
        raise kind(f"none of the {len(refused)} cases could be packed; the reasons are above and in {paths.manifest}")

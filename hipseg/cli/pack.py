"""`hipseg pack` and `hipseg-pack`: series and masks -> shards and manifest."""

import os

# Beside each thread of ours, one of OpenBLAS would wait for work by spinning; nothing here multiplies large matrices. It looks at
# this when numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource

from hipseg.cli.meter import Meter
from hipseg.cli.pack_summary import Tally, end, say_summary, warn
from hipseg.cli.paths import NamedPath
from hipseg.cli.streams import naming_lost_output
from hipseg.cores import count_cores
from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError, SeriesError
from hipseg.fsio import printable
from hipseg.ingest.cases import find_cases, list_structures
from hipseg.ingest.joining import DEFAULT_RULES, MaskRules, Overlap
from hipseg.ingest.labels import LABEL_MAX
from hipseg.ingest.layout import LAYOUTS, Layout
from hipseg.ingest.niftiimage import open_nifti_image
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.pack.dataset import Outcome, check_output, pack_cases
from hipseg.pack.keyed import KeyedCase, KeyedCases, key_cases
from hipseg.pack.keys import check_salt_file, create_salt, read_salt, salt_id
from hipseg.pack.merge import merge_parts
from hipseg.pack.packer import REFUSING
from hipseg.pack.plan import PackPlan, Part, digest_keys
from hipseg.pack.table import KeyRow, check_key_table, merge_key_table
from hipseg.runs import DatasetPaths
from hipseg.shards.codec import LEVELS, Codec
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal
from hipseg.shards.schema import WindowHu
from hipseg.shards.storage import Storage

OF_MERGE = ("merge", "output")
"""Options that a merge takes; what the others ask for was settled when the parts were packed."""
SHOWN_LABELS = 6
"""Labels whose voxels are told in a case's line; `hipseg inspect` tells them all."""


@click.command()
@click.argument("data", type=NamedPath(), required=False)
@click.option("-o", "--output", type=NamedPath(), default=Path("shards"), show_default=True, help="The packed data set.")
@click.option(
    "--roi", "roi_options", metavar="NAME=LABEL", multiple=True, help="Pack this structure under this label; repeatable."
)
@click.option(
    "--overlap",
    type=click.Choice(("refuse", "first")),
    default="refuse",
    show_default=True,
    help="Voxels in structures of two labels: refuse the case, or give them to the --roi that comes first.",
)
@click.option(
    "--seg-fraction",
    type=float,
    default=DEFAULT_RULES.fraction,
    show_default=True,
    help="Share of a voxel, above 0 and up to 1, from which on it belongs to a segment of a fractional DICOM SEG.",
)
@click.option("--untilt", is_flag=True, help="Shear series with gantry tilt back, instead of refusing them.")
@click.option("--list-roi", is_flag=True, help="Only show the names of the structures. They come out of the source: private.")
@click.option("--salt-file", type=NamedPath(), help="The salt of the keys. [default: ~/.config/hipseg/salt]")
@click.option(
    "--keep-key-table",
    "key_table",
    metavar="FILE",
    type=NamedPath(),
    help="Write which patient, series and folder each key stands for. Private; outside OUTPUT.",
)
@click.option(
    "--layout",
    type=click.Choice(("auto", *LAYOUTS)),
    default="auto",
    show_default=True,
    help="How DATA is laid out: DICOM files or ZIPs in any tree, an nnU-Net data set, or CT-ORG.",
)
@click.option("--jobs", type=click.IntRange(1), help="Cases packed at once. [default: the cores this process may use]")
@click.option(
    "--store",
    type=click.Choice(("int16", "uint8")),
    default="int16",
    show_default=True,
    help="int16 keeps every Hounsfield unit; uint8 keeps 256 steps of --window, in half the space.",
)
@click.option(
    "--window", "window_hu", nargs=2, type=int, metavar="LOW HIGH", help="HU that --store uint8 keeps, and needs; clamped beyond."
)
@click.option(
    "--codec", type=click.Choice(tuple(LEVELS)), default="lz4", show_default=True, help="zstd is smaller and slower to read."
)
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=0.0,
    help="Refuse a case of which a file changed within this time: it may still be arriving. For folders that others write to.",
)
@click.option("--part", metavar="I/N", help="Only the cases of part I of N, beside the other parts; --merge joins them.")
@click.option("--merge", is_flag=True, help="Only join the parts in OUTPUT, once all are packed. Takes no DATA.")
def command(
    *,
    data: Path | None,
    output: Path,
    roi_options: tuple[str, ...],
    overlap: Overlap,
    seg_fraction: float,
    untilt: bool,
    list_roi: bool,
    salt_file: Path | None,
    key_table: Path | None,
    layout: Literal["auto"] | Layout,
    jobs: int | None,
    store: str,
    window_hu: WindowHu | None,
    codec: Codec,
    settle_s: float,
    part: str | None,
    merge: bool,
) -> None:
    """Pack CT series and their masks into shards.

    Every CT series below the folder DATA is a case, with the mask that belongs to it. A case that cannot be packed is refused
    by name, and the others are packed; the exit code is then 10, as it is where a file of no case could not be read. Cases that
    OUTPUT holds already stay there, also those that DATA no longer has, and cases whose files did not change are not packed
    again: a packing that was killed goes on with the same command.

    On several nodes: `--part 1/16` to `--part 16/16` with the same DATA and OUTPUT, at the same time, then `--merge`.
    """
    if merge:
        _merge(data, DatasetPaths(output))
        return
    if data is None:
        raise click.UsageError("name the folder DATA that holds the CT series")
    asked = PackPlan(
        rois=parse_rois(roi_options),
        salt_id="",
        set_aside={},
        storage=parse_storage(store, window_hu, codec),
        jobs=jobs or count_cores(),
        part=None if part is None else parse_part(part),
        untilt=untilt,
        rules=MaskRules(overlap, seg_fraction),
        settle_s=settle_s,
    )
    if list_roi:
        _show_structures(_find(data, layout))
    else:
        _pack_folder(data, layout, DatasetPaths(output), asked, salt_file=salt_file or default_salt_file(), key_table=key_table)


@naming_lost_output("; the same command goes on from what is packed")
def _pack_folder(
    data: Path, layout: Literal["auto"] | Layout, paths: DatasetPaths, asked: PackPlan, *, salt_file: Path, key_table: Path | None
) -> None:
    """Find the cases of a folder and pack them as asked."""
    check_output(data, paths)
    check_salt_file(salt_file, paths)
    key_table = None if key_table is None else check_key_table(key_table, paths)
    started_ns = time.time_ns()
    found = _find(data, layout)
    click.echo(f"layout: {found.layout}")
    for remark in found.remarks:
        click.echo(f"warning: {remark}", err=True)
    salt = _load_salt(salt_file)
    cases = key_cases(found, salt)
    if key_table is not None:
        merge_key_table(key_table, (_key_row(one) for one in cases))
    plan = replace(
        asked,
        salt=salt,
        salt_id=salt_id(salt),
        set_aside=found.set_aside,
        started_ns=started_ns,
        found_digest=digest_keys(cases.keys),
    )
    found = replace(found, cases=())
    tally, finished = _pack(cases, paths, plan)
    say_summary(tally, found, paths, plan)
    for manifest, forgotten in finished:
        warn(paths, manifest, tally, forgotten)
    end(tally, found.set_aside, paths, is_part=plan.part is not None)


def parse_storage(store: str, window_hu: WindowHu | None, codec: Codec) -> Storage:
    """Read `--store`, `--window` and `--codec`.

    Raises:
        ConfigError: uint8 without a window, a window without uint8, or an impossible one.
    """
    if (store == "uint8") != (window_hu is not None):
        raise ConfigError("--store uint8 and --window LOW HIGH go together, as in --store uint8 --window -200 1300")
    return Storage(codec, window_hu)


def parse_part(option: str) -> Part:
    """Read `--part I/N`.

    Raises:
        ConfigError: it is not of that form, or there is no such part.
    """
    matched = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", option)
    if not matched:
        raise ConfigError(f"--part {option!r} is not I/N, as in --part 3/16")
    return Part(int(matched[1]), int(matched[2]))


def _merge(data: Path | None, paths: DatasetPaths) -> None:
    if data is not None:
        raise click.UsageError("--merge joins what is in OUTPUT and takes no DATA")
    context = click.get_current_context()
    given = [one for one in context.command.params if context.get_parameter_source(one.name or "") is ParameterSource.COMMANDLINE]
    if others := sorted(one.opts[0] for one in given if one.name not in OF_MERGE):
        raise click.UsageError(f"--merge takes -o alone, not {', '.join(others)}: give that to the packing of each part")
    merged = merge_parts(paths)
    manifest, tally = merged.manifest, Tally()
    stale = {one.case for one in merged.stale}
    for record in manifest.cases:
        if record.case not in stale:
            tally.add(Outcome(record))
    for refusal in sorted((*manifest.refusals, *merged.stale), key=lambda one: one.case):
        tally.add(Outcome(refusal))
        click.echo(f"refused case {refusal.case}: {refusal.reason}", err=True)
    click.echo(f"merged the parts in {paths.root}: {tally.packed} cases packed, {len(tally.refused)} refused")
    warn(paths, manifest, tally, merged.forgotten)
    end(tally, manifest.set_aside, paths)


def _find(data: Path, layout: Literal["auto"] | Layout) -> FoundCases:
    # A crash would write identifiers and the salt into a core file, in whatever folder this was started from.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    return find_cases(data, None if layout == "auto" else layout)


def parse_rois(options: Iterable[str]) -> dict[str, int]:
    """Read `NAME=LABEL` options; several names may share a label.

    Raises:
        ConfigError: an option is not of that form, or a name is given twice.
    """
    rois: dict[str, int] = {}
    for option in options:
        # A structure's name may itself hold an equals sign.
        name, _, label = option.rpartition("=")
        if not name or not label.isascii() or not label.isdigit() or not 1 <= int(label) <= LABEL_MAX:
            raise ConfigError(f"--roi {option!r} is not NAME=LABEL with a label of 1 to {LABEL_MAX}, as in --roi femur=1")
        if name in rois:
            raise ConfigError(f"--roi names {name!r} twice; give each structure one label")
        rois[name] = int(label)
    return rois


def default_salt_file() -> Path:
    """Say where the salt is kept when no `--salt-file` is given. Source: XDG Base Directory Specification 0.8.

    Raises:
        ConfigError: nothing says where this user's home is, as in a container that does not know the user.
    """
    try:
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hipseg" / "salt"
    except RuntimeError as error:
        raise ConfigError("no home folder is known, where the salt would be kept; name its file with --salt-file") from error


def _load_salt(path: Path) -> bytes:
    if create_salt(path):
        click.echo(f"made a new salt at {path}; keep it: with another one the same patients get other keys")
    return read_salt(path)


def _key_row(keyed: KeyedCase) -> KeyRow:
    source = keyed.source
    return KeyRow(keyed.case, keyed.patient, source.patient_id, source.series_uid, source.folder)


def _show_structures(found: FoundCases) -> None:
    """List structures with the number of their cases; what cannot be read is counted, and the exit code is then 10."""
    counts: Counter[tuple[str, str]] = Counter()
    bare, reasons = 0, Counter[str]()
    for source in found.cases:
        try:
            structures = list_structures(source)
        except REFUSING as error:
            reasons[str(error)] += 1
            continue
        # Graphics are told from regions, since they become a mask only where they are named.
        counts.update({("graphics" if one.is_graphics else one.kind, one.name) for one in structures})
        bare += all(one.is_graphics for one in structures)
    for (kind, name), cases in sorted(counts.items()):
        click.echo(f"{kind:<12} {printable(name)}  ({cases} of {len(found.cases)} cases)")
    if bare:
        click.echo(f"{bare} of {len(found.cases)} cases have no mask")
    for reason, cases in sorted(reasons.items()):
        click.echo(f"warning: the structures of {cases} of {len(found.cases)} cases cannot be listed: {reason}", err=True)
    if reasons:
        sys.exit(PARTIAL_EXIT_CODE)


def _expect_slices(cases: Iterable[KeyedCase], part: Part | None) -> int:
    """Count the slices to come, for the bar; without a terminal there is none, and no header is read for it."""
    mine = (one.source for one in cases if part is None or part.has(one.case))
    return sum(map(_count_slices, mine)) if sys.stderr.isatty() else 0


def _count_slices(source: SourceCase) -> int:
    if source.volume is None:
        return len(source.images)
    try:
        return open_nifti_image(source.volume, Rounding())[0].shape_zyx[0]
    except SeriesError:
        # It is refused by name when it is packed.
        return 0


def _pack(cases: KeyedCases, paths: DatasetPaths, plan: PackPlan) -> tuple[Tally, list[tuple[Manifest, int]]]:
    """Pack with a bar on a terminal, and a line a case everywhere; give what it finished with, which for a part is nothing."""
    finished: list[tuple[Manifest, int]] = []
    tally = Tally()
    with (
        Meter(_expect_slices(cases, plan.part)) as meter,
        # A signal may come while a line is printed: what is finished is noted all the same, and the processes end.
        closing(pack_cases(cases, paths, plan, meter.tick, lambda *what: finished.append(what))) as packing,
    ):
        for outcome in packing:
            tally.add(outcome)
            result = outcome.result
            # Written to the streams themselves, which the bar makes room on; click.echo would go past it and into the bar.
            if isinstance(result, Refusal):
                sys.stderr.write(f"refused case {result.case}: {result.reason}\n")
            elif outcome.is_kept:
                meter.skip(result.grid.shape_zyx[0])
                sys.stdout.write(f"kept case {result.case}: packed before, and its files did not change\n")
            else:
                sys.stdout.write(f"{_describe(result)}\n")
            for warning in () if isinstance(result, Refusal) else result.warnings:
                sys.stderr.write(f"warning: case {result.case}: {warning}\n")
            sys.stdout.flush()
        if meter.has_packed:
            click.echo(meter.summary())
    return tally, finished


def _describe(record: CaseRecord) -> str:
    slices = record.grid.shape_zyx[0]
    line = f"packed case {record.case}: {slices} {'slice' if slices == 1 else 'slices'}"
    if not record.has_mask:
        return f"{line}, no mask"
    counts = [f"{voxels} voxels of label {label}" for label, voxels in sorted(record.label_voxels.items())]
    more = [f"{len(counts) - SHOWN_LABELS} more labels"] if len(counts) > SHOWN_LABELS else []
    return f"{line}, mask from {record.mask_kind}, {', '.join(counts[:SHOWN_LABELS] + more) or 'empty'}"

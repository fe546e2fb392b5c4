"""What `hipseg pack` says when all cases are done, and its exit code."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import click

from hipseg.errors import PARTIAL_EXIT_CODE, SeriesError, ShardError
from hipseg.ingest.layout import LINK_OUT, UNOPENED
from hipseg.ingest.source import FoundCases
from hipseg.ingest.unknown import DAMAGED, OTHER_ARCHIVE, PACKED, POINTER, ZEROS
from hipseg.pack.dataset import Outcome
from hipseg.pack.packer import REFUSING
from hipseg.pack.plan import PackPlan
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Manifest, Refusal, same_images
from hipseg.splits import read_splits

SHOWN_COPIES = 6
"""Cases of one image that a line names; the manifest has the digest of each."""
UNREAD = (UNOPENED, LINK_OUT, DAMAGED, PACKED, ZEROS, POINTER, OTHER_ARCHIVE)
"""Reasons of files set aside that nobody can tell from slices of a case."""


@dataclass
class Tally:
    """What became of the cases of a packing; of each packed one a count alone is kept, as there may be many.

    Attributes:
        packed, masked, kept: cases packed, those of them with a mask, and those that were packed before.
        refused: keys of the refused ones.
        first_error: class of the first refusal.
    """

    packed: int = 0
    masked: int = 0
    kept: int = 0
    refused: list[str] = field(default_factory=list)
    first_error: str = ""

    @property
    def cases(self) -> int:
        """Number of all cases."""
        return self.packed + len(self.refused)

    def add(self, outcome: Outcome) -> None:
        """Count one case."""
        if isinstance(outcome.result, Refusal):
            self.refused.append(outcome.result.case)
            self.first_error = self.first_error or outcome.result.error
            return
        self.packed += 1
        self.masked += outcome.result.has_mask
        self.kept += outcome.is_kept


def say_summary(tally: Tally, found: FoundCases, paths: DatasetPaths, plan: PackPlan) -> None:
    """Sum up."""
    if found.set_aside:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(found.set_aside.items()))
        click.echo(f"set aside {sum(found.set_aside.values())} of {found.files_seen} files: {reasons}")
    again = f" ({tally.kept} of them before)" if tally.kept else ""
    whose = "" if plan.part is None else f" of part {plan.part.number} of {plan.part.count}"
    click.echo(
        f"packed {tally.packed} of {tally.cases} cases{whose} into {paths.root}{again}: "
        f"{tally.masked} with a mask, {tally.packed - tally.masked} without"
    )
    if plan.rois and tally.packed and not tally.masked:
        click.echo("warning: --roi was given, but no case has any mask to choose from", err=True)
    elif tally.packed and not tally.masked and plan.part is None:
        click.echo("warning: no case has a mask, which training needs; docs/layouts.md says which masks are found", err=True)


def warn(paths: DatasetPaths, manifest: Manifest, tally: Tally, forgotten: int) -> None:
    """Say what a whole data set shows that its cases one by one do not.

    Args:
        paths, manifest: the data set.
        tally: of this packing.
        forgotten: number of refusals of before that the manifest lists no more.
    """
    _warn_of_copies(manifest)
    _warn_of_stale(manifest, tally)
    _warn_of_folds(paths, manifest)
    if forgotten:
        whose = "a case that was" if forgotten == 1 else f"{forgotten} cases that were"
        click.echo(f"{whose} refused before: not found in DATA any more, and no longer listed as refused")


def _warn_of_copies(manifest: Manifest) -> None:
    """Name the cases that are one image."""
    for group in same_images(manifest.cases):
        more = [f"{len(group) - SHOWN_COPIES} more"] if len(group) > SHOWN_COPIES else []
        keys = " and ".join([*(one.case for one in group[:SHOWN_COPIES]), *more])
        click.echo(f"warning: cases {keys} are the same image, voxel for voxel; folds keep them on one side", err=True)


def _warn_of_stale(manifest: Manifest, tally: Tally) -> None:
    """Name the cases that were refused now and stay as they were."""
    for stale in sorted(set(tally.refused).intersection(one.case for one in manifest.cases)) if tally.refused else ():
        click.echo(f"warning: case {stale} was refused now, but stays as it was packed before", err=True)


def _warn_of_folds(paths: DatasetPaths, manifest: Manifest) -> None:
    """Say that folds which were dealt before do not fit the data set any more, and the command that deals them anew."""
    if not paths.splits.exists():
        return
    try:
        read_splits(paths, manifest)
    except ShardError as error:
        click.echo(f"warning: the folds do not fit the packed cases any more: {error}", err=True)


def end(tally: Tally, set_aside: Mapping[str, int], paths: DatasetPaths, *, is_part: bool = False) -> None:
    """End with the exit code that refusals and unread files ask for; a part that came to its end never fails.

    Raises:
        SeriesError, MaskError: no case could be packed; the class is that of the first refusal.
    """
    if tally.refused and not tally.packed and not is_part:
        kind = next((one for one in REFUSING if one.__name__ == tally.first_error), SeriesError)
        raise kind(f"none of the {tally.cases} cases could be packed; the reasons are above and in {paths.manifest}")
    unread = {reason: set_aside[reason] for reason in UNREAD if reason in set_aside}
    if unread:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(unread.items()))
        click.echo(f"warning: what lies in no case and could not be read may be CT ({counts}); mend or remove it", err=True)
    if tally.refused or unread:
        sys.exit(PARTIAL_EXIT_CODE)

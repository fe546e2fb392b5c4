"""`hipseg phantom`: write a seeded pediatric hip CT data set."""

import shlex
from pathlib import Path
from typing import Any

import click

from hipseg.phantom.dataset import WrittenPhantom, write_phantom
from hipseg.phantom.options import FEWEST_SLICES, LARGEST_MATRIX, MASK_FORMS, SMALLEST_MATRIX, PhantomOptions
from hipseg.phantom.patients import Patient

DEFAULTS = PhantomOptions()


@click.command(name="phantom")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--patients", type=int, default=DEFAULTS.patients, show_default=True, help="Number of patients.")
@click.option(
    "--slices", type=int, default=DEFAULTS.slices, show_default=True, help=f"Slices of each patient, at least {FEWEST_SLICES}."
)
@click.option(
    "--matrix",
    type=int,
    default=DEFAULTS.matrix,
    show_default=True,
    help=f"Rows and columns of a slice, {SMALLEST_MATRIX} to {LARGEST_MATRIX}.",
)
@click.option("--seed", type=int, default=DEFAULTS.seed, show_default=True, help="The same seed gives the same bytes.")
@click.option("--masks", type=click.Choice(MASK_FORMS), default=DEFAULTS.masks, show_default=True, help="Form of the masks.")
@click.option("--organs", is_flag=True, help="The trunk with liver, bladder, lungs, kidneys and bone, for pretraining.")
@click.option("--metal", is_flag=True, help="Every second patient carries a plate and screws.")
def command(folder: Path, **choices: Any) -> None:
    """Write a made-up pediatric hip CT data set into DIR, a new or empty folder."""
    options = PhantomOptions(**choices)

    def report(patient: Patient) -> None:
        left, right = (f"{100 * hip.migration:.0f} %" for hip in patient.hips)
        hips = f"migration left {left}, right {right}"
        scan = f"{options.slices} slices every {patient.grid.spacing_mm_zyx[0]:.2f} mm"
        click.echo(f"patient {patient.number} of {options.patients}: {patient.age_years:.1f} years, {hips}, {scan}")

    written = write_phantom(folder, options, report)
    click.echo(f"the data are in {folder}; next: {_suggest_pack(written, options)}")


def _suggest_pack(written: WrittenPhantom, options: PhantomOptions) -> str:
    words = ["hipseg-pack", str(written.root)]
    if options.organs:
        words += ["-o", "shards-pretrain"]
        # A NIfTI mask keeps its own label numbers; the structures of the others must be chosen by name.
        if options.masks != "nifti":
            words += [word for name, label in written.structures.items() for word in ("--roi", f"{name}={label}")]
    return shlex.join(words)

"""Commands that submit a study to the cluster of scripts."""

from click.testing import CliRunner

from hipseg.cli.submit import command as submit
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from hipseg.splits import split_patients, write_splits

LIVE = "101|RUNNING|None\n102_0|PENDING|Dependency\n102_1|PENDING|Dependency\n103|PENDING|Dependency\n104|PENDING|Dependency\n"
"""What squeue says of a study of one arm while its folds are dealt."""


def deal(folder, folds=2):
    """Deal the cases of the packed data set in a folder as the settings would."""
    dataset = DatasetPaths(folder / "shards")
    write_splits(dataset, split_patients(read_manifest(dataset).cases, folds, seed=0))


def block_dealing(folder):
    """Let the job that deals the folds fail, which is the first of a study."""
    DatasetPaths(folder / "shards").lock.mkdir()


def call(command, *arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def submit_unet(*arguments):
    return call(submit, "--folds", 2, "--arm", "unet", *arguments)

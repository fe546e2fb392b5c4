"""Commands that submit a study to the cluster of scripts."""

from click.testing import CliRunner

from hipseg.cli.submit import command as submit

LIVE = "101|RUNNING|None\n102_0|PENDING|Dependency\n102_1|PENDING|Dependency\n103|PENDING|Dependency\n104|PENDING|Dependency\n"
"""What squeue says of a study of one arm while its folds are dealt."""


def call(command, *arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def submit_unet(*arguments):
    return call(submit, "--folds", 2, "--arm", "unet", *arguments)

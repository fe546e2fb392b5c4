"""Paths on the command line."""

import os
from pathlib import Path
from typing import Any

import click


class NamedPath(click.Path):
    """A path that names something: an empty one would be the current folder, and is a shell variable that nobody set."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty path, with click's own words about which one."""
        if not os.fspath(value):
            self.fail("it is empty, perhaps a variable that is not set; name a path, as . for the current folder", param, ctx)
        return super().convert(value, param, ctx)

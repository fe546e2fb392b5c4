"""The dependencies: the package imports what pyproject.toml declares, all of it and nothing else."""

import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY
from tests.house.imports import find_modules, read_imports, top_of

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["ranks"]]
DEVELOPMENT = PROJECT["dependency-groups"]["dev"]
OWN = {"hipseg", "tests", "tools"}

NOT_IMPORTED = {
    "tensorboard": "TensorFlow writes event files through it",
}
"""Dependencies that no module imports, and what each is for."""


def declared(requirements: Iterable[str]) -> set[str]:
    """Name the distributions that some requirements ask for."""
    return {canonicalize_name(Requirement(one).name) for one in requirements}


def imported_by(folder: str) -> set[str]:
    """Name the distributions that the modules below a folder import from, apart from Python and this project."""
    modules = find_modules(REPOSITORY / folder)
    tops = {top_of(one.target) for module, path in modules.items() for one in read_imports(module, path, modules)}
    # A script in tools/ imports its neighbours by their bare names.
    neighbours = {path.stem for path in (REPOSITORY / "tools").rglob("*.py")}
    foreign = tops - set(sys.stdlib_module_names) - OWN - neighbours - {"?"}
    distributions = metadata.packages_distributions()
    return {canonicalize_name(distributions.get(top, [top])[0]) for top in foreign}


def test_every_import_of_the_package_is_declared() -> None:
    assert imported_by("hipseg") - declared(RUNTIME) == set()


@pytest.mark.parametrize("folder", ["tests", "tools"])
def test_every_import_of_tests_and_tools_is_declared(folder: str) -> None:
    assert imported_by(folder) - declared([*RUNTIME, *DEVELOPMENT]) == set()


def test_every_dependency_is_imported() -> None:
    assert declared(RUNTIME) - imported_by("hipseg") == set(NOT_IMPORTED)

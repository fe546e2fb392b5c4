"""What lies in the repository: sizes and names of modules, and nothing that belongs to one machine."""

import re
import subprocess
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY

MODULE_LINES_MAX = 400

# The part of an absolute path that names a machine's own folders. Put together here so that this file does not hold it.
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/" + r"(work|home|root|Users|scratch)/\w")

INDEX_ADDRESS = re.compile(
    "|".join(["--(extra-)?" + "index-url", "--find" + "-links", r"/simple" + r"/?[\"'\s]", "pypi" + r"\.org"])
)


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git keeps, and every new one that it does not ignore."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, check=True
    )
    found = (REPOSITORY / name for name in listing.stdout.decode().split("\0") if name)
    return tuple(sorted(path for path in found if path.is_file()))


def matching_lines(pattern: re.Pattern[str]) -> list[str]:
    """Each line of a tracked text file in which a pattern is found, with its place."""
    hits = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        lines = text.splitlines() if "\0" not in text else []
        hits += [f"{path.relative_to(REPOSITORY)}:{count}: {line}" for count, line in enumerate(lines, 1) if pattern.search(line)]
    return hits


def test_the_listing_is_of_this_repository() -> None:
    assert {REPOSITORY / "pyproject.toml", REPOSITORY / "hipseg" / "errors.py", Path(__file__)} <= set(tracked_files())


def test_no_module_is_longer_than_its_limit() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tracked_files() if path.suffix == ".py"}
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES_MAX} == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [path for path in tracked_files() if path.stem in {"util", "utils", "helpers", "misc", "common"}] == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert MACHINE_PATH.search("see /" + "home/ann/data")
    assert matching_lines(MACHINE_PATH) == []


def test_no_file_names_a_package_index() -> None:
    assert INDEX_ADDRESS.search("pip install --" + "index-url x")
    assert matching_lines(INDEX_ADDRESS) == []


def test_every_folder_of_tests_is_a_package() -> None:
    """Modules of the same name in two folders would otherwise hide each other."""
    folders = {path.parent for path in tracked_files() if path.name.startswith("test_") and path.suffix == ".py"}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_every_test_module_mirrors_a_module() -> None:
    """`tests/score/test_record.py` belongs to `hipseg/score/record.py`; only the house's own tests stand for no module."""
    house = REPOSITORY / "tests" / "house"
    package = REPOSITORY / "hipseg"
    strays = []
    for path in tracked_files():
        if path.name.startswith("test_") and path.suffix == ".py" and path.parent != house:
            name = path.relative_to(REPOSITORY / "tests").with_name(path.stem.removeprefix("test_"))
            if not (package / name.with_suffix(".py")).is_file() and not (package / name / "__init__.py").is_file():
                strays.append(path.relative_to(REPOSITORY).as_posix())
    assert strays == []


def test_every_package_of_code_comes_with_tests() -> None:
    parts = sorted(path.parent.name for path in (REPOSITORY / "hipseg").glob("*/__init__.py"))
    assert [part for part in parts if not any((REPOSITORY / "tests" / part).glob("test_*.py"))] == []

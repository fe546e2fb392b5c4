"""What lies in the repository: sizes and names of modules, and nothing that belongs to one machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40

# These two patterns are written so that they do not match themselves.
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:work|home|root)/\w")
INDEX_ADDRESS = re.compile(r"--(?:extra-)?index-[u]rl|--find-[l]inks|https?://\S+/simple|pypi[.]org|pythonhosted[.]org")

NO_MIRRORS = {
    "browser/test_page.py": "opens the page in Chromium",
    "cli/test_bad_input.py": "runs the program on what users get wrong",
    "cli/test_pack_ends.py": "lets packings and merges end in every way through the program",
    "cli/test_pack_layouts.py": "packs every layout through the program",
    "cli/test_pack_masks.py": "packs masks by their rules through the program",
    "cli/test_pack_real_folders.py": "packs every folder of real data through the program",
    "cli/test_repeats.py": "runs a study with several seeds through the program",
    "faults/test_corpus.py": "reads and packs series spoilt in every way",
    "faults/test_fuzz.py": "runs tools/fuzz_ingest.py",
    "horovod/test_ranks.py": "starts real ranks and makes them fail",
    "horovod/test_study.py": "runs a study of real ranks",
    "ingest/test_real_data.py": "reads real CT data sets",
    "ingest/test_real_layouts.py": "reads real CT volumes in every layout",
    "ingest/test_real_masks.py": "reads real masks",
    "launch/test_sbatch.py": "reads the job scripts in slurm/",
    "pack/test_lost_folder.py": "takes the folder away while cases are packed",
    "pack/test_real_patients.py": "packs real CT data sets",
    "shards/test_golden.py": "reads files of every format version",
    "slurm/test_local_slurm.py": "brings a real Slurm up and down",
    "slurm/test_study.py": "submits a study to a real Slurm",
    "slurm/test_survival.py": "makes a real Slurm stop and kill runs",
    "slurm/test_templates.py": "submits slurm/*.sbatch to a real Slurm",
    "test_privacy.py": "searches every output of every command",
    "test_readme.py": "runs the README",
}
"""Test modules that stand for no single module, and what for."""

NOT_MIRRORED = {
    "cli/pack_summary.py": "tests/cli/test_pack_ends.py reads its words and exit codes",
    "cli/evaluate.py": "tests/cli/test_train.py scores what it has trained",
    "cli/pretrain.py": "tests/cli/test_train.py pretrains before it trains",
    "cli/standing.py": "tests/cli/test_status.py and test_report.py read its words",
    "conduct.py": "tests/cli/test_train.py runs it with one process, tests/horovod with many",
    "learn/beginning.py": "tests/learn/test_resume.py and test_training.py begin runs",
    "learn/course.py": "tests/learn/test_fold.py and tests/test_organs.py run courses",
    "learn/keeper.py": "tests/learn/test_resume.py stops runs and goes on",
    "learn/passes.py": "tests/learn/test_training.py makes passes",
    "phantom/anatomy.py": "tests/phantom/test_scanner.py scans whole patients",
    "phantom/organs.py": "tests/phantom/test_scanner.py scans whole patients",
    "phantom/soft.py": "tests/phantom/test_scanner.py scans whole patients",
    "phantom/spine.py": "tests/phantom/test_scanner.py scans whole patients",
}
"""Modules with functions and without a test module of their own, and what tests them."""


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
    """`tests/score/test_record.py` belongs to `hipseg/score/record.py`; the house's own tests stand for no module."""
    tests = REPOSITORY / "tests"
    named = [path.relative_to(tests) for path in tracked_files() if path.is_relative_to(tests) and path.name.startswith("test_")]
    mirrors = [path for path in named if path.parts[0] != "house" and path.as_posix() not in NO_MIRRORS]
    modules = [REPOSITORY / "hipseg" / path.with_name(path.stem.removeprefix("test_")) for path in mirrors]
    missing = [module for module in modules if not (module.with_suffix(".py").is_file() or module.is_dir())]
    assert missing == []
    assert [name for name in NO_MIRRORS if not (tests / name).is_file()] == []


def test_every_module_with_functions_is_mirrored_or_tested_by_another() -> None:
    code = REPOSITORY / "hipseg"
    modules = [path for path in tracked_files() if path.is_relative_to(code) and path.suffix == ".py" and path.stem != "__init__"]
    named = {path.relative_to(code) for path in modules if any(_find_functions(path))}
    missing = {path.as_posix() for path in named if not (REPOSITORY / "tests" / path.with_name(f"test_{path.name}")).is_file()}
    assert missing - set(NOT_MIRRORED) == set()
    assert [name for name in NOT_MIRRORED if not (code / name).is_file()] == []


def test_no_function_is_longer_than_its_limit() -> None:
    long = {
        f"{path.relative_to(REPOSITORY)}:{found.lineno}: {found.name}"
        for path in tracked_files()
        if path.is_relative_to(REPOSITORY / "hipseg") and path.suffix == ".py"
        for found in _find_functions(path)
        if _count_lines(found) > FUNCTION_LINES_MAX
    }
    assert long == set()


def _find_functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _count_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from its name on; its docstring is asked for and not counted."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    return (function.end_lineno or 0) - function.lineno + 1 - has_docstring * ((first.end_lineno or 0) - first.lineno + 1)


def test_every_package_of_code_comes_with_tests() -> None:
    parts = sorted(path.parent.name for path in (REPOSITORY / "hipseg").glob("*/__init__.py"))
    assert [part for part in parts if not any((REPOSITORY / "tests" / part).glob("test_*.py"))] == []

"""The floors: a module imports only from lower ones, or from a sibling listed above it."""

from pathlib import Path

import pytest

import hipseg
from tests.house.imports import Rules, find_modules, find_violations

GROUND = ("errors", "axes", "labels")
BASE = ("geometry", "config", "sameness", "signals", "fsio", "cores", "runs", "views")

FLOORS = (
    GROUND,
    BASE,
    ("ingest",),
    ("shards",),
    ("splits", "fit", "demands", "pack", "phantom"),
    ("score", "learn"),
    ("export", "evaluate", "organs", "gallery", "conduct"),
    ("report", "launch"),
    ("cli", "__main__"),
)

RULES = Rules(
    order=[part for floor in FLOORS for part in floor],
    narrower={
        "score": (*GROUND, *BASE),
        "report": (*GROUND, *BASE, "score"),
        # A login node submits a study without TensorFlow.
        "launch": (*GROUND, *BASE),
    },
    third_party={
        "horovod": ("hipseg.learn.ranks",),
        "tensorflow": ("hipseg.learn",),
        "keras": ("hipseg.learn",),
        "pydicom": ("hipseg.ingest", "hipseg.phantom", "hipseg.export"),
        "highdicom": ("hipseg.ingest", "hipseg.export"),
        "h5py": ("hipseg.shards",),
        "submitit": ("hipseg.launch",),
        "pandas": ("hipseg.report",),
    },
    late=(
        ("hipseg.launch", "hipseg.cli.main"),
        # With it comes TensorFlow, for which help and a mistake in an option need not wait.
        ("hipseg.cli", "hipseg.conduct"),
        ("hipseg.cli.model", "hipseg.learn.networks"),
        ("hipseg.cli.model", "hipseg.learn.description"),
    ),
    dynamic=("hipseg.cli.main",),
)

PACKAGE = Path(hipseg.__file__).parent


def test_every_import_of_hipseg_respects_the_floors() -> None:
    assert find_violations(PACKAGE, RULES) == []


def test_the_checker_sees_every_module() -> None:
    modules = find_modules(PACKAGE)
    assert {"hipseg", "hipseg.errors", "hipseg.cli.main", "hipseg.learn"} <= set(modules)
    assert len(modules) == len(list(PACKAGE.rglob("*.py")))


def plant(folder: Path, files: dict[str, str]) -> Path:
    """Write a small package named hipseg."""
    package = folder / "hipseg"
    for name, text in {"__init__.py": "", **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("geometry.py", "import hipseg.pack", "hipseg.geometry, line 1, imports hipseg.pack: not from a lower floor"),
        ("geometry.py", "from hipseg import pack", "hipseg.geometry, line 1, imports hipseg.pack: not from a lower floor"),
        ("geometry.py", "\nfrom . import pack", "hipseg.geometry, line 2, imports hipseg.pack: not from a lower floor"),
        ("ingest/dicom.py", "from ..pack import x", "hipseg.ingest.dicom, line 1, imports hipseg.pack: not from a lower floor"),
        ("ingest/__init__.py", "from ..pack import x", "hipseg.ingest, line 1, imports hipseg.pack: not from a lower floor"),
        ("splits.py", "from hipseg.pack import x", "hipseg.splits, line 1, imports hipseg.pack: not from a lower floor"),
        (
            "launch/jobs.py",
            "from hipseg.pack import x",
            "hipseg.launch.jobs, line 1, imports hipseg.pack: not from a lower floor",
        ),
        (
            "report/table.py",
            "from hipseg.pack import x",
            "hipseg.report.table, line 1, imports hipseg.pack: not from a lower floor",
        ),
        (
            "score/record.py",
            "from hipseg.pack import x",
            "hipseg.score.record, line 1, imports hipseg.pack: not from a lower floor",
        ),
        (
            "runs.py",
            "if TYPE_CHECKING:\n    import hipseg.pack",
            "hipseg.runs, line 2, imports hipseg.pack: not from a lower floor",
        ),
        ("extras.py", "", "hipseg.extras: on no floor of the table"),
        (
            "learn/train.py",
            "import horovod.tensorflow",
            "hipseg.learn.train, line 1, imports horovod.tensorflow: only hipseg.learn.ranks may",
        ),
        ("evaluate.py", "from tensorflow import io", "hipseg.evaluate, line 1, imports tensorflow: only hipseg.learn may"),
        ("evaluate.py", "def f():\n    import keras", "hipseg.evaluate, line 2, imports keras: only hipseg.learn may"),
        ("cli/submit.py", "import submitit", "hipseg.cli.submit, line 1, imports submitit: only hipseg.launch may"),
        ("cli/pack.py", "def f():\n    import hipseg.pack", "hipseg.cli.pack, line 2, imports hipseg.pack: inside a function"),
        ("evaluate.py", "def f():\n    importlib.import_module(name)", "hipseg.evaluate, line 2, imports ?: by a computed name"),
        ("runs.py", 'importlib.import_module("hipseg.pack")', "hipseg.runs, line 1, imports hipseg.pack: not from a lower floor"),
    ],
)
def test_a_planted_violation_is_named(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    package = plant(tmp_path, {"pack.py": "", module: source})
    assert find_violations(package, RULES) == [complaint]


@pytest.mark.parametrize(
    "files",
    [
        {"learn/a.py": "import hipseg.learn.b", "learn/b.py": "from hipseg.learn import a"},
        {"learn/__init__.py": "from hipseg.learn.a import x", "learn/a.py": "from hipseg.learn import x"},
        {
            "score/__init__.py": "from hipseg.score.b import x",
            "score/b.py": "from hipseg.score import c",
            "score/c.py": "import hipseg.score",
        },
    ],
)
def test_a_planted_cycle_is_named(tmp_path: Path, files: dict[str, str]) -> None:
    complaints = find_violations(plant(tmp_path, files), RULES)
    assert len(complaints) == 1
    assert complaints[0].startswith("import cycle: hipseg.")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("cli/pack.py", "from hipseg import __version__, pack"),
        ("phantom/__init__.py", "import pydicom\nfrom hipseg.pack import x"),
        ("learn/ranks.py", "import horovod.tensorflow, tensorflow, keras"),
        ("learn/train.py", "from hipseg.score import overlap\nfrom hipseg.learn import ranks"),
        ("launch/work.py", "def f():\n    from hipseg.cli.main import run"),
        ("cli/main.py", 'def f():\n    importlib.import_module(f"hipseg.cli.{name}")'),
        ("cli/train.py", 'def f():\n    importlib.import_module("hipseg.conduct")'),
    ],
)
def test_what_the_table_allows_passes(tmp_path: Path, module: str, source: str) -> None:
    assert find_violations(plant(tmp_path, {"pack.py": "", module: source}), RULES) == []

"""What a run was made from and with: settings.yaml, provenance.json and cases.json."""

import functools
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hipseg import __version__
from hipseg.config import MACHINE_KEYS, StudySettings, dump_settings
from hipseg.errors import TrainError
from hipseg.fsio import digest_file, digest_json, read_json, write_json, write_text
from hipseg.runs import FoldPaths
from hipseg.shards.manifest import Manifest
from hipseg.splits import Split

SLURM_IDS = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_ID")
WINDOWS = "windows_hu"
"""Key of the list of cases that earlier versions did not write."""
LIBRARIES = ("tensorflow", "keras", "numpy", "h5py")
SCORING_LIBRARIES = ("scipy", "scikit-image", "surface-distance")


@dataclass(frozen=True)
class Provenance:
    """Where a run's results come from; written as provenance.json.

    Args:
        versions: of hipseg, Python and the libraries that results depend on.
        commit: of the checkout that hipseg runs from; None where it was installed.
        code_digests: of hipseg's own sources, see `digest_code`; several where a run was gone on with by other ones.
        data_digest: of the data set's images and masks.
        split_digest: of the folds, or of the hold-out.
        settings_digest: of the settings without their paths.
        slurm: the cluster's ids, by the names of their variables; empty without Slurm.
        ranks: processes that trained together.
        started: UTC, ISO 8601.
        seconds: at work until the model was saved; None while the run is not there yet.
        resumed: when the run was gone on with after a stop, as `started`.
        model_digest: SHA-256 of the model; None while it is not there yet, and where an earlier version trained it.
    """

    versions: Mapping[str, str]
    commit: str | None
    code_digests: tuple[str, ...]
    data_digest: str
    split_digest: str
    settings_digest: str
    slurm: Mapping[str, str]
    ranks: int
    started: str
    seconds: float | None = None
    resumed: tuple[str, ...] = ()
    model_digest: str | None = None


def describe_run(
    settings: StudySettings, data_digest: str, split_digest: str, environment: Mapping[str, str], ranks: int = 1
) -> Provenance:
    """Gather where a run that starts now comes from.

    Args:
        settings: the resolved ones.
        data_digest: of the data set.
        split_digest: of the folds.
        environment: the process's variables, of which only the cluster's ids are kept.
        ranks: processes that train together.
    """
    return Provenance(
        versions=_versions(),
        commit=_commit(),
        code_digests=(digest_code(),),
        data_digest=data_digest,
        split_digest=split_digest,
        settings_digest=digest_settings(settings),
        slurm={name: environment[name] for name in SLURM_IDS if name in environment},
        ranks=ranks,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def begin_record(paths: FoldPaths, settings: StudySettings, provenance: Provenance) -> None:
    """Write settings.yaml and provenance.json at the start of a run."""
    write_text(paths.settings, dump_settings(settings))
    write_json(paths.provenance, asdict(provenance))


def continue_record(paths: FoldPaths, settings: StudySettings, provenance: Provenance) -> Provenance:
    """Write both anew when a run goes on: with what it goes on with, and when it began and was gone on with before.

    Raises:
        TrainError: provenance.json is missing or damaged.
    """
    earlier = read_provenance(paths)
    continued = replace(
        provenance,
        code_digests=tuple(dict.fromkeys((*earlier.code_digests, *provenance.code_digests))),
        started=earlier.started,
        resumed=(*earlier.resumed, provenance.started),
    )
    begin_record(paths, settings, continued)
    return continued


def end_record(paths: FoldPaths, provenance: Provenance, seconds: float) -> None:
    """Write provenance.json again when the model is there, with its digest."""
    write_json(paths.provenance, asdict(replace(provenance, seconds=round(seconds, 3), model_digest=digest_file(paths.model))))


def read_provenance(paths: FoldPaths) -> Provenance:
    """Read provenance.json.

    Raises:
        TrainError: it is missing or damaged.
    """
    value = read_json(paths.provenance, TrainError, "provenance of the run")
    try:
        sequences = {name: tuple(value[name]) for name in ("code_digests", "resumed")}
        return Provenance(**{**value, **sequences})
    except (TypeError, KeyError, AttributeError) as error:
        raise TrainError(f"damaged provenance at {paths.provenance}: {error}; train the fold again") from error


def list_cases(manifest: Manifest, split: Split) -> dict[str, Any]:
    """Name the cases that a run learns from and those that it is validated with, with their patients and images.

    Args:
        manifest: of the data set; its salt tells whether keys of two runs can be compared.
        split: the two sides.
    Returns:
        A JSON value: `salt_id`; under `windows_hu` the windows over which the images are stored, null for those without loss,
        since image_digest is of what is stored; and under `train` and `val` each case's key, patient and image_digest.
    """
    records = {one.case: one for one in manifest.cases}
    sides = {
        name: [{"case": case, "patient": records[case].patient, "image_digest": records[case].image_digest} for case in cases]
        for name, cases in (("train", split.train), ("val", split.val))
    }
    windows = {records[case].window_hu for cases in (split.train, split.val) for case in cases}
    told = [list(window) if window else None for window in sorted(windows, key=str)]
    return {"salt_id": manifest.salt_id, WINDOWS: told, **sides}


@functools.cache
def digest_code() -> str:
    """Give the digest of hipseg's own sources, as they were when the process first asked: what it runs does not change later."""
    return digest_sources(_package())


def digest_sources(package: Path) -> str:
    """Give the SHA-256 of a package: of every module's path in it and of its bytes."""
    return digest_json({path.relative_to(package).as_posix(): digest_file(path) for path in sorted(package.rglob("*.py"))})


def scoring_versions() -> dict[str, str]:
    """Give the versions of the libraries that cleaning and scoring depend on."""
    return {library: version(library) for library in SCORING_LIBRARIES}


def digest_settings(settings: StudySettings) -> str:
    """Give the SHA-256 of settings without paths, threads and limits, which belong to the machine and not to the experiment.

    How the run is scored afterwards is left out, too.
    """
    return digest_json(
        settings.model_dump(
            mode="json",
            exclude={
                "shards": True,
                "results": True,
                "evaluate": True,
                "train": MACHINE_KEYS,
                "pretrain": {"shards": True, "train": MACHINE_KEYS},
            },
        )
    )


def _versions() -> dict[str, str]:
    versions = {"hipseg": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        # TensorFlow's build for processors alone is a distribution of another name.
        name = f"{library}-cpu" if library == "tensorflow" and not _is_installed(library) else library
        versions[library] = version(name)
    return versions


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except ModuleNotFoundError:
        return False
    return True


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def _commit() -> str | None:
    """Ask git for the commit, but only where git tracks this very package: an environment may lie in another's checkout."""
    git, package = shutil.which("git"), _package()
    if git is None:
        return None
    answers = [
        subprocess.run([git, "-C", str(package), *question], capture_output=True, text=True, check=False)
        for question in (["ls-files", "--error-unmatch", "__init__.py"], ["rev-parse", "HEAD"])
    ]
    return answers[1].stdout.strip() if all(answer.returncode == 0 for answer in answers) else None

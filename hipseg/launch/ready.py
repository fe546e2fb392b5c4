"""What has to hold before a study starts: packed data, folds that fit, and finished runs that were made the same way."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from hipseg.config import StudySettings, load_settings, repeat_settings
from hipseg.errors import ConfigError, LaunchError, ShardError
from hipseg.fsio import digest_file, naming_closed_paths, read_json
from hipseg.launch.graph import PRETRAINING, Job, Part, needs_pretraining
from hipseg.launch.state import Record, StudyState, is_alive, is_seen_from_here, read_state
from hipseg.runs import DatasetPaths, FoldPaths, StudyPaths
from hipseg.sameness import decisive_settings, first_difference

HIP_SHARDS = "shards"
PRETRAINING_SHARDS = "pretraining shards"
DATA_DIGEST, SPLIT_DIGEST = "data_digest", "split_digest"
"""What a run's provenance calls the digests of what it was trained on."""
SOURCES = {DATA_DIGEST: "packed data", SPLIT_DIGEST: "folds"}


def refuse_odd_paths(paths: Mapping[str, Path]) -> None:
    """Refuse paths that would break a line of a log or a script, or that a command line would take for an option.

    Args:
        paths: what each is for, in words -> the path.
    Raises:
        ConfigError: one holds a line break or another control character, or begins with a dash.
    """
    for what, path in paths.items():
        whole = str(path.absolute())
        if not str(path).isprintable() or whole.splitlines() != [whole]:
            shown = path if not str(path).isprintable() else whole
            raise ConfigError(
                f"the path of the {what} holds a line break or another control character: {str(shown)!r}; rename it"
            )
        if str(path).startswith("-"):
            raise ConfigError(f"the path of the {what}, {str(path)!r}, begins with a dash, as options of commands do; rename it")


@naming_closed_paths()
def check_scans(data: Path) -> None:
    """Check that there are scans to pack, before as many jobs as there are parts find out.

    Raises:
        ConfigError: their folder is not there.
    """
    if not data.exists():
        raise ConfigError(f"no scans to pack at {data}; name their folder with --pack, or leave it out if they are packed")


@naming_closed_paths()
def check_shards(settings: StudySettings, part: Part, *, packs_first: bool = False) -> dict[str, str]:
    """Check that the data sets of a study are packed.

    Args:
        settings: the study.
        part: the arms and folds wanted.
        packs_first: a job of the study packs the scans.
    Returns:
        SHA-256 of the manifest of each data set that is used, by the name of the data set.
    Raises:
        LaunchError: one is not packed; says which command packs it.
    """
    hip = DatasetPaths(settings.shards).manifest
    if not hip.is_file() and not packs_first:
        raise LaunchError(
            f"no packed scans at {settings.shards} (no {hip.name}); pack them with "
            f"`hipseg-pack DATA -o {shlex.quote(str(settings.shards))}` "
            f"or name their folder with --shards"
        )
    manifests = {} if packs_first else {HIP_SHARDS: digest_file(hip)}
    organs = DatasetPaths(settings.pretrain.shards).manifest
    if organs.is_file():
        manifests[PRETRAINING_SHARDS] = digest_file(organs)
    elif needs_pretraining(settings, part) and not StudyPaths(settings.results).pretraining.is_complete:
        raise LaunchError(_no_pretraining_shards(settings, part))
    return manifests


@naming_closed_paths()
def has_splits(settings: StudySettings) -> bool:
    """Say whether the patients have been dealt into folds.

    Raises:
        ConfigError: they have been, into another number of folds than the study's.
        ShardError: the file is damaged.
    """
    path = DatasetPaths(settings.shards).splits
    if not path.exists():
        return False
    splits = read_json(path, ShardError, "splits")
    if not isinstance(splits, list):
        raise ShardError(f"splits at {path} are a {type(splits).__name__}; a list with one entry a fold is needed")
    if len(splits) != settings.folds:
        raise ConfigError(
            f"{path} deals the patients into {len(splits)} folds, the study asks for {settings.folds}; submit with "
            f"--folds {len(splits)}, or deal anew with "
            f"`hipseg split {shlex.quote(str(settings.shards))} --folds {settings.folds} --overwrite`"
        )
    return True


@naming_closed_paths()
def find_done(
    paths: StudyPaths, settings: StudySettings, jobs: tuple[Job, ...], digests: Mapping[str, str] | None = None
) -> frozenset[str]:
    """Find the jobs whose run is complete already.

    A complete run counts when it was trained as the settings say now, network, feeding, training, target labels and, with
    transfer, pretraining, and on the data and folds that are there. Paths, threads and the words of the table may differ.

    Args:
        paths: the results.
        settings: the study as it would be run now.
        jobs: the graph.
        digests: of packed data and folds, by DATA_DIGEST and SPLIT_DIGEST; runs are not held against one that is not named.
    Returns:
        Names of jobs that need not run; the pretraining is among them where every run that starts from it is complete.
    Raises:
        LaunchError: a run was made or begun with other settings or on other data or folds, or started from another pretraining;
            it is never overwritten.
    """
    done = set()
    earlier: dict[str, StudySettings] = {}
    for job in jobs:
        run = _run_of(paths, job)
        if run is None or not (run.is_complete or is_begun(run)):
            continue
        # The runs of a study have the same settings, and reading them takes longer than all else here.
        text = run.settings.read_text(encoding="utf-8") if run.settings.is_file() else ""
        if text not in earlier:
            earlier[text] = load_settings(run.settings)
        wanted = repeat_settings(settings, job.repeat)
        different = first_difference(*(decisive_settings(one, job.arm) for one in (earlier[text], wanted)))
        if different:
            _refuse_run(run, f"with other settings: {different}")
        if job.arm is not None:
            _check_sources(run, digests or {})
        if run.is_complete:
            done.add(job.name)
    children = {job.name: run for job in jobs if PRETRAINING in job.after and (run := _run_of(paths, job))}
    _check_pretraining(
        paths, {name: run for name, run in children.items() if name in done}, is_needed=not children.keys() <= done
    )
    return frozenset(done | ({PRETRAINING} if children and children.keys() <= done else set()))


def _check_sources(run: FoldPaths, digests: Mapping[str, str]) -> None:
    """Hold what a run was trained on against what is there; one without provenance is refused by training and table."""
    if not digests or not run.provenance.is_file():
        return
    made = read_json(run.provenance, LaunchError, "provenance of the run")
    for key, now in digests.items():
        then = made.get(key) if isinstance(made, dict) else None
        if then != now:
            shown = "their digest was not noted" if then is None else f"their digest was {str(then)[:12]} and is now {now[:12]}"
            _refuse_run(run, f"on other {SOURCES[key]} than are there now: {shown}")


def _refuse_run(run: FoldPaths, how: str) -> NoReturn:
    state = "complete but was made" if run.is_complete else "unfinished and was begun"
    raise LaunchError(f"{run.root} is {state} {how}; choose another folder with --results, or delete that one to make it anew")


def _check_pretraining(paths: StudyPaths, children: Mapping[str, FoldPaths], *, is_needed: bool) -> None:
    """Hold the complete runs that started from a pretraining against the one that is there.

    Raises:
        LaunchError: it has been trained anew since, or is gone while others are still to start from one.
    """
    pretraining = paths.pretraining
    now = None
    if pretraining.is_complete:
        now = _read_digest(pretraining.summary, "summary of the pretraining", "model_digest")
    for name, run in children.items():
        if not run.transfer.is_file():
            continue
        then = _read_digest(run.transfer, "record of the transfer", "source_digest")
        cure = f"delete {run.root} to make it anew, or choose another folder with --results"
        if now is not None and then != now:
            raise LaunchError(f"{name} started from another pretraining than {pretraining.root}, trained anew since; {cure}")
        if now is None and is_needed:
            raise LaunchError(
                f"{name} started from a pretraining that is no longer in {pretraining.root}, and others need one; {cure}"
            )


def _read_digest(path: Path, what: str, key: str) -> object:
    """Read one digest of a run's JSON file; None where it holds none."""
    value = read_json(path, LaunchError, what)
    return value.get(key) if isinstance(value, dict) else None


def is_begun(run: FoldPaths) -> bool:
    """Say whether an unfinished run has something to go on from."""
    return run.checkpoint("last").is_file() and run.settings.is_file()


@naming_closed_paths()
def check_earlier(paths: StudyPaths, manifests: Mapping[str, str], done: frozenset[str]) -> StudyState | None:
    """Hold a new start against the study that these results began with.

    Args:
        paths: the results.
        manifests: what `check_shards` gave.
        done: what `find_done` gave.
    Returns:
        That study; None where there is none.
    Raises:
        LaunchError: a job of that study still runs on a machine, or finished runs were made on data packed anew since.
    """
    if not paths.state.is_file():
        return None
    earlier = read_state(paths)
    running = [record for record in earlier.records if record.stage == "running" and _still_runs(record, earlier.host)]
    if running:
        first = running[0]
        # From another host nobody can see whether the job lives, and the host may be gone for good, as a container is.
        elsewhere = "" if is_seen_from_here(earlier.host) else f" there, or delete {paths.state} if nothing runs there any more"
        raise LaunchError(
            f"{first.job.name} of an earlier submit still runs (process {first.pid} on {earlier.host}); "
            f"wait for it, or stop it with `hipseg cancel {shlex.quote(str(paths.root))}`{elsewhere}"
        )
    for name, digest in earlier.manifests.items():
        if done and manifests.get(name, digest) != digest:
            raise LaunchError(
                f"the {name} have been packed anew since {paths.root} was begun, and {len(done)} of its runs are done; "
                f"choose another folder with --results, or delete those runs"
            )
    return earlier


def _still_runs(record: Record, host: str) -> bool:
    return is_alive(record.pid, record.started_s, host) is not False


def _run_of(paths: StudyPaths, job: Job) -> FoldPaths | None:
    if job.name == PRETRAINING:
        return paths.pretraining
    return paths.fold(job.arm, job.fold, job.repeat) if job.arm is not None and job.fold is not None else None


def _no_pretraining_shards(settings: StudySettings, part: Part) -> str:
    arms = [arm for arm in part.arms if settings.arm(arm).transfer]
    rest = " ".join(f"--arm {arm}" for arm in part.arms if arm not in arms)
    shards = settings.pretrain.shards
    rois = " ".join(f"--roi {organ}={label}" for organ, label in settings.pretrain.organs.items())
    leave_out = f", or leave the arm out with {rest}" if rest else ""
    return (
        f"no packed scans to pretrain {' and '.join(arms)} at {shards} (no manifest.json); pack scans with organ masks with "
        f"`hipseg-pack ORGANS -o {shlex.quote(str(shards))} {rois}`{leave_out}"
    )

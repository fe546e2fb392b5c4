"""The locks: what pyproject.toml asks for is pinned with hashes, everywhere alike, and nowhere by an address."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPOSITORY

LOCKS = ("runtime", "runtime-gpu", "dev", "build", "horovod")

PINNED_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>\S+)( \\)?")
HASH_LINE = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
ENVIRONMENT = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))


def lock_path(lock: str) -> Path:
    """The file of one lock."""
    return REPOSITORY / "requirements" / f"{lock}.txt"


def read_pins(lock: str) -> dict[str, str]:
    """Map each distribution of a lock to its version."""
    lines = lock_path(lock).read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if (match := PINNED_LINE.fullmatch(line))]
    return {canonicalize_name(match["name"]): match["version"] for match in found}


def conda_packages() -> dict[str, str]:
    """Map each conda package of environment.yml to its bounds."""
    packages = [one for one in ENVIRONMENT["dependencies"] if isinstance(one, str)]
    return {name: one.removeprefix(name) for one in packages for name in [re.split(r"[=<>]", one)[0]]}


def conda_pip_requirements() -> list[Requirement]:
    """The pip section of environment.yml."""
    (pip,) = [one["pip"] for one in ENVIRONMENT["dependencies"] if isinstance(one, dict)]
    return [Requirement(one) for one in pip]


GROUPS = {
    "runtime": PROJECT["project"]["dependencies"],
    "runtime-gpu": [one.replace("tensorflow-cpu", "tensorflow[and-cuda]") for one in PROJECT["project"]["dependencies"]],
    "dev": PROJECT["dependency-groups"]["dev"],
    "build": PROJECT["dependency-groups"]["build"],
    "horovod": PROJECT["project"]["optional-dependencies"]["ranks"],
}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_is_a_pin_or_a_hash(lock: str) -> None:
    lines = lock_path(lock).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not PINNED_LINE.fullmatch(line) and not HASH_LINE.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_followed_by_a_hash(lock: str) -> None:
    lines = lock_path(lock).read_text(encoding="utf-8").splitlines()
    bare = [line for line, following in zip(lines, [*lines[1:], ""], strict=True) if line[0] != " " and "--hash" not in following]
    assert lines
    assert bare == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_of_the_project_is_locked_within_its_bounds(lock: str) -> None:
    pins = read_pins(lock)
    for requirement in map(Requirement, GROUPS[lock]):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement} is not in requirements/{lock}.txt; run `make lock`"
        assert requirement.specifier.contains(pins[name]), f"requirements/{lock}.txt has {name} {pins[name]}, not {requirement}"


def test_locks_agree_on_shared_packages() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, version in read_pins(lock).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_environment_is_what_the_locks_say() -> None:
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in metadata.distributions()}
    other = "runtime" if "tensorflow" in installed else "runtime-gpu"
    locked = {name: version for lock in LOCKS if lock != other for name, version in read_pins(lock).items()}
    differing = {name: (version, installed.get(name)) for name, version in locked.items() if installed.get(name) != version}
    assert differing == {}, "locked and installed versions differ; run `make env`"


def test_conda_installs_the_locked_versions_with_tensorflow_for_gpus() -> None:
    requirements = conda_pip_requirements()
    found = {canonicalize_name(one.name): str(one.specifier) for one in requirements}
    expected = {name: f"=={version}" for name, version in read_pins("runtime").items()}
    expected["tensorflow"] = expected.pop("tensorflow-cpu")
    assert found == expected, "environment.yml and requirements/runtime.txt differ"
    assert [one.name for one in requirements if one.extras == {"and-cuda"}] == ["tensorflow"]


def test_gpu_lock_is_the_other_with_cuda_and_nccl_of_one_release() -> None:
    cpu, gpu = read_pins("runtime"), read_pins("runtime-gpu")
    added = {name: version for name, version in gpu.items() if name not in cpu}
    assert {name for name in cpu if name not in gpu} == {"tensorflow-cpu"}
    assert added.pop("tensorflow") == cpu["tensorflow-cpu"]
    assert {"nvidia-nccl-cu12", "nvidia-cuda-runtime-cu12", "nvidia-cudnn-cu12"} <= set(added)
    assert all(name.startswith("nvidia-") and name.endswith("-cu12") for name in added)


def test_conda_brings_python_and_what_compiles_horovod() -> None:
    packages = conda_packages()
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.12"
    assert packages["python"] == "=3.11"
    assert f"cmake{packages['cmake']}" in PROJECT["dependency-groups"]["build"]
    assert {"pip", "make", "gxx_linux-64", "cuda-nvcc", "cuda-cudart-dev"} <= set(packages)
    assert "nccl" not in packages, "TensorFlow brings its own"


def test_conda_file_names_the_locked_horovod() -> None:
    text = (REPOSITORY / "environment.yml").read_text(encoding="utf-8")
    assert f"horovod=={read_pins('horovod')['horovod']}" in text
    assert "tools/build_horovod.sh" in text

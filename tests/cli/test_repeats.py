"""A study with several seeds on this machine, from `hipseg submit --repeats` to table, JSON and page."""

import json

import pytest
from click.testing import CliRunner

from hipseg.cli.resubmit import command as resubmit
from hipseg.cli.status import command as status
from hipseg.cli.submit import command as submit
from hipseg.config import dump_settings
from hipseg.report.repeats import METRIC
from hipseg.runs import StudyPaths
from hipseg.score.record import read_scores
from tests.learn.builders import pack_discs, small_settings

pytestmark = pytest.mark.slow

FOLDS, REPEATS, CASES = 2, 2, 4
RUNS = [(fold, repeat) for repeat in range(REPEATS) for fold in range(FOLDS)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One arm on two folds with two seeds, submitted and done; its folder and what the command said."""
    root = tmp_path_factory.mktemp("repeats")
    pack_discs(root / "shards", CASES, folds=FOLDS)
    settings = small_settings(root, folds=FOLDS, train={"epochs": 2, "batch_size": 4}, evaluate={"clean": None})
    (root / "study.yaml").write_text(dump_settings(settings))
    options = ["--config", str(root / "study.yaml"), "--local", "--arm", "unet", "--repeats", str(REPEATS)]
    ended = CliRunner().invoke(submit, [*options, "--max-running", "2"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return StudyPaths(root / "results"), ended.output


def test_seeds_and_cases_have_a_variance_of_their_own_in_table_json_and_page(study):
    paths, said = study
    assert said.endswith(f"table: {paths.comparison('md')}, page: {paths.report}\n")
    dice = {run: {one.case: one.dice for one in read_scores(paths.fold("unet", *run).scores)} for run in RUNS}
    # Other seeds, other networks: otherwise there would be no variance to tell apart.
    assert dice[0, 0].keys() == dice[0, 1].keys()
    assert dice[0, 0] != dice[0, 1]
    value = json.loads(paths.comparison("json").read_text())
    (parts,) = value["repeats"]
    everything = [one for of_run in dice.values() for one in of_run.values()]
    assert (parts["arm"], parts["repeats"], parts["cases"], parts["undefined"]) == ("unet", REPEATS, CASES, 0)
    assert parts["mean"] == pytest.approx(sum(everything) / len(everything))
    assert all(parts[name] >= 0 for name in ("sd_seeds", "sd_cases", "sd_folds", "sd_rest"))
    # The headline is of the first seed alone.
    first = [one for fold in range(FOLDS) for one in dice[fold, 0].values()]
    assert value["rows"][0]["over_cases"][METRIC]["mean"] == pytest.approx(sum(first) / len(first))
    title = "Dice over repeats with other seeds, SD by where it comes from"
    assert f"**{title}**" in paths.comparison("md").read_text()
    page = paths.report.read_text()
    assert f"<caption>{title}</caption>" in page
    assert "unet (2 folds)" in (paths.figures / "learning-curves.svg").read_text()
    assert '<th scope="row">train unet fold 1 repeat 1</th><td>done, Dice 0.' in page


def test_status_shows_each_seed_and_a_run_that_is_taken_away_is_run_again_alone(study):
    paths, _ = study
    shown = CliRunner().invoke(status, [str(paths.root)], catch_exceptions=False).output
    assert [line.split("│")[1].strip() for line in shown.splitlines() if "│ unet" in line] == ["unet", "unet repeat 1"]
    table, page = paths.comparison("json").read_bytes(), paths.report.read_text()
    paths.fold("unet", 1, 1).summary.unlink()
    ended = CliRunner().invoke(resubmit, [str(paths.root)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("jobs: 3, complete before: 3, ")
    jobs = json.loads(CliRunner().invoke(status, [str(paths.root), "--json"], catch_exceptions=False).output)["jobs"]
    runs = {(job["fold"], job["repeat"]): job["stage"] for job in jobs if job["arm"]}
    assert runs == {run: "done" if run == (1, 1) else "skipped" for run in RUNS}
    assert paths.comparison("json").read_bytes() == table
    assert paths.report.read_text().partition("</header>")[2].count("done") == page.partition("</header>")[2].count("done")

import subprocess
import sys

import pytest

from hipseg import errors
from hipseg.cli import main as program


def hipseg(*arguments):
    return subprocess.run([sys.executable, "-m", "hipseg", *arguments], capture_output=True, text=True, check=False)


def test_help_names_every_command_and_the_help_of_each_is_its_own():
    shown = hipseg("--help")
    assert shown.returncode == 0
    for name, words in program.COMMANDS.items():
        assert f"\n  {name} " in shown.stdout
        command = program.root.get_command(None, name)
        assert command.get_short_help_str(limit=200).rstrip(".") == words.rstrip("."), name


def test_every_kind_of_error_has_an_exit_code_of_its_own():
    kinds = errors.HipsegError.__subclasses__()
    codes = [kind.exit_code for kind in kinds]
    assert len(kinds) == 8
    assert len({*codes, 0, 1, errors.PARTIAL_EXIT_CODE}) == len(kinds) + 3


def test_a_mistake_of_the_user_ends_in_one_line_and_its_exit_code(tmp_path):
    ended = hipseg("inspect", str(tmp_path / "nowhere"))
    assert ended.returncode == errors.ShardError.exit_code
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: no manifest")


def test_too_little_memory_is_said_in_one_line(monkeypatch, capsys):
    def run_short(_arguments):
        raise MemoryError

    monkeypatch.setattr(program, "run", run_short)
    with pytest.raises(SystemExit) as ended:
        program.main(["inspect"])
    assert ended.value.code == errors.ConfigError.exit_code
    assert capsys.readouterr().err.startswith("error: there is no more memory to be had")


def test_an_unknown_command_is_refused():
    ended = hipseg("segment")
    assert ended.returncode == 2
    assert "No such command 'segment'" in ended.stderr


def test_run_raises_what_main_turns_into_an_exit_code(tmp_path):
    with pytest.raises(errors.ShardError):
        program.run(["inspect", str(tmp_path / "nowhere")])


@pytest.mark.parametrize(("tasks", "offset"), [("1", 0), ("2", errors.OUTRANKING)])
def test_the_mistake_of_one_of_several_ranks_stands_above_the_ends_of_the_others(monkeypatch, tasks, offset):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", tasks)
    codes = {}
    for kind in (errors.ConfigError, errors.Stopped, errors.RankLost, RuntimeError):

        def fail(_arguments, kind=kind):
            raise kind("it failed")

        monkeypatch.setattr(program, "run", fail)
        with pytest.raises(SystemExit) as ending:
            program.main([])
        codes[kind.__name__] = ending.value.code
    assert codes == {"ConfigError": 2 + offset, "Stopped": 75, "RankLost": 76, "RuntimeError": 1 + offset}


def test_a_mistake_of_ours_shows_its_place_and_not_its_words_unless_asked(monkeypatch, capsys):
    def fail(_arguments):
        raise ValueError("Secret^Patient")

    monkeypatch.setattr(program, "run", fail)
    with pytest.raises(SystemExit) as ending:
        program.main([])
    assert ending.value.code == 1
    shown = capsys.readouterr().err
    assert "Secret^Patient" not in shown.replace('raise ValueError("Secret^Patient")', "")
    assert "in fail" in shown
    assert shown.splitlines()[-1].startswith("ValueError: this is a mistake in hipseg; its message is left out")
    monkeypatch.setenv("HIPSEG_DEBUG", "1")
    with pytest.raises(SystemExit):
        program.main([])
    assert capsys.readouterr().err.splitlines()[-1] == "ValueError: Secret^Patient"

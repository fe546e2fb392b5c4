import pytest

from hipseg.launch.private import find_open


@pytest.fixture
def results(tmp_path):
    """Results within the folder of a lab, all its user's own."""
    folder = tmp_path / "lab" / "results"
    folder.mkdir(parents=True)
    for one in (folder, folder.parent):
        one.chmod(0o775)
    return folder


def test_folders_of_a_user_and_of_a_group_are_not_open(results):
    assert find_open(results) is None
    assert find_open(results / "not" / "there") is None


@pytest.mark.parametrize(("mode", "is_open"), [(0o777, True), (0o1777, False), (0o755, False)])
def test_a_folder_that_everybody_may_rename_things_in_is_open(results, mode, is_open):
    results.parent.chmod(mode)
    assert find_open(results) == (results.parent if is_open else None)


def test_the_results_themselves_come_first(results):
    results.chmod(0o777)
    results.parent.chmod(0o777)
    assert find_open(results) == results

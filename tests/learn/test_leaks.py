import dataclasses
import json

import pytest

from hipseg.errors import TrainError
from hipseg.fsio import write_json
from hipseg.learn.leaks import refuse_seen
from hipseg.learn.provenance import list_cases
from hipseg.runs import FoldPaths
from hipseg.splits import Split
from tests.shards.builders import make_manifest, make_record

SPLIT = Split(("c0", "c1"), ("c2",))
FOLDS = dataclasses.replace(make_manifest(*(make_record(f"c{number}", f"p{number}") for number in range(3))), salt_id="one")


def refuse(root, *organs, salt_id="one", window_hu=None):
    """Hold the fold against a pretraining on the given cases, of which the last is held out."""
    organs = [dataclasses.replace(one, window_hu=window_hu) for one in organs]
    manifest = dataclasses.replace(make_manifest(*organs), salt_id=salt_id)
    keys = [one.case for one in organs]
    pretraining = FoldPaths(root)
    write_json(pretraining.cases, list_cases(manifest, Split(tuple(keys[:-1]), (keys[-1],))))
    return refuse_seen(pretraining, FOLDS, SPLIT)


def test_pretraining_on_others_passes(tmp_path):
    assert refuse(tmp_path, make_record("o1", "q1"), make_record("o2", "q2")) == ()


def test_pretraining_on_what_the_fold_only_learns_from_passes(tmp_path):
    refuse(tmp_path, make_record("o1", "p0", image="c0"), make_record("o2", "p1"))


@pytest.mark.parametrize("order", [1, -1], ids=["held out", "learned from"])
def test_patient_of_the_validation_side_is_refused_by_the_case(tmp_path, order):
    organs = [make_record("o1", "q1"), make_record("o2", "p2")][::order]
    with pytest.raises(TrainError, match=r"case c2, .* is of a patient who was seen in pretraining.*; pretrain without it"):
        refuse(tmp_path, *organs)


@pytest.mark.parametrize("salt_id", ["one", "another"])
def test_image_of_the_validation_side_is_refused_whatever_the_salt(tmp_path, salt_id):
    with pytest.raises(TrainError, match=r"case c2, .* has an image that was seen in pretraining"):
        refuse(tmp_path, make_record("o1", "q1", image="c2"), make_record("o2", "q2"), salt_id=salt_id)


def test_equal_keys_under_another_salt_mean_nothing(tmp_path):
    refuse(tmp_path, make_record("o1", "q1"), make_record("o2", "p2"), salt_id="another")


@pytest.mark.parametrize(("salt_id", "window_hu"), [("one", (-200, 1300)), ("another", None), ("another", (-200, 1300))])
def test_it_is_said_where_neither_patients_nor_images_compare(tmp_path, salt_id, window_hu):
    said = refuse(tmp_path, make_record("o1", "q1"), make_record("o2", "q2"), salt_id=salt_id, window_hu=window_hu)
    assert ["neither patients nor images can be compared" in one for one in said] == [True] * bool(salt_id != "one" and window_hu)


def test_nothing_is_said_of_storage_that_an_earlier_version_did_not_tell(tmp_path):
    pretraining = FoldPaths(tmp_path)
    pretraining.cases.write_text(json.dumps({"salt_id": "another", "train": [], "val": []}))
    assert refuse_seen(pretraining, FOLDS, SPLIT) == ()


@pytest.mark.parametrize("value", [[], {}, {"salt_id": "one", "train": [{}], "val": []}])
def test_damaged_list_is_refused(tmp_path, value):
    pretraining = FoldPaths(tmp_path)
    pretraining.cases.write_text(json.dumps(value))
    with pytest.raises(TrainError, match=r"damaged list of the pretraining's cases at .*cases\.json"):
        refuse_seen(pretraining, FOLDS, SPLIT)


def test_missing_list_is_refused(tmp_path):
    with pytest.raises(TrainError, match="no list of the pretraining's cases"):
        refuse_seen(FoldPaths(tmp_path), FOLDS, SPLIT)

"""Results folders for tests: two folds of four cases, small enough to score by hand.

| case | fold | tp fp fn tn in `POOR` | Dice | IoU | accuracy | all background |
| c0 | 0 | 4 0 0 6 | 1 | 1 | 1 | 0.6 |
| c1 | 0 | 1 1 1 7 | 0.5 | 1/3 | 0.8 | 0.8 |
| c2 | 1 | 0 0 2 8 | 0 | 0 | 0.8 | 0.8 |
| c3 | 1 | 0 0 0 10 | undefined | undefined | 1 | 1 |
"""

import errno
import json
import os
from pathlib import Path
from types import MappingProxyType

from hipseg.fsio import digest_file
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts
from hipseg.score.record import write_scores
from tests.score.builders import made_score

POOR = ({"c0": Counts(4, 0, 0, 6), "c1": Counts(1, 1, 1, 7)}, {"c2": Counts(0, 0, 2, 8), "c3": Counts(0, 0, 0, 10)})
PERFECT = ({"c0": Counts(4, 0, 0, 6), "c1": Counts(2, 0, 0, 8)}, {"c2": Counts(2, 0, 0, 8), "c3": Counts(0, 0, 0, 10)})


LABELS = [{"name": "hip", "numbers": [1]}]
VERSIONS = {"python": "3.11.7", "numpy": "2.4.6"}
MODEL = "a" * 64
"""Digest of the pretrained model."""


def describe_case(case, patients):
    """What cases.json holds of a case."""
    return {"case": case, "patient": patients.get(case, f"p{case}"), "image_digest": f"{case:0>64}"}


def write_cases(run, train, val, salt_id="salt", patients=MappingProxyType({})):
    """Write cases.json, and give its digest."""
    value = {"salt_id": salt_id, "train": [describe_case(one, patients) for one in train]}
    value["val"] = [describe_case(one, patients) for one in val]
    run.root.mkdir(parents=True, exist_ok=True)
    run.cases.write_text(json.dumps(value))
    return digest_file(run.cases)


def write_fold(
    root, arm, fold, counts, repeat=0, answers=("raw",), structures=("hip",), train=None, patients=MappingProxyType({}), **facts
):
    """Write a fold; it was trained on the cases of POOR that it does not score, unless `train` says otherwise."""
    run = StudyPaths(root).fold(arm, fold, repeat)
    train = sorted({**POOR[0], **POOR[1]}.keys() - counts.keys()) if train is None else train
    scores = [
        made_score(case, patients.get(case, f"p{case}"), arm, fold, one, repeat=repeat, answer=answer, label=label)
        for case, one in counts.items()
        for label in structures
        for answer in answers
    ]
    write_scores(run.scores, scores)
    own = {
        "arm": arm,
        "fold": fold,
        "repeat": repeat,
        "seed": 7 + repeat,
        "study": f"Study of {arm}",
        "method": "U-Net",
        "cases": len(counts),
        "folds": 2,
        "epochs": 3,
        "val_loss": 0.5,
        "data_digest": "d" * 64,
        "split_digest": "e" * 64,
        "settings_digest": "f" * 64,
        "code_digest": "c" * 64,
        "versions": VERSIONS,
        "labels": LABELS,
        "clean": {"smallest_part_ml": 1.0} if "cleaned" in answers else None,
        "pretraining": {"model_digest": MODEL} if arm.endswith("-tl") else None,
        "scores_digest": digest_file(run.scores),
        "cases_digest": write_cases(run, train, counts, patients=patients),
    }
    run.summary.write_text(json.dumps({"hipseg": own | facts}))
    return run


def write_results(root):
    """Two arms on two folds: `unet` with POOR, `modified-unet-tl` with PERFECT, and a pretraining run."""
    for fold, (poor, perfect) in enumerate(zip(POOR, PERFECT, strict=True)):
        write_fold(root, "unet", fold, poor, study="[18]", val_loss=(0.25, 0.75)[fold])
        write_fold(root, "modified-unet-tl", fold, perfect, study="This study (with TL)", val_loss=(0.01, 0.03)[fold])
    write_pretraining(root)


def write_pretraining(root, train=("x0", "x1"), val=("x2",), model_digest=MODEL, organs=None, **names):
    """Write a pretraining run; `organs` gives the counts of each organ in each held-out case, in the order of `val`."""
    run = StudyPaths(root).pretraining
    digest = write_cases(run, train, val, **names)
    run.history.write_text("epoch\n1\n")
    summary = {"model_digest": model_digest, "cases_digest": digest}
    if organs is not None:
        lines = [
            made_score(case, f"p{case}", "pretraining", 0, counts[place], label=organ)
            for place, case in enumerate(val)
            for organ, counts in organs.items()
        ]
        write_scores(run.scores, lines)
        summary |= {"organs": {organ: {} for organ in organs}, "scores_digest": digest_file(run.scores)}
    run.summary.write_text(json.dumps(summary))
    return run


def forbid(monkeypatch, folder):
    """Make a folder somebody else's, who lets nobody in; a real one would not keep root out."""

    def refuse(act):
        def guarded(path, *arguments, **options):
            if folder in path.parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return act(path, *arguments, **options)

        return guarded

    for name in ("stat", "open"):
        monkeypatch.setattr(Path, name, refuse(getattr(Path, name)))

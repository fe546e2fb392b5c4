"""Results folders for tests: two folds of four cases, small enough to score by hand.

| case | fold | tp fp fn tn in `POOR` | Dice | IoU | accuracy | all background |
| c0 | 0 | 4 0 0 6 | 1 | 1 | 1 | 0.6 |
| c1 | 0 | 1 1 1 7 | 0.5 | 1/3 | 0.8 | 0.8 |
| c2 | 1 | 0 0 2 8 | 0 | 0 | 0.8 | 0.8 |
| c3 | 1 | 0 0 0 10 | undefined | undefined | 1 | 1 |
"""

import json

from hipseg.fsio import digest_file
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts
from hipseg.score.record import write_scores
from tests.score.builders import made_score

POOR = ({"c0": Counts(4, 0, 0, 6), "c1": Counts(1, 1, 1, 7)}, {"c2": Counts(0, 0, 2, 8), "c3": Counts(0, 0, 0, 10)})
PERFECT = ({"c0": Counts(4, 0, 0, 6), "c1": Counts(2, 0, 0, 8)}, {"c2": Counts(2, 0, 0, 8), "c3": Counts(0, 0, 0, 10)})


def write_fold(root, arm, fold, counts, **facts):
    run = StudyPaths(root).fold(arm, fold)
    write_scores(run.scores, [made_score(case, f"p{case}", arm, fold, one) for case, one in counts.items()])
    own = {
        "arm": arm,
        "fold": fold,
        "study": f"Study of {arm}",
        "method": "U-Net",
        "cases": len(counts),
        "folds": 2,
        "epochs": 3,
        "val_loss": 0.5,
        "data_digest": "d" * 64,
        "split_digest": "e" * 64,
        "scores_digest": digest_file(run.scores),
    }
    run.summary.write_text(json.dumps({"hipseg": own | facts}))
    return run


def write_results(root):
    """Two arms on two folds: `unet` with POOR, `modified-unet-tl` with PERFECT, and a pretraining run."""
    for fold, (poor, perfect) in enumerate(zip(POOR, PERFECT, strict=True)):
        write_fold(root, "unet", fold, poor, study="[18]", val_loss=(0.25, 0.75)[fold])
        write_fold(root, "modified-unet-tl", fold, perfect, study="This study (with TL)", val_loss=(0.01, 0.03)[fold])
    pretraining = StudyPaths(root).pretraining
    pretraining.root.mkdir(parents=True)
    pretraining.history.write_text("epoch\n1\n")

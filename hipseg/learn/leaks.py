"""What a network saw in pretraining it must not be validated with: looked for before a fold is trained, not after."""

from hipseg.errors import TrainError
from hipseg.fsio import read_json
from hipseg.runs import FoldPaths
from hipseg.shards.manifest import Manifest
from hipseg.splits import Split


def refuse_seen(pretraining: FoldPaths, manifest: Manifest, split: Split) -> None:
    """Refuse a fold whose validation cases the network has seen in pretraining, to learn from or to choose the epoch by.

    Keys of patients compare only under one salt; images compare always, if both data sets store them alike.

    Args:
        pretraining: that the fold starts from.
        manifest: of the fold's data set.
        split: the two sides of the fold.
    Raises:
        TrainError: a patient or an image is in both, or the list of the pretraining's cases is missing or damaged.
    """
    cases = read_json(pretraining.cases, TrainError, "list of the pretraining's cases")
    try:
        seen = [*cases["train"], *cases["val"]]
        patients = {one["patient"] for one in seen} if cases["salt_id"] == manifest.salt_id else set()
        images = {one["image_digest"] for one in seen}
    except (KeyError, TypeError) as error:
        raise TrainError(
            f"damaged list of the pretraining's cases at {pretraining.cases}; run `hipseg pretrain` again"
        ) from error
    for record in map(manifest.record, split.val):
        if record.patient in patients or record.image_digest in images:
            what = "is of a patient who" if record.patient in patients else "has an image that"
            raise TrainError(
                f"case {record.case}, with which the fold is validated, {what} was seen in pretraining, so that its score would "
                "flatter; pretrain without it"
            )

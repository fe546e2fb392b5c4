"""What a network saw in pretraining it must not be validated with: looked for before a fold is trained, not after."""

from hipseg.errors import TrainError
from hipseg.fsio import read_json
from hipseg.learn.provenance import WINDOWS
from hipseg.learn.transfer import REMEDY
from hipseg.runs import FoldPaths
from hipseg.shards.manifest import Manifest
from hipseg.splits import Split

BLIND = (
    "the data of pretraining has another salt and is stored otherwise than that of the folds, so that neither patients nor images"
    " can be compared: whether it has seen what the fold is validated with cannot be told"
)


def refuse_seen(pretraining: FoldPaths, manifest: Manifest, split: Split) -> tuple[str, ...]:
    """Refuse a fold whose validation cases the network has seen in pretraining, to learn from or to choose the epoch by.

    Keys of patients compare only under one salt, and digests of images only if both data sets store them alike.

    Args:
        pretraining: that the fold starts from.
        manifest: of the fold's data set.
        split: the two sides of the fold.
    Returns:
        A sentence where nothing could be compared, as far as that is known.
    Raises:
        TrainError: a patient or an image is in both, or the list of the pretraining's cases is missing or damaged.
    """
    cases = read_json(pretraining.cases, TrainError, "list of the pretraining's cases")
    held_out = manifest.records(split.val)
    try:
        seen = [*cases["train"], *cases["val"]]
        has_same_salt = cases["salt_id"] == manifest.salt_id
        patients = {one["patient"] for one in seen} if has_same_salt else set()
        images = {one["image_digest"] for one in seen}
        # Earlier versions did not tell how images are stored.
        windows = {window and tuple(window) for window in cases[WINDOWS]} if WINDOWS in cases else None
    except (KeyError, TypeError) as error:
        raise TrainError(f"damaged list of the pretraining's cases at {pretraining.cases}; {REMEDY}") from error
    for record in held_out:
        if record.patient in patients or record.image_digest in images:
            what = "is of a patient who" if record.patient in patients else "has an image that"
            raise TrainError(
                f"case {record.case}, with which the fold is validated, {what} was seen in pretraining, so that its score would "
                "flatter; pretrain without it"
            )
    is_blind = not has_same_salt and windows is not None and windows.isdisjoint(record.window_hu for record in held_out)
    return (BLIND,) if is_blind else ()

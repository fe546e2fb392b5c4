"""What a mask file says it was drawn on, held against the series that takes it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hipseg.ingest.headers import ImageHeader


@dataclass(frozen=True, repr=False)
class References:
    """What an RTSTRUCT or SEG file says it was drawn on, as identifiers; any of them may be empty.

    `listed_frame_uids` are the frames of reference that it lists; `frame_uids` adds those that single structures name.
    `patient_id` and `study_uid` are the file's own.
    """

    series_uids: frozenset[str]
    image_uids: frozenset[str]
    listed_frame_uids: frozenset[str]
    frame_uids: frozenset[str]
    patient_id: str
    study_uid: str

    def name_another_frame(self, headers: Sequence[ImageHeader]) -> bool:
        """Say whether frames of reference are named, and that of a series is none of them."""
        frame_uids = {header.frame_uid for header in headers} - {""}
        return bool(frame_uids and self.frame_uids) and frame_uids.isdisjoint(self.frame_uids)

    def name_another_series(self, headers: Sequence[ImageHeader]) -> bool:
        """Say whether series or images are named, and neither a series nor one of its images is among them."""
        if not self.series_uids and not self.image_uids:
            return False
        is_named = any(header.series_uid in self.series_uids for header in headers)
        return not (is_named or any(header.instance_uid in self.image_uids for header in headers))

    def warnings(self, headers: Sequence[ImageHeader]) -> Iterator[str]:
        """Say in sentences what of this leads elsewhere than to the series that takes the file."""
        if self.name_another_series(headers):
            yield (
                "a mask file names another series, and is taken by its frame of reference: check that what it shows lies there "
                "in this one, too"
            )
        # Real exports give the structures of a series that they name another frame, as after a copy from another system.
        if self.name_another_frame(headers):
            yield (
                "an RTSTRUCT file names the series or its images, and another frame of reference; its points are taken in the "
                "series' own"
            )


def drop_empty(uids: Iterable[str]) -> frozenset[str]:
    """Give the identifiers that say something."""
    return frozenset(uids) - {""}

"""Identifiers of the phantom's patients, studies, series and images: made up, and the same each time."""

import uuid
from dataclasses import dataclass

from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.patients import Patient

FIXED_DATE, FIXED_TIME = "20200102", "030405"
"""No clock enters the files, so that the same seed gives the same bytes."""
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "hipseg phantom")


@dataclass(frozen=True)
class Identity:
    """Names one patient and everything that was scanned of it.

    Args:
        patient: whose.
        options: two data sets that differ in any option share no identifier.
    """

    patient: Patient
    options: PhantomOptions

    @property
    def patient_id(self) -> str:
        """The fictitious patient identifier, which is the patient's folder as well.

        Trunks and hips are of different patients: a study that pretrains on the one and tests on the other has no patient twice.
        """
        return f"PHANTOM-{'TRUNK-' if self.options.organs else ''}{self.patient.number:04d}"

    def uid(self, *parts: object) -> str:
        """Give the identifier of one thing of this patient.

        Source: DICOM PS3.5 B.2 (an identifier under 2.25 from a UUID); RFC 9562 5.5 (a UUID from a name).
        """
        return make_uid(self.options, self.patient_id, *parts)


def make_uid(*parts: object) -> str:
    """Give the identifier that belongs to a list of names, always the same."""
    return f"2.25.{uuid.uuid5(NAMESPACE, '/'.join(str(part) for part in parts)).int}"

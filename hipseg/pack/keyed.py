"""Found cases under their keys, of which a few bytes each are in memory."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import SeriesError
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.pack.keys import CASE_MARK, KEY_DIGITS, case_key, patient_key
from hipseg.pack.plan import Part

KEY = re.compile(rf"{CASE_MARK}[0-9a-f]{{{KEY_DIGITS}}}")
NUMBER_BASE = 16


@dataclass(frozen=True, slots=True, repr=False)
class KeyedCase:
    """A found case with its keys. Private, so it has no repr that a log could show."""

    case: str
    patient: str
    source: SourceCase


class CaseKeys(Collection[str]):
    """Case keys by rising key, in 8 bytes each: their digits are a number."""

    def __init__(self, numbers: NDArray[np.uint64]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        return (_key_of(int(number)) for number in self.numbers)

    def __contains__(self, case: object) -> bool:
        if not isinstance(case, str) or not KEY.fullmatch(case):
            return False
        number = np.uint64(_number_of(case))
        place = int(np.searchsorted(self.numbers, number))
        return place < len(self.numbers) and bool(self.numbers[place] == number)


class KeyedCases(Sequence[KeyedCase]):
    """Cases by rising key, each made when it is asked for.

    Args:
        sources: all cases that were found.
        salt: of the keys.
        keys: of those that are meant.
        order: the number of each among `sources`.
    """

    def __init__(self, sources: Sequence[SourceCase], salt: bytes, keys: CaseKeys, order: NDArray[np.int64]) -> None:
        self.keys = keys
        self._sources, self._salt, self._order = sources, salt, order

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> KeyedCase: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[KeyedCase]: ...
    def __getitem__(self, index: int | slice) -> KeyedCase | Sequence[KeyedCase]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        source = self._sources[int(self._order[index])]
        return KeyedCase(_key_of(int(self.keys.numbers[index])), patient_key(self._salt, source.patient_id), source)

    def of_part(self, part: Part) -> Self:
        """Give the cases of one part."""
        is_mine = np.fromiter(map(part.has, self.keys), np.bool_, len(self))
        return type(self)(self._sources, self._salt, CaseKeys(self.keys.numbers[is_mine]), self._order[is_mine])


def key_cases(found: FoundCases, salt: bytes) -> KeyedCases:
    """Give every found case its keys.

    Raises:
        SeriesError: two cases share a key.
    """
    numbers = np.fromiter(_number_cases(found.cases, salt), np.uint64, len(found.cases))
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    for number in numbers[1:][numbers[1:] == numbers[:-1]][:1]:
        raise SeriesError(
            f"two series have the case key {_key_of(int(number))}; give one of them its own series UID, or pack them apart"
        )
    return KeyedCases(found.cases, salt, CaseKeys(numbers), order)


def _number_cases(cases: Iterable[SourceCase], salt: bytes) -> Iterator[int]:
    return (_number_of(case_key(salt, one.patient_id, one.series_uid)) for one in cases)


def _number_of(case: str) -> int:
    return int(case.removeprefix(CASE_MARK), NUMBER_BASE)


def _key_of(number: int) -> str:
    return f"{CASE_MARK}{number:0{KEY_DIGITS}x}"

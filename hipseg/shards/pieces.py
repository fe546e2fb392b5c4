"""The text of a manifest taken apart into its cases, line by line as it was written, so that it is never in memory whole."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

BLOCK_BYTES = 1 << 20
BEGIN, END, LAST = b"  {\n", b"  },\n", b"  }\n"
"""Lines between which a case stands, and the second one after the last of a list."""
CLOSINGS = (b" ],\n", b" ]\n")


class OtherFormError(ValueError):
    """A text is not of the form in which manifests are written."""


class Pieces:
    """A text that is read on from list to list, in the order in which they stand; each item of a list is given by itself."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = iter(file)
        self._frame: list[bytes] = []

    def items(self, name: str) -> Iterator[Any]:
        """Read on to a list and through it.

        Raises:
            ValueError: it is no JSON, or of another form.
        """
        begin = f' "{name}": ['.encode()
        for line in self._lines:
            self._frame.append(line)
            if line.startswith(begin):
                if line == begin + b"\n":
                    yield from self._through()
                return
        raise OtherFormError(name)

    def rest(self) -> Any:
        """Read to the end, and give the whole without the items that were given.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(b"".join((*self._frame, *self._lines)))

    def _through(self) -> Iterator[Any]:
        last = END
        while last == END:
            if next(self._lines, b"") != BEGIN:
                raise OtherFormError
            item = [BEGIN]
            while (last := next(self._lines, b"")) not in (END, LAST):
                if not last:
                    raise OtherFormError
                item.append(last)
            yield json.loads(b"".join((*item, b"}")))
        closing = next(self._lines, b"")
        if closing not in CLOSINGS:
            raise OtherFormError
        self._frame.append(closing)


def read_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Give a file from its begin, many lines at a time."""
    file.seek(0)
    while lines := file.readlines(BLOCK_BYTES):
        yield b"".join(lines)


def digest_without(file: BinaryIO, removed: bytes, substitute: bytes) -> str:
    """Give the SHA-256 of a file with other bytes in the place of some that stand within a line."""
    digest = hashlib.sha256()
    for block in read_blocks(file):
        digest.update(block.replace(removed, substitute))
    return digest.hexdigest()

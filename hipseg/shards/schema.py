"""JSON values checked against the types of dataclasses. pydantic, which checks, is loaded when something is read."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Read = TypeVar("Read")
WindowHu = tuple[int, int]
"""Lowest and highest HU that are kept, for an image stored as uint8."""


class Limits:
    """What a value must keep to, beside its type; to stand in `Annotated`.

    pydantic's own `Field` would have it loaded wherever a type is written down, and a packing, which writes and reads nothing
    back, would start a tenth later.

    Args:
        limits: `pattern` of a text; `gt`, `ge`, `le` of a number; `min_length` of a list.
    """

    def __init__(self, **limits: Any) -> None:
        self._limits = limits

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Add the limits to what pydantic checks of the type. Source: pydantic, Concepts, Types, customizing validation."""
        return {**handler(source), **self._limits}


def read_as(kind: type[Read], value: Any) -> Read:
    """Turn a JSON value into a dataclass.

    Args:
        kind: the dataclass, whose types may hold `Limits`.
        value: JSON.
    Raises:
        ValueError: the value is no such thing; the message says where in it and what is wrong.
        ConfigError: as the dataclass itself raises it.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - see `Limits`

    adapter: TypeAdapter[Read] = _adapter(kind)  # type: ignore[arg-type]  # a type variable's class as a key
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from error


@cache
def _adapter(kind: type[Any]) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter  # noqa: PLC0415 - see `Limits`

    return TypeAdapter(kind)

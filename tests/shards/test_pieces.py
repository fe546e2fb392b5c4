import hashlib
import io
import json

import pytest

from hipseg.shards.pieces import Pieces, digest_without, read_blocks

VALUE = {
    "cases": [{"case": "c1", "deep": [{"a": ["  {", "  },"]}, {}]}, {"case": "c2"}],
    "format": "f",
    "refusals": [{"case": "c3"}],
    "zero": {"cases": [{}], "refusals": []},
}


def write(value):
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def take_apart(text):
    """Give what the two lists hold, and the rest."""
    pieces = Pieces(io.BytesIO(text))
    return list(pieces.items("cases")), list(pieces.items("refusals")), pieces.rest()


@pytest.mark.parametrize("cases", [0, 1, 2])
@pytest.mark.parametrize("refusals", [0, 1])
def test_the_items_of_both_lists_are_given_one_by_one(cases, refusals):
    value = {**VALUE, "cases": VALUE["cases"][:cases], "refusals": VALUE["refusals"][:refusals]}
    assert take_apart(write(value)) == (value["cases"], value["refusals"], {**value, "cases": [], "refusals": []})


@pytest.mark.parametrize("text", [json.dumps(VALUE).encode(), json.dumps(VALUE, indent=2).encode(), b"", b"[]", b"\xff\xfe"])
def test_a_text_of_another_form_is_told(text):
    with pytest.raises(ValueError):
        take_apart(text)


def test_a_text_that_lacks_a_line_is_told_or_means_the_same_without_it():
    lines = write(VALUE).splitlines(keepends=True)
    for number in range(len(lines)):
        text = b"".join(lines[:number] + lines[number + 1 :])
        try:
            value = json.loads(text)
        except ValueError:
            with pytest.raises(ValueError):
                take_apart(text)
            continue
        cases, refusals, rest = take_apart(text)
        assert {**rest, "cases": cases, "refusals": refusals} == value


def test_a_file_is_given_whole_in_blocks_of_lines(monkeypatch):
    monkeypatch.setattr("hipseg.shards.pieces.BLOCK_BYTES", 20)
    text = write(VALUE)
    blocks = list(read_blocks(io.BytesIO(text)))
    assert b"".join(blocks) == text
    assert len(blocks) > 5
    assert all(block.endswith(b"\n") for block in blocks)
    changed = hashlib.sha256(text.replace(b'"c3"', b'"c4"')).hexdigest()
    assert digest_without(io.BytesIO(text), b'"c3"', b'"c4"') == changed

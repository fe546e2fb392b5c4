"""What docs/metrics.md names, part by part."""

import re

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")


def named(heading):
    """Give what stands in backticks under a heading."""
    (part,) = (part for part in PAGE.split("\n## ") if part.startswith(heading))
    return set(re.findall(r"`([^`]+)`", part))

"""The generated parts of the pages under docs/."""

from __future__ import annotations

import pytest

from workflow.docs import DOCS, PART, PARTS, current

PAGES = sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_what_is_generated_is_current(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert current(text) == text, "run `make docs`"
    assert text.count("<!-- generated: ") == len(PART.findall(text)), "a part has no end"


def test_every_part_stands_in_a_page() -> None:
    pages = [(DOCS / name).read_text(encoding="utf-8") for name in PAGES]
    assert {part[1] for text in pages for part in PART.findall(text)} == set(PARTS)

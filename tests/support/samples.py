"""Samples made by hand."""

from __future__ import annotations

from typing import Any

from vovnet.core.records import Sample


def make_sample(name: str = "1", **values: Any) -> Sample:
    """A sample with these values, and plain ones in all other fields."""
    plain = {"dataset": "toy", "split": "dev", "question": "what?", "images": []}
    kind = "multiple-choice" if values.get("choices") else "vqa"
    return Sample.model_validate(plain | {"id": name, "question_type": kind} | values)

"""MMBench: the option that a text chooses.

Source: VLMEvalKit, `can_infer` of vlmeval/utils/matching_util.py, commit e8e78f0. A text for
which it infers no option is read once more by `choice_named`; one that is still unclear scores 0.
"""

import re
from collections.abc import Mapping

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer, choice_named

REFUSED = "Z"
"""VLMEvalKit's letter for a model that declined to choose."""

SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
NUM_LAST_WORDS = 4
"""A letter counts only among so many words at the end of the text."""


def score(sample: Sample, text: str) -> Score:
    """1 where the inferred option is the gold one; a text without an option scores 0."""
    letter = infer_choice(text, sample.choices) or choice_named(text, sample.choices)
    return Score(float(letter == sample.answer), letter is None or letter == REFUSED, letter or "")


def infer_choice(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a text chooses, `Z` for a refusal, None where nothing can be inferred."""
    return _inferred_letter(text, choices) or _inferred_text(text, choices)


def _inferred_letter(text: str, choices: Mapping[str, str]) -> str | None:
    if "Failed to obtain answer via API" in text:
        return None
    if any(refusal in text for refusal in REFUSALS):
        return REFUSED
    words = text.translate(SEPARATORS).split()
    present = [letter for letter in choices if letter in words]
    if len(present) == 1:
        letter = present[0]
        quantifier = letter == "A" and len(words) > NUM_LAST_WORDS - 1
        if not quantifier and words.index(letter) >= len(words) - NUM_LAST_WORDS:
            return letter
    elif not present and REFUSED in words:
        return REFUSED
    stated = re.search(r"answer is ([A-Z])\b", " ".join(words))
    return stated[1] if stated and stated[1] in choices else None


def _inferred_text(text: str, choices: Mapping[str, str]) -> str | None:
    """The one option that the text contains, unless it is twice as long as all options."""
    lowered = text.lower()
    options = {letter: option.lower() for letter, option in choices.items()}
    if len(lowered) > 2 * sum(map(len, options.values())):
        return None
    letters = [letter for letter, option in options.items() if option in lowered]
    return letters[0] if len(letters) == 1 else None


SCORER = Scorer(
    score, "VLMEvalKit's option inference; with `passes: all` every circular pass must be right"
)

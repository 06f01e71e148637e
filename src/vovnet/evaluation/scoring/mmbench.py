"""MMBench: the option that a text chooses, as `can_infer` of VLMEvalKit infers it.

VLMEvalKit asks a language model about a text for which nothing can be inferred. Its mode without
one (`exact_matching`) counts the text as wrong, and so does this scorer.
"""

import re
from collections.abc import Mapping

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer

REFUSED = "Z"
"""VLMEvalKit's letter for a model that declined to choose."""

SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
NO_ANSWER = "Failed to obtain answer via API"
NUM_LAST_WORDS = 4
"""A letter counts only among so many words at the end of the text."""

STATED = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)
"""The first letter after these words counts, even where a longer word begins with it."""


def score(sample: Sample, text: str) -> Score:
    """1 where the inferred option is the gold one; a text without an option scores 0."""
    letter = infer_choice(text, sample.choices)
    return Score(float(letter == sample.answer), letter in (None, REFUSED), letter or "")


def infer_choice(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a text chooses, `Z` for a refusal, None where nothing can be inferred."""
    return _inferred_letter(text, choices) or _inferred_text(text, choices)


def _inferred_letter(text: str, choices: Mapping[str, str]) -> str | None:
    """The one letter among the last words, or else the letter after "answer is"."""
    if NO_ANSWER in text:
        return None
    if any(refusal in text for refusal in REFUSALS):
        return REFUSED
    words = text.translate(SEPARATORS).split()
    letters = [letter for letter in choices if letter in words]
    if len(letters) == 1 and words.index(letters[0]) >= len(words) - NUM_LAST_WORDS:
        return letters[0]
    if not letters and REFUSED in words:
        return REFUSED
    stated = STATED.search(text)
    letter = stated[1].upper() if stated else None
    return letter if letter in choices else None


def _inferred_text(text: str, choices: Mapping[str, str]) -> str | None:
    """The one option that the text contains, unless it is twice as long as all options."""
    lowered = text.lower()
    if len(lowered) > 2 * sum(map(len, choices.values())):
        return None
    letters = [letter for letter, option in choices.items() if option.lower() in lowered]
    return letters[0] if len(letters) == 1 else None


SCORER = Scorer(
    score,
    title="VLMEvalKit's option inference; with `passes: all` every circular pass must be right",
    follows="open-compass/VLMEvalKit, vlmeval/utils/matching_util.py, commit e8e78f0",
)

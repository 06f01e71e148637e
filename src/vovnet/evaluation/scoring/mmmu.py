"""MMMU: the option or the open answer that a text gives.

Where the official code would draw an option at random, the sample's id decides.
"""

import re
from collections.abc import Iterable, Mapping

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer, guessed_choice

STRIPPED = (",", ".", "!", "?", ";", ":", "'")
INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
LAST_INDICATOR = "="
"""Counts in the last sentence only."""

FEW_WORDS = 5
"""In a text of no more words than these, an option's text does not count."""

WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
PLAIN = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")

Value = str | float


def score(sample: Sample, text: str) -> Score:
    """1 where the answer is right. A text that names no option counts as a guess by id."""
    if not sample.choices:
        predictions = parse_open(text)
        right = open_is_right(predictions, sample.answers or [sample.answer])
        return Score(float(right), False, " | ".join(sorted(map(str, predictions))))
    return choice_score(sample, parse_choice(text, sample.choices))


def choice_score(sample: Sample, letter: str | None) -> Score:
    """The score of a choice that was read, or of a guess by the sample's id."""
    choice = letter or guessed_choice(sample)
    return Score(float(choice == sample.answer), letter is None, choice)


def parse_choice(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a text chooses; None where the official code picks one at random."""
    text = set_apart(text)
    return (
        last_named(text, choices, "({})")
        or last_named(text, choices, " {} ")
        or last_text(text, choices)
    )


def set_apart(text: str) -> str:
    """The text between spaces, without marks at its ends."""
    for mark in STRIPPED:
        text = text.strip(mark)
    return f" {text} "


def last_named(
    text: str, choices: Iterable[str], form: str, placed_by: str | None = None
) -> str | None:
    """Of the letters that stand in the text in this form, the one that does so last.

    `placed_by` is the form by which places are compared, where it is another. A letter that never
    stands in that form is placed first, and among equals the first letter wins.
    """
    named = [letter for letter in choices if form.format(letter) in text]
    by = placed_by or form
    return max(named, key=lambda letter: text.rfind(by.format(letter)), default=None)


def last_text(text: str, choices: Mapping[str, str]) -> str | None:
    """The option whose text comes last in a text of more than five words."""
    if len(text.split()) <= FEW_WORDS:
        return None
    lowered = text.lower()
    options = {letter: option.lower() for letter, option in choices.items()}
    named = [letter for letter, option in options.items() if option in lowered]
    return max(named, key=lambda letter: lowered.rfind(options[letter]), default=None)


def parse_open(text: str) -> set[Value]:
    """Normalised candidates of an open answer: texts, and numbers rounded to two places."""
    candidates = _key_parts(text)
    forms = (WITH_COMMAS, SCIENTIFIC, PLAIN)
    numbers = [number for part in candidates for form in forms for number in form.findall(part)]
    return {value for part in [*candidates, *numbers] for value in normalised(part)}


def open_is_right(predictions: Iterable[Value], gold: Iterable[str]) -> bool:
    """Whether a gold text lies in a predicted text, or a number is equal."""
    accepted = [value for text in gold for value in normalised(text)]
    texts = [value for value in accepted if isinstance(value, str)]
    for prediction in predictions:
        if isinstance(prediction, str):
            if any(text in prediction for text in texts):
                return True
        elif prediction in accepted:
            return True
    return False


def normalised(text: str) -> list[Value]:
    """A number, or the text in lower case; a single character with a space before or after."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        pass
    text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def _key_parts(text: str) -> list[str]:
    """The shortest tail after an indicator, per sentence; the whole text where there is none."""
    text = text.strip().strip(".").lower()
    sentences = re.split(r"\.\s(?=[A-Z])|\n", text)
    parts = []
    for number, sentence in enumerate(sentences, start=1):
        last = (LAST_INDICATOR,) if number == len(sentences) else ()
        tails = [
            sentence.split(indicator)[-1].strip()
            for indicator in (*INDICATORS, *last)
            if indicator in sentence
        ]
        shortest = ""
        for tail in tails:
            if not shortest or len(tail) < len(shortest):
                shortest = tail
        if shortest and shortest not in STRIPPED:
            parts.append(shortest)
    return parts or [text]


SCORER = Scorer(
    score,
    title="the official parsers of MMMU; a guess by the question's id where they would draw one",
    follows="MMMU-Benchmark/MMMU, mmmu/utils/eval_utils.py, commit bb0b95a",
)

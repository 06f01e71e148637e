"""MMMU: the option or the open answer that a text gives.

Source: MMMU-Benchmark/MMMU, mmmu/utils/eval_utils.py, commit bb0b95a. Where that code would draw
an option at random, the sample's id decides.
"""

import re
from collections.abc import Iterable, Mapping

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer, choice_named, guessed_choice

STRIPPED = (",", ".", "!", "?", ";", ":", "'")
INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
LAST_INDICATOR = "="
"""Counts in the last sentence only."""

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
    letter = parse_choice(text, sample.choices) or choice_named(text, sample.choices)
    choice = letter or guessed_choice(sample)
    return Score(float(choice == sample.answer), letter is None, choice)


def parse_choice(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter that a text chooses; None where the official code picks one at random."""
    for mark in STRIPPED:
        text = text.strip(mark)
    text = f" {text} "
    for form in ("({})", " {} "):
        places = {letter: text.rfind(form.format(letter)) for letter in choices}
        if last := _last(places):
            return last
    if len(text.split()) <= 5:
        return None
    lowered = text.lower()
    return _last({letter: lowered.rfind(option.lower()) for letter, option in choices.items()})


def _last(places: Mapping[str, int]) -> str | None:
    """The letter with the last place in the text; a negative place means that it is not there."""
    there = {letter: place for letter, place in places.items() if place >= 0}
    return max(there, key=there.__getitem__) if there else None


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


SCORER = Scorer(score, "the official parsers of MMMU")

"""TextVQA: VQA accuracy over ten human answers, as mmf's `TextVQAAccuracyEvaluator` counts it.

What looks like a slip there is kept, so that scores agree to the last digit.
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from vovnet.core.records import Sample
from vovnet.evaluation.scoring.base import Score, Scorer

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBER_WORDS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBERS)}
ARTICLES = frozenset({"a", "an", "the"})
PUNCTUATION = tuple(';/[]"{}()=+\\_-><@`,?!')
PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
COMMA_IN_NUMBER = re.compile(r"(?<=\d)(\,)+(?=\d)")
MOST_PERIODS = 32
"""The evaluator passes a flag where the count belongs, so it drops no more than these."""

NEEDED = 3
"""Other people who must agree for full marks."""


def score(sample: Sample, text: str) -> Score:
    """VQA accuracy: the leave-one-out mean of min(1, agreeing answers / 3)."""
    answer = normalise(text)
    gold = [normalise(human) for human in sample.answers or [sample.answer]]
    return Score(vqa_accuracy(answer, gold), False, answer)


def vqa_accuracy(answer: str, gold: Sequence[str]) -> float:
    """Of normalised texts: the mean over the people of min(1, agreement of the others / 3)."""
    agreeing = Counter(gold)[answer]
    if not agreeing:
        return 0.0
    without_one = min(1.0, (agreeing - 1) / NEEDED)
    with_all = min(1.0, agreeing / NEEDED)
    return (agreeing * without_one + (len(gold) - agreeing) * with_all) / len(gold)


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """Lower case; punctuation, number words, articles, contractions as the evaluator has them."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    words = _without_punctuation(text).lower().split()
    words = [NUMBER_WORDS.get(word, word) for word in words]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def _without_punctuation(text: str) -> str:
    """A mark beside a space vanishes everywhere, any other becomes a space."""
    joined = text
    comma_in_number = COMMA_IN_NUMBER.search(text) is not None
    for mark in PUNCTUATION:
        at_word_end = f"{mark} " in text or f" {mark}" in text
        joined = joined.replace(mark, "" if at_word_end or comma_in_number else " ")
    return PERIOD.sub("", joined, count=MOST_PERIODS)


_WITH_APOSTROPHE = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am
mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't
she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd
there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll
who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've
you'd you'd've you'll you're you've
"""
"""Words that get an apostrophe back where one of theirs is missing, but not where two are."""

_AS_THEY_ARE = {"let's": "let's", "she's": "she's", "somebody'd": "somebodyd"}
"""The evaluator's table has these the wrong way round."""


def _contractions() -> dict[str, str]:
    table = dict(_AS_THEY_ARE)
    for word in _WITH_APOSTROPHE.split():
        for place, letter in enumerate(word):
            if letter == "'":
                table[word[:place] + word[place + 1 :]] = word
    return table


CONTRACTIONS = _contractions()

SCORER = Scorer(
    score,
    title="VQA accuracy of the M4C evaluator",
    follows="facebookresearch/mmf, mmf/utils/m4c_evaluators.py, commit b0ffc7f",
)

"""Scorers of single benchmarks: golden values by hand, and what holds for any text."""

from __future__ import annotations

import pytest

from support.properties import given, st
from support.samples import make_sample
from vovnet.evaluation.scoring import load_scorer
from vovnet.evaluation.scoring.anls import distance, similarity

TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Z"]), max_size=12)


def value(scorer: str, text: str, *gold: str, category: str = "") -> float:
    sample = make_sample(
        question_type="open", answer=gold[0], answers=list(gold), category=category
    )
    return load_scorer(scorer).score(sample, text).value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no, there is not", "no"),
        ("There is not a dog", "no"),
        ("NO", "yes"),  # only three spellings count
        ("Yes. No dog is there", "yes"),  # the first sentence alone
        ("No,really", "yes"),  # words end at spaces
        ("", "yes"),
        ("none", "yes"),
    ],
)
def test_pope_reads_yes_or_no(text: str, said: str) -> None:
    assert value("pope", text, said) == 1
    assert value("pope", text, said.title()) == 1
    assert value("pope", text, "no" if said == "yes" else "yes") == 0


@pytest.mark.parametrize(
    ("text", "gold", "relaxed", "exact_years"),
    [
        ("Red", "red", 1, 1),
        ("red ", "red", 1, 1),
        ("reds", "red", 0, 0),
        ("104.9", "100", 1, 1),
        ("105", "100", 1, 1),
        ("105.1", "100", 0, 0),
        ("50%", "0.5", 1, 1),
        ("0.5", "50%", 1, 1),
        ("0", "0", 1, 1),
        ("0.0", "0", 0, 0),  # zero has no twentieth, and is compared as a text
        ("1950", "2010", 1, 0),  # any year is near
        ("2010", "2010", 1, 1),
        ("2010.0", "2010", 1, 0),
        ("1,000", "1000", 0, 0),
        ("1e3", "1000", 1, 1),
    ],
)
def test_chartqa_is_relaxed_and_may_ask_for_years(
    text: str, gold: str, relaxed: float, exact_years: float
) -> None:
    assert value("chartqa", text, gold) == relaxed
    assert value("chartqa_years", text, gold) == exact_years


@pytest.mark.parametrize(
    ("text", "gold", "score"),
    [
        ("Hello", ("hello",), 1.0),
        ("  hello   World ", ("Hello world",), 1.0),
        ("hell", ("hello",), 0.8),
        ("hxxxo", ("hello",), 0.0),  # 0.4 is less than one half
        ("ab", ("ax",), 0.5),
        ("abcd", ("xxxx", "abce"), 0.75),
        ("", ("a",), 0.0),
    ],
)
def test_anls_by_hand(text: str, gold: tuple[str, ...], score: float) -> None:
    assert value("anls", text, *gold) == pytest.approx(score)


@pytest.mark.parametrize(
    ("text", "gold", "category", "score"),
    [
        ("It says STOP.", "stop", "", 1),
        ("It says\nstop now", "says stop", "", 1),
        ("st op", "stop", "", 0),
        ("x ^ 2 + y", "x^2+y", "Handwritten Mathematical Expression Recognition", 1),
        ("X^2", "x^2", "Handwritten Mathematical Expression Recognition", 0),
        ("x ^ 2", "x^2", "Doc-oriented VQA", 0),
        ("x ^ 2", "x^2", "HME100k", 0),  # the name of a dataset is no category
    ],
)
def test_ocrbench_looks_for_the_answer(text: str, gold: str, category: str, score: float) -> None:
    assert value("ocrbench", text, "nothing", gold, category=category) == score


@pytest.mark.parametrize(("text", "score"), [("Yes", 1), (" yes", 1), ("yes.", 0), ("no", 0)])
def test_gqa_compares_whole_answers(text: str, score: float) -> None:
    assert value("gqa", text, "yes") == score


@pytest.mark.parametrize("scorer", ["chartqa", "chartqa_years", "anls", "ocrbench", "gqa"])
@given(gold=TEXTS.filter(str.strip), other=TEXTS)
def test_the_gold_answer_is_right_and_more_gold_never_hurts(
    scorer: str, gold: str, other: str
) -> None:
    gold = gold.strip()
    assert value(scorer, gold, gold) == 1
    alone = value(scorer, other, gold)
    assert 0 <= alone <= value(scorer, other, gold, "another") <= 1


@given(first=TEXTS, second=TEXTS, third=TEXTS)
def test_the_distance_is_one(first: str, second: str, third: str) -> None:
    """It is 0 for equal texts alone, the same both ways, and no detour is shorter."""
    assert (distance(first, second) == 0) == (first == second)
    assert distance(first, second) == distance(second, first)
    assert distance(first, third) <= distance(first, second) + distance(second, third)
    assert 0 <= similarity(first, second) <= 1

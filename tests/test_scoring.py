"""Scorers: golden cases, and what holds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.samples import make_sample
from vovnet.core.errors import DataError
from vovnet.core.records import Sample
from vovnet.evaluation.questions import score_sample
from vovnet.evaluation.scoring import SCORERS
from vovnet.evaluation.scoring.mmbench import infer_choice
from vovnet.evaluation.scoring.textvqa import normalise, vqa_accuracy

COLOURS = {"A": "red", "B": "green", "C": "blue", "D": "12"}


CHOICE = make_sample(choices=COLOURS, answer="B", answer_text="green")
NUMBERS = make_sample(choices={"A": "2", "B": "12", "C": "7"}, answer="B")
VQA = make_sample(question_type="vqa", answer="cat", answers=["cat"] * 8 + ["dog", "a cat"])
OPEN = make_sample(question_type="open", answer="24/7", answers=["24/7", "3.429"])


@pytest.mark.parametrize("scorer", ["mmbench", "mmmu"])
@pytest.mark.parametrize(
    ("text", "value", "fallback"),
    [
        ("green", 1, False),
        ("Green.", 1, False),
        ("B", 1, False),
        ("(B)", 1, False),
        ("red", 0, False),
    ],
)
def test_options_by_letter_and_by_text(
    scorer: str, text: str, value: float, fallback: bool
) -> None:
    result = score_sample(scorer, CHOICE, text)
    assert (result.value, result.parse_fallback) == (value, fallback)


@pytest.mark.parametrize(
    ("text", "letter"),
    [("so it is B I think so", "B"), ("so it is B I think so too", None), ("B as I see it", None)],
)
def test_mmbench_takes_a_letter_among_the_last_four_words(text: str, letter: str | None) -> None:
    assert infer_choice(text, COLOURS) == letter


@pytest.mark.parametrize("scorer", ["mmbench", "mmmu"])
def test_an_option_within_another_is_told_apart(scorer: str) -> None:
    assert score_sample(scorer, NUMBERS, "12").value == 1
    assert score_sample(scorer, NUMBERS, "2").extracted == "A"


def test_unparsed_options_are_counted_and_never_random() -> None:
    first = score_sample("mmmu", CHOICE, "mauve")
    assert first.parse_fallback
    assert first == score_sample("mmmu", CHOICE, "mauve") == score_sample("mmmu", CHOICE, "beige")
    others = [CHOICE.model_copy(update={"id": str(number)}) for number in range(200)]
    letters = {score_sample("mmmu", item, "mauve").extracted for item in others}
    assert letters == set(COLOURS)
    result = score_sample("mmbench", CHOICE, "mauve")
    assert (result.value, result.parse_fallback) == (0, True)


def test_fuzzy_is_lenient_where_official_is_not() -> None:
    assert score_sample("mmbench", CHOICE, "gren").value == 0
    assert score_sample("mmbench", CHOICE, "gren", fuzzy=True).value == 1
    assert score_sample("mmbench", CHOICE, "zzzz", fuzzy=True).parse_fallback
    assert score_sample("textvqa", VQA, "catt", fuzzy=True).value == 0


def test_vqa_accuracy_leaves_one_out() -> None:
    gold = ["x"] * 3 + ["y"] * 7
    assert vqa_accuracy("x", gold) == pytest.approx(0.9)
    assert vqa_accuracy("x", ["x", "x"] + ["y"] * 8) == pytest.approx(0.6)
    assert vqa_accuracy("x", ["x"] + ["y"] * 9) == pytest.approx(0.3)
    assert vqa_accuracy("y", gold) == 1
    assert score_sample("textvqa", VQA, "A cat.").value == 1


def test_open_answers() -> None:
    assert score_sample("mmmu", OPEN, "so the result is 3.43").value == 1
    assert score_sample("mmmu", OPEN, "The answer is 24/7").value == 1
    assert score_sample("mmmu", OPEN, "7").value == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Two dogs, please!", "2 dogs please"), ("dont", "don't"), ("the end.", "end"), ("", "")],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_a_sample_without_gold_is_refused(scorer: str) -> None:
    with pytest.raises(DataError, match="has no answer"):
        score_sample(scorer, make_sample(choices=COLOURS), "red")


@given(text=st.text(), fuzzy=st.booleans())
@pytest.mark.parametrize("item", [CHOICE, NUMBERS, VQA, OPEN])
@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_any_text_gets_a_score(scorer: str, item: Sample, text: str, fuzzy: bool) -> None:
    if not item.choices and scorer in ("mmbench", "fuzzy"):
        return
    result = score_sample(scorer, item, text, fuzzy=fuzzy)
    assert 0 <= result.value <= 1
    assert result == score_sample(scorer, item, text, fuzzy=fuzzy)


@given(
    answers=st.lists(st.text(max_size=6), min_size=1, max_size=10),
    text=st.text(max_size=6),
    data=st.data(),
)
@pytest.mark.parametrize("scorer", ["mmmu", "textvqa"])
def test_order_of_the_answers_does_not_matter(
    scorer: str, answers: list[str], text: str, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(answers))
    values = [
        score_sample(
            scorer, make_sample(question_type="open", answer="x", answers=order), text
        ).value
        for order in (answers, shuffled)
    ]
    assert values[0] == pytest.approx(values[1])

"""Scorers: golden cases, and what holds for any text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.samples import make_sample
from vovnet.config import Parse
from vovnet.core.errors import DataError
from vovnet.core.records import Sample
from vovnet.evaluation.questions import score_sample
from vovnet.evaluation.scoring import SCORERS
from vovnet.evaluation.scoring.base import choice_named
from vovnet.evaluation.scoring.mmbench import infer_choice
from vovnet.evaluation.scoring.mmmu import parse_choice as parse_mmmu
from vovnet.evaluation.scoring.mmmu_pro import parse_choice as parse_mmmu_pro
from vovnet.evaluation.scoring.textvqa import normalise, vqa_accuracy

ANIMALS = {"A": "cat", "B": "dog", "C": "bird", "D": "fish"}
COLOURS = {"A": "red", "B": "green", "C": "blue", "D": "12"}


CHOICE = make_sample(choices=COLOURS, answer="B", answer_text="green")
NUMBERS = make_sample(choices={"A": "2", "B": "12", "C": "7"}, answer="B")
VQA = make_sample(question_type="vqa", answer="cat", answers=["cat"] * 8 + ["dog", "a cat"])
OPEN = make_sample(question_type="open", answer="24/7", answers=["24/7", "3.429"])


@pytest.mark.parametrize("scorer", ["mmbench", "mmmu", "mmmu_pro"])
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
    result = score_sample(scorer, CHOICE, text, "tolerant")
    assert (result.value, result.parse_fallback) == (value, fallback)


@pytest.mark.parametrize(
    ("text", "letter"),
    [("so it is B I think so", "B"), ("so it is B I think so too", None), ("B as I see it", None)],
)
def test_mmbench_takes_a_letter_among_the_last_four_words(text: str, letter: str | None) -> None:
    assert infer_choice(text, COLOURS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("It is best described as A.", "A"),
        ("The answer is (B) because A and C are wrong.", None),
        ("answer is: C. A and D are wrong, as stated by the text.", None),
        ("The Answer is B, since A and C are wrong here in this case.", "B"),
        ("the correct answer is Censorship.", "C"),
        ("The answer is **D**: neither A nor B, as anyone can see from here.", "D"),
        ("dark red", None),
        ("the answer is E", None),
    ],
)
def test_mmbench_reads_as_vlmevalkit_does(text: str, letter: str | None) -> None:
    choices = COLOURS | {"B": "dark red"} if "red" in text else ANIMALS
    assert infer_choice(text, choices) == letter


@pytest.mark.parametrize(
    ("text", "mmmu", "pro"),
    [
        ("Answer: B", "B", "B"),
        ("A or B. Answer: (C), not so. Answer: D because", "C", "D"),
        ("Answer: A B", "B", "B"),  # several letters: what MMMU's parser does comes next
        ("the USA is", None, "A"),  # a letter at the end of a word
        ("**B.** it is", None, "B"),
        ("A. or else", None, "A"),
        ("USA or CAB is", None, "A"),  # neither stands between spaces, and the first one wins
        ("(A) or (C)", "C", "C"),
        ("b", None, None),
        ("this picture shows a very large fish", "D", "D"),
    ],
)
def test_mmmu_pro_reads_more_than_mmmu(text: str, mmmu: str | None, pro: str | None) -> None:
    assert parse_mmmu(text, ANIMALS) == mmmu
    assert parse_mmmu_pro(text, ANIMALS) == pro


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("Youdve", "youdve"), ("shed've", "she'd've"), ("she'dve", "she'd've")],
        *[("shouldn'tve", "shouldn't've"), ("shouldnt've", "shouldn't've"), ("lets", "lets")],
        *[("'ows'at", "'ow's'at"), ("somebody'd", "somebodyd"), ("somebodyd", "somebodyd")],
    ],
)
def test_textvqa_has_the_contractions_of_mmf(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert vqa_accuracy(normalise("Youdve"), [normalise("you'd've")] * 10) == 0


@pytest.mark.parametrize("scorer", ["mmbench", "mmmu", "mmmu_pro"])
def test_an_option_within_another_is_told_apart(scorer: str) -> None:
    assert score_sample(scorer, NUMBERS, "12", "tolerant").value == 1
    assert score_sample(scorer, NUMBERS, "2", "tolerant").extracted == "A"
    assert score_sample(scorer, NUMBERS, "12").parse_fallback, "officially it is not"


ANSWERS = ["A", "", "The", "?", ".", "...", "B", "5", "-5", "+5", "1.5", "15", "C.A.", "ca", "50%"]
ANSWERS += ["[0.12, 0.3]", "[0.1, 0.23]", "$5", "<", ">", "C++", "C", "an A", "1/2", "12", "it's"]
ANSWERS += ["its", "let 's", "none", "0", "é", "e"]
MARKS = {"A": "?", "B": ".", "C": "!", "D": ","}


@pytest.mark.parametrize("gold", [answer for answer in ANSWERS if answer])
def test_equality_keeps_different_answers_apart(gold: str) -> None:
    item = make_sample(question_type="instruction", answer=gold)
    equal = [answer for answer in ANSWERS if score_sample("exact", item, answer).value]
    assert equal == [gold]
    pair = {"A": gold, "B": next(answer for answer in ANSWERS if answer != gold)}
    named = [answer for answer in ANSWERS if choice_named(answer, pair) == "A"]
    assert named == [gold]


COUNTS = {"A": "1", "B": "10", "C": "100", "D": "0.1"}


@pytest.mark.parametrize(
    ("choices", "text", "official", "tolerant"),
    [
        (COUNTS, "10", None, "B"),
        (COUNTS, "100", None, "C"),
        ({"A": "B", "B": "A", "C": "D", "D": "C"}, "B", "B", "B"),
        (ANIMALS | {"C": "A pretty girl"}, "C. A pretty girl", "C", "C"),
        *[(ANIMALS, text, "B", "B") for text in ("(B)", "B\n", "**B**", "B.")],
        (ANIMALS, "b", None, None),
        (MARKS, "", None, None),
    ],
)
def test_what_both_readings_choose(
    choices: dict[str, str], text: str, official: str | None, tolerant: str | None
) -> None:
    item = make_sample(choices=choices, answer="B")
    assert (score_sample("mmbench", item, text).extracted or None) == official
    assert (score_sample("mmbench", item, text, "tolerant").extracted or None) == tolerant


@pytest.mark.parametrize("same", [" Yes", "yes.", "YES\n", "yes"])
def test_equality_ignores_what_makes_no_other_answer(same: str) -> None:
    item = make_sample(question_type="instruction", answer="Yes")
    assert score_sample("exact", item, same).value == 1
    assert choice_named(same, {"A": "no", "B": "yes"}) == "B"
    assert choice_named("mg", {"A": "Mg", "B": "mg"}) == "B", "the text as it stands counts first"
    assert choice_named("mg", {"A": "Mg", "B": "lead"}) == "A", "no other option is meant"
    power = make_sample(question_type="instruction", answer="5 MW")
    assert score_sample("exact", power, "5 mW").value == 1, "case is folded, as the docs say"


@pytest.mark.parametrize("parse", ["official", "tolerant", "fuzzy"])
def test_an_empty_text_chooses_no_option(parse: Parse) -> None:
    item = make_sample(choices=MARKS, answer="B")
    assert score_sample("mmbench", item, "", parse).parse_fallback
    assert choice_named(" ", {"A": "", "B": "dog"}) is None
    assert score_sample("mmbench", item, ".", parse).value == 1
    assert score_sample("mmbench", item, "nothing", parse).parse_fallback


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
    assert score_sample("mmbench", CHOICE, "gren", "fuzzy").value == 1
    assert score_sample("mmbench", CHOICE, "zzzz", "fuzzy").parse_fallback
    assert score_sample("textvqa", VQA, "catt", "fuzzy").value == 0


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


@settings(max_examples=30)
@given(text=st.text(), parse=st.sampled_from(["official", "tolerant", "fuzzy"]))
@pytest.mark.parametrize("item", [CHOICE, NUMBERS, VQA, OPEN])
@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_any_text_gets_a_score(scorer: str, item: Sample, text: str, parse: Parse) -> None:
    if not item.choices and scorer in ("mmbench", "mmmu_pro", "fuzzy"):
        return
    result = score_sample(scorer, item, text, parse)
    assert 0 <= result.value <= 1
    assert result == score_sample(scorer, item, text, parse)


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

"""The questions of an evaluation set, how passes of one belong together, and scores of answers.

Where an official evaluator would guess at random, the guess follows from the sample's id
here, and is counted as `parse_fallback`. Each part of the routers' set says how it is read.
Shapes: N rows (samples), U units (questions: a sample, or a circular group of passes).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vovnet.config import Parse, Settings
from vovnet.core.arrays import Bools, Floats, Ints, rows_of_each, unit_codes
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.layout import ROUTER_FIT, Layout
from vovnet.core.records import Sample
from vovnet.data.formats import format_of
from vovnet.data.sets import load_set
from vovnet.evaluation.scoring import SCORERS, load_scorer
from vovnet.evaluation.scoring.base import OURS, Score, choice_named
from vovnet.policies.base import Knowledge, Known
from vovnet.policies.router import known_of


@dataclass(frozen=True)
class Questions:
    """The samples of a set that an experiment evaluates.

    `ids` are those of the whole set, in order; `kept` marks `samples` among them. `units`
    numbers the question of each sample: circular passes of one question share a number.
    """

    name: str
    ids: list[str]
    kept: Bools
    samples: list[Sample]
    units: Ints
    scorers: list[str]
    parses: list[Parse]

    @property
    def num_units(self) -> int:
        return int(self.units.max()) + 1

    @cached_property
    def names(self) -> list[str]:
        """The question of each sample, by name."""
        return [question_of(sample) for sample in self.samples]

    @cached_property
    def sample_ids(self) -> list[str]:
        return [sample.id for sample in self.samples]

    @cached_property
    def rows_of_category(self) -> dict[str, Ints]:
        """The samples of each category, by their rows."""
        return rows_of_each([sample.category for sample in self.samples])

    @cached_property
    def units_of_category(self) -> dict[str, Ints]:
        """The questions of each category; a circular group has that of its first pass."""
        firsts = np.unique(self.units, return_index=True)[1].tolist()
        return rows_of_each([self.samples[row].category for row in firsts])

    @cached_property
    def _scores(self) -> list[dict[str, Score]]:
        """The scores of each sample by text: seeds and views often say the same."""
        return [{} for _ in self.samples]

    def known(self, knows: Knowledge) -> Known:
        """What a router knows that is told by the samples themselves, (N,)."""
        return known_of(self.samples, knows)

    def score(
        self, texts: Iterable[str], told: pd.Series | None = None
    ) -> tuple[Floats, NDArray[Any]]:
        """Correctness in [0, 1] of an answer per sample, and where no answer could be read.

        Scores that were `told` with the answers stand, and whether one could be read is None.
        """
        if told is not None:
            return told.to_numpy(dtype=np.float64), np.full(len(told), None)
        scores = []
        for row, (text, known) in enumerate(zip(texts, self._scores, strict=True)):
            if text not in known:
                known[text] = score_sample(
                    self.scorers[row], self.samples[row], text, self.parses[row]
                )
            scores.append(known[text])
        values_N = np.array([score.value for score in scores])
        return values_N, np.array([score.parse_fallback for score in scores])


def question_of(sample: Sample) -> str:
    """The name of a sample's question: circular passes of one share it."""
    return sample.group or sample.id


def load_questions(
    settings: Settings, layout: Layout, name: str, max_questions: int | None = None
) -> Questions:
    """The first `max_questions` questions of an evaluation set, or of `router_fit`."""
    samples = list(load_set(settings, layout, name))  # which reads a sample whenever it is asked
    units_N = unit_codes([question_of(sample) for sample in samples])
    kept_N = units_N < (len(samples) if max_questions is None else max_questions)
    chosen = [sample for sample, keep in zip(samples, kept_N, strict=True) if keep]
    datasets = {sample.dataset for sample in chosen}
    scorers = {dataset: scorer_of(settings, dataset) for dataset in datasets}
    return Questions(
        name=name,
        ids=[sample.id for sample in samples],
        kept=kept_N,
        samples=chosen,
        units=units_N[kept_N],
        scorers=[scorers[sample.dataset] for sample in chosen],
        parses=[_parse_of(settings, name, sample) for sample in chosen],
    )


def _parse_of(settings: Settings, name: str, sample: Sample) -> Parse:
    """How answers to a sample of a set are read."""
    if name != ROUTER_FIT:
        return settings.data.eval_sets[name].parse
    parts, split = settings.data.router_fit, (sample.dataset, sample.split)
    return next(part.parse for part in parts if (part.dataset, part.split) == split)


def scoring_facts(settings: Settings, name: str) -> dict[str, str]:
    """The scorer of an evaluation set, whose verdicts it gives, and how the set's are read."""
    chosen = settings.data.eval_sets[name]
    scorer = scorer_of(settings, chosen.dataset)
    follows = load_scorer(scorer).follows if chosen.parse == "official" else OURS
    return {"scorer": scorer, "follows": follows, "parse": chosen.parse}


def scorer_of(settings: Settings, dataset: str) -> str:
    """The name of the scorer that judges answers to a dataset: its own, or that of its format."""
    own = settings.data.dataset(dataset).scorer
    if own is not None and own not in SCORERS:
        raise ConfigError(
            f"data.datasets.{dataset}.scorer: expected one of {list(SCORERS)}, got {own!r}"
        )
    return own or format_of(settings, dataset).scorer


def score_sample(scorer: str, sample: Sample, text: str, parse: Parse = "official") -> Score:
    """Score a generated text with a scorer by its name, in the reading that `parse` names.

    Where the official reading finds no answer, the tolerant one takes a text that is an option as
    a whole. The lenient one, `fuzzy`, takes the option that is most like the text. Both read
    questions with options only, and others officially. A sample without gold is an error:
    MMBench's test split, for one, keeps its answers back.
    """
    if not sample.answer and not sample.answers:
        raise DataError(
            f"{sample.dataset}/{sample.split}, sample {sample.id!r}: has no answer, so it cannot be"
            " scored (test splits keep their answers back); evaluate a split with answers"
        )
    score = load_scorer("fuzzy" if parse == "fuzzy" and sample.choices else scorer).score
    official = score(sample, text)
    if parse != "tolerant" or not official.parse_fallback:
        return official
    letter = choice_named(text, sample.choices)
    return Score(float(letter == sample.answer), False, letter) if letter else official

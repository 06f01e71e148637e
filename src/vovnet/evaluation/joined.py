"""What an experiment did beside what it was asked: samples.parquet with questions and pictures."""

import pandas as pd

from vovnet.config import Settings
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.data.sets import image_paths
from vovnet.evaluation.columns import SAMPLE_RESULT_COLUMNS, SampleResults
from vovnet.evaluation.questions import load_questions
from vovnet.policies.experiments import resolve_experiment


def joined_samples(settings: Settings, layout: Layout, name: str) -> pd.DataFrame:
    """The rows of an experiment's samples.parquet, each with its question, gold and pictures.

    `choices` has a line for each option, `gold` for each accepted answer, `images` for each file.
    """
    experiment = resolve_experiment(settings, name)
    results, tables = SampleResults(layout, name), []
    for dataset in experiment.sets:
        limit = experiment.stanza.max_samples
        questions = load_questions(experiment.settings, layout, dataset, limit)
        asked = pd.DataFrame([_asked(settings, layout, sample) for sample in questions.samples])
        for seed in experiment.seeds:
            for point in range(len(experiment.points)):
                rows = results.rows(questions, seed, point).reset_index(drop=True)
                tables.append(pd.concat([rows[list(SAMPLE_RESULT_COLUMNS)], asked], axis=1))
    return pd.concat(tables, ignore_index=True)


def _asked(settings: Settings, layout: Layout, sample: Sample) -> dict[str, str]:
    return {
        "question": sample.question,
        "hint": sample.hint,
        "choices": "\n".join(f"{letter}. {text}" for letter, text in sample.choices.items()),
        "gold": "\n".join(accepted_answers(sample)),
        "category": sample.category,
        "subject": sample.subject,
        "images": "\n".join(map(str, image_paths(settings, layout, sample))),
    }


def accepted_answers(sample: Sample) -> list[str]:
    """The gold answer, with its letter where it is an option, then others that are accepted."""
    if not sample.answer_text:
        return []
    letter = f"{sample.answer}: " if sample.choices and sample.answer in sample.choices else ""
    others = dict.fromkeys(text for text in sample.answers if text != sample.answer_text)
    return [letter + sample.answer_text, *others]

"""What was observed and decided, in the formats of other programs.

Each view of a model, and each point of an experiment, is a *column* of a set: an answer to every
question, its score and what it cost. `import.yaml` beside the files says how they are read again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vovnet.config import Settings, yaml_text
from vovnet.config.experiments import ResolvedExperiment, experiment_sets
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import json_ready, read_object, write_text, writing
from vovnet.core.layout import Layout
from vovnet.core.records import Sample
from vovnet.core.shown import markdown_cell
from vovnet.evaluation.columns import SampleResults
from vovnet.evaluation.questions import Questions, load_questions, scoring_facts
from vovnet.evaluation.replay import load_observed
from vovnet.pipeline.manifest import git_commit
from vovnet.pipeline.trained_model import TrainedModel
from vovnet.policies.experiments import needed_views, resolve_experiment

FACTS = ("vision_tokens", "flops", "entropy", "margin", "log_probability")
"""What an answer cost, and how sure it was; empty where it is not known."""

NAMED = {"tokens": "vision_tokens", "flops": "flops"}
NAMED |= {key: key for key in FACTS[2:]}
"""Keys of a log's columns -> what they are called in exported files."""


@dataclass(frozen=True)
class Exported:
    """A set with its columns: tables with `text`, `score` and `FACTS`, a row for each question.

    `scores_told` are those with scores of the log from which they were imported.
    """

    name: str
    questions: Questions
    columns: Mapping[str, pd.DataFrame]
    scores_told: Collection[str]

    def rows(self, column: str) -> Iterable[tuple[int, Sample, dict[str, Any]]]:
        """The place of each question, the question, and what is told of its answer."""
        told = self.columns[column].astype(object)
        told = told.where(told.notna(), None)
        records = told.to_dict("records")
        for place, (sample, facts) in enumerate(zip(self.questions.samples, records, strict=True)):
            yield place, sample, {str(key): value for key, value in facts.items()}

    def known(self, column: str) -> list[str]:
        """The facts that the answers of a column have."""
        return [name for name in FACTS if self.columns[column][name].notna().all()]


def export(
    settings: Settings,
    layout: Layout,
    folder: Path,
    form: str,
    run: str,
    seed: int,
    experiments: Sequence[str] = (),
) -> list[Path]:
    """Write what a run answered, or what experiments did, as files of a form of `FORMS`."""
    shown = [set(experiment_sets(settings, item)) for item in experiments]
    wanted = [item for item in settings.data.eval_sets if not shown or item in set.union(*shown)]
    if not wanted:
        raise ConfigError("data.eval_sets: expected a set to export, there is none")
    sets = [item for item in wanted if _there(layout, run, seed, item)]
    if not sets:
        place = layout.observation_manifest(run, seed, wanted[0], "actions")
        raise DataError(f"{place}: file not found, nothing of run {run!r} is observed")
    exported = [_exported(settings, layout, name, run, seed, experiments) for name in sets]
    paths: list[Path] = []
    imported: dict[str, Any] = {}
    for one in exported:
        written, imported[one.name] = FORMS[form](one, folder)
        paths += written
    views = list(dict.fromkeys(name for one in exported for name in one.columns))
    actions = [] if experiments else [view for view in views if view in settings.actions]
    layer = {"actions": actions, "runs": {f"{run}_logs": {"imported": imported}}}
    paths += [folder / "import.yaml", folder / "README.md"]
    write_text(paths[-2], yaml_text({key: value for key, value in layer.items() if value}))
    write_text(paths[-1], card(settings, exported, form, run, seed, experiments))
    return paths


def _there(layout: Layout, run: str, seed: int, name: str) -> bool:
    return layout.observation_manifest(run, seed, name, "actions").exists()


def _exported(
    settings: Settings,
    layout: Layout,
    name: str,
    run: str,
    seed: int,
    experiments: Sequence[str],
) -> Exported:
    trained = TrainedModel(settings, layout, run, seed)
    groups = ("actions", "views")
    manifests = [layout.observation_manifest(run, seed, name, group) for group in groups]
    facts = [read_object(path) for path in manifests if path.exists()]
    told = {view for item in facts for view in item.get("scores_told", ())}
    if experiments:
        found = [resolve_experiment(settings, item) for item in experiments]
        done = [item for item in found if name in item.sets]
        limits = {item.stanza.max_samples for item in done}
        if len(limits) > 1:
            raise ConfigError(
                "--experiments: expected those of one max_samples, since a file has the same"
                f" questions throughout, got {', '.join(experiments)}"
            )
        questions = load_questions(trained.settings, layout, name, *limits)
        outcomes = _outcomes(layout, questions, seed, done)
        columns = {
            column: rows.rename(columns={"prediction": "text"}).reindex(
                columns=["text", "score", *FACTS]
            )
            for column, rows in outcomes.items()
        }
        told = {column for column, rows in outcomes.items() if told & {*rows["view"]}}
        return Exported(name, questions, columns, told)
    questions = load_questions(trained.settings, layout, name)
    further = needed_views(settings, run, seed, name) if manifests[1].exists() else ()
    observed = load_observed(trained, questions, further)
    columns = {
        view: table.assign(flops=table["flops_alone"])[["text", "score", *FACTS]]
        for view, table in observed.views.items()
    }
    return Exported(name, questions, columns, told)


def _outcomes(
    layout: Layout, questions: Questions, seed: int, experiments: Iterable[ResolvedExperiment]
) -> dict[str, pd.DataFrame]:
    """The results of experiments at each of their points, named as views of a log are."""
    found = dict[str, pd.DataFrame]()
    for experiment in experiments:
        results, several = SampleResults(layout, experiment.name), len(experiment.points) > 1
        for point in range(len(experiment.points)):
            stem = experiment.name.replace("-", "_") + (f"_{point}" if several else "")
            if f"log-{stem}" in found:
                raise ConfigError(
                    f"--experiments: {experiment.name!r} and another one would both be called"
                    f" 'log-{stem}', expected them in calls of their own"
                )
            found[f"log-{stem}"] = results.rows(questions, seed, point)
    return found


# ---- forms -----------------------------------------------------------------------------

Form = Callable[[Exported, Path], tuple[list[Path], dict[str, Any]]]
"""Writes the files of a set, and returns them with what `imported` says of the set."""


def lmms_eval(exported: Exported, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """A samples file for each column, as lmms-eval logs them."""
    paths, views = [], dict[str, Any]()
    for column in exported.columns:
        path = folder / column / f"samples_{exported.name}.jsonl"
        with writing(path) as file:
            for place, sample, facts in exported.rows(column):
                text, score = facts.pop("text"), facts.pop("score")
                line = {
                    "doc_id": place,
                    "input": sample.question,
                    "target": _gold(sample),
                    "resps": [[text]],
                    "filtered_resps": [text],
                    "score": {"id": sample.id, "score": score},
                }
                file.write(json.dumps(json_ready(line | facts), ensure_ascii=False) + "\n")
        paths.append(path)
        views[column] = _view(path, exported, column)
    columns = {"id": "score.id", "score": "score"}
    return paths, {"layout": "lmms_eval", "columns": columns, "views": views}


def vlmevalkit(exported: Exported, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """A TSV for each column, as VLMEvalKit keeps results."""
    letters = sorted({key for sample in exported.questions.samples for key in sample.choices})
    names = ["index", "question", *letters, "answer", "category", "prediction", "hit", *FACTS]
    paths, views = [], dict[str, Any]()
    for column in exported.columns:
        path = folder / f"{column}_{exported.name}.tsv"
        with writing(path) as file:
            writer = csv.DictWriter(file, names, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            for _, sample, facts in exported.rows(column):
                told = {"prediction": facts.pop("text"), "hit": facts.pop("score")}
                asked = {"index": sample.id, "question": sample.question, **sample.choices}
                asked |= {"answer": _gold(sample), "category": sample.category}
                writer.writerow(asked | told | facts)
        paths.append(path)
        views[column] = _view(path, exported, column)
    return paths, {"layout": "vlmevalkit", "columns": {"score": "hit"}, "views": views}


def matrix(exported: Exported, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """A CSV of questions x columns, as RouterBench has it: scores, responses and costs."""
    path = folder / f"{exported.name}.csv"
    rows: list[dict[str, Any]] = [
        {"sample_id": sample.id, "prompt": sample.question, "eval_name": exported.name}
        for sample in exported.questions.samples
    ]
    views = {}
    for column in exported.columns:
        for place, _, facts in exported.rows(column):
            rows[place][column] = facts["score"]
            rows[place][f"{column}|model_response"] = facts["text"]
            rows[place][f"{column}|total_cost"] = facts["vision_tokens"]
            rows[place] |= {f"{column}|{name}": facts[name] for name in FACTS[1:]}
        view = _view(path, exported, column)
        named = {key: f"{column}|{name}" for key, name in view["columns"].items()}
        named |= {"tokens": f"{column}|total_cost", "score": column}
        views[column] = view | {"columns": named | {"prediction": f"{column}|model_response"}}
    with writing(path) as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    columns = {"id": "sample_id", "question": "prompt"}
    return [path], {"layout": "rows", "columns": columns, "views": views}


FORMS: dict[str, Form] = {"lmms_eval": lmms_eval, "vlmevalkit": vlmevalkit, "matrix": matrix}


def _view(path: Path, exported: Exported, column: str) -> dict[str, Any]:
    """What a view of `imported` says: its file, and where its costs and confidence are."""
    known = exported.known(column)
    return {
        "file": str(path),
        "columns": {key: name for key, name in NAMED.items() if name in known},
    }


def _gold(sample: Sample) -> str:
    """The gold answer; several as the text of a list, as VLMEvalKit has them."""
    return str(sample.answers) if len(sample.answers) > 1 else sample.answer


# ---- the card --------------------------------------------------------------------------


def card(
    settings: Settings,
    exported: Sequence[Exported],
    form: str,
    run: str,
    seed: int,
    experiments: Sequence[str],
) -> str:
    """A page that says what the files are."""
    what = f"the experiments {', '.join(experiments)}" if experiments else "every observed view"
    lines = [
        f"# Answers of {run!r}, seed {seed}",
        "",
        f"Written by `vovnet export` (commit {git_commit() or 'unknown'}): {what}, in the layout"
        f" `{form}`. A row is one question. Scores lie between 0 and 1, and costs are vision tokens"
        " that entered the language model; `flops` are operations of vision tower and language"
        " model, where they were counted. `import.yaml` is a layer by which this project reads the"
        " files again.",
        "",
        "Questions and gold answers are those of the benchmarks, under their own licences.",
        "",
        "| set | dataset, split | scored by | column | questions | accuracy [%] | vision tokens |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in exported:
        part, scored = settings.data.eval_sets[one.name], scoring_facts(settings, one.name)
        by = f"{scored['scorer']} ({scored['follows']}), {scored['parse']}"
        for column, table in one.columns.items():
            own = "the log from which it was imported" if column in one.scores_told else by
            told = [one.name, f"{part.dataset}, {part.split}", own, column]
            told += [str(len(table)), f"{100 * table['score'].mean():.2f}"]
            told += [f"{table['vision_tokens'].mean():.1f}"]
            lines.append("| " + " | ".join(map(markdown_cell, told)) + " |")
    return "\n".join(lines) + "\n"

"""What another program answered, as observations: with them everything after a model run works.

Each view of an imported set becomes the table that observing it would leave. A log knows no text
pass, so the signals hold what each action cost and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from vovnet.config import ImportedSet, imported_sets
from vovnet.core.errors import ConfigError, DataError
from vovnet.core.files import sha256_file, sha256_json
from vovnet.core.layout import ROUTER_FIT
from vovnet.core.records import OBSERVATION_COLUMNS, Sample, signal_columns, write_table
from vovnet.data.logs import LogRow, read_log
from vovnet.data.samples import SampleSet
from vovnet.data.sets import load_set
from vovnet.pipeline.manifest import write_manifest
from vovnet.pipeline.trained_model import TrainedModel

SCORED = {"score": pa.float64()}
"""A further column of views whose answers the log itself has scored."""


def import_set(trained: TrainedModel, name: str, views: Sequence[str] = ()) -> int:
    """Write the tables of the actions, or of further `views`, and last their manifest.

    Returns how many answers of the logs belong to no question of the set.
    """
    settings, folder = trained.settings, trained.observations(name)
    logged = logged_set(trained, name)
    samples = load_set(settings, trained.layout, name)
    places = _places(samples, logged.match, name)
    wanted = list(views or settings.actions)
    answers = {view: _answers(logged, view, name, samples, places) for view in wanted}
    ids = [sample.id for sample in samples]
    tables = dict[str, tuple[pd.DataFrame, dict[str, pa.DataType]]]()
    if not views:
        signals = _signals(ids, {view: rows for view, (rows, _) in answers.items()})
        tables["signals"] = signals, signal_columns(settings.actions)
    for view, (rows, _) in answers.items():
        scored = SCORED if rows[0].score is not None else {}
        tables[view] = _observation(ids, rows), OBSERVATION_COLUMNS | scored
    outputs = {table: folder / f"{table}.parquet" for table in tables}
    for table, (told, columns) in tables.items():
        write_table(outputs[table], told, columns)
    files = {view: Path(logged.views[view].file) for view in wanted}
    left_out = sum(count for _, count in answers.values())
    write_manifest(
        trained.observation_manifest(name, "views" if views else "actions"),
        step="import",
        settings=settings,
        inputs=files,
        outputs=outputs,
        **trained.facts,
        set=name,
        num_samples=len(samples),
        left_out=left_out,
        scores_told=[view for view, (rows, _) in answers.items() if rows[0].score is not None],
        key=trained.key("import", views, eval_set=name) | _key(logged, samples),
    )
    return left_out


def logged_set(trained: TrainedModel, name: str) -> ImportedSet:
    """The logs of a set; a set without any is an error."""
    sets = imported_sets(trained.suite, trained.run)
    if name not in sets:
        raise ConfigError(f"runs.{trained.run}.imported: there is no log of set {name!r}")
    return sets[name]


def _key(logged: ImportedSet, samples: SampleSet) -> dict[str, str]:
    """What stands for a checkpoint, which actions and further views share: all logs of the set."""
    files = sorted({view.file for view in logged.views.values()})
    return {
        "checkpoint": sha256_json({path: sha256_file(path) for path in files}),
        "samples": samples.content_key(),
    }


def _places(samples: SampleSet, match: str, name: str) -> dict[str, int]:
    """What a log calls each sample -> its row in the set."""
    if match == "position":
        if len(samples.files) != 1:
            raise ConfigError(f"{name}: positions are those of one split, the set has several")
        return {str(place): row for row, place in enumerate(samples.rows_N.tolist())}
    ids = [sample.id for sample in samples]
    if name == ROUTER_FIT:  # where ids begin with dataset and split
        short = [sample.id.removeprefix(f"{sample.dataset}/{sample.split}/") for sample in samples]
        times = Counter(short)  # an id that several parts have stands for itself as a whole alone
        ids = [own if times[own] == 1 else whole for own, whole in zip(short, ids, strict=True)]
    return {own: row for row, own in enumerate(ids)}


def _answers(
    logged: ImportedSet, view: str, name: str, samples: SampleSet, places: Mapping[str, int]
) -> tuple[list[LogRow], int]:
    """The answer to each sample in the order of the set, and how many belong to none."""
    if view not in logged.views:
        raise ConfigError(f"imported.{name}.views: there is no log of the view {view!r}")
    found: dict[int, LogRow] = {}
    left_out = 0
    for row in read_log(logged, logged.views[view], places):
        if row.name in places:
            _check_question(row, samples[places[row.name]])
            found[places[row.name]] = row
            continue
        first, _, times = row.name.rpartition("~")
        if times.isdecimal() and first in places and _may_ask(row, samples[places[first]]):
            raise DataError(f"{row.where}: expected one answer to {first!r}, this is a further one")
        left_out += 1
    for own, place in places.items():
        if place not in found:
            raise DataError(
                f"{logged.views[view].file}: view {view!r} has no answer to {own!r} of set"
                f" {name!r}, expected one for each of its {len(samples)} questions"
            )
    rows = [found[place] for place in range(len(samples))]
    for row in rows:
        if (row.score is None) != (rows[0].score is None):
            raise DataError(f"{row.where}: its score is missing, others have one")
    return rows, left_out


def _check_question(row: LogRow, sample: Sample) -> None:
    """Ids that only seem to be the same join answers to other questions."""
    if not _may_ask(row, sample):
        raise DataError(
            f"{row.where}: {row.name!r} was asked {row.question[:60]!r}, the prepared sample is"
            f" {sample.question[:60]!r}; match by another id, or set columns.question to ''"
        )


def _may_ask(row: LogRow, sample: Sample) -> bool:
    """Whether the log tells no other question than the sample's; it may tell none."""
    asked, wanted = (" ".join(text.split()).casefold() for text in (row.question, sample.question))
    return not asked or wanted in asked


def _signals(ids: Sequence[str], actions: Mapping[str, Sequence[LogRow]]) -> pd.DataFrame:
    """No text pass was run: what it would tell is empty, and costs nothing."""
    told: dict[str, Any] = {"id": ids, "entropy": None, "margin": None}
    told |= {f"score_{action}": None for action in actions}
    told |= {"text_tokens": 0, "flops_text_pass": 0}
    for action, rows in actions.items():
        told[f"tokens_{action}"] = [row.tokens for row in rows]
    return pd.DataFrame(told, columns=list(signal_columns(list(actions))))


def _observation(ids: Sequence[str], rows: Sequence[LogRow]) -> pd.DataFrame:
    """A view's table. Where the log tells FLOPs, they are tower and language model together."""
    flops = _column(row.flops for row in rows)
    return pd.DataFrame(
        {
            "id": ids,
            "text": [row.text for row in rows],
            "vision_tokens": [row.tokens for row in rows],
            "prompt_tokens": None,
            "generated_tokens": None,
            **{key: [row.confidence[key] for row in rows] for key in rows[0].confidence},
            "flops_vision_tower": _column(None if row.flops is None else 0 for row in rows),
            "flops_language_model": flops,
            "flops_language_model_alone": flops,
            "score": [row.score for row in rows],
        }
    )


def _column(values: Iterable[int | None]) -> pd.Series:
    """Whole numbers, of which some may be missing."""
    return pd.Series(list(values), dtype="Int64")

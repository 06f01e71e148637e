"""The reference of all settings in docs/settings.md: what each says, and which steps read it.

Descriptions, defaults, units and allowed values come from the JSON schema. Which steps read a
setting comes from `vovnet.pipeline.steps`, by which the DAG decides what runs again: a step reads
what stands in the configurations with which it is called in the suites of `SUITES`.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from vovnet.config import DatasetSettings, ImportedSet, Section, Settings, is_imported, load
from vovnet.config.experiments import trained_runs
from vovnet.core.layout import PAPER, ROUTER_FIT
from vovnet.data.formats import load_format
from vovnet.pipeline import steps
from vovnet.pipeline.catalogue import STEPS
from vovnet.pipeline.keys import EXECUTION_KEYS
from vovnet.policies import MODULES, named_kind
from workflow.schema import schema

CONFIGS = Path(__file__).resolve().parents[1] / "config"

SUITES = (
    ["config.yaml", "pretrain.yaml"],
    ["paper.yaml", "mmbench_train.yaml"],
    ["imported.yaml"],
)
"""Suites in which, taken together, every step is called, and every kind of section stands."""

REPORTS = "reports"
"""How all steps that write a report are called, since each of them reads nearly everything."""

IMPORTED = "runs.<name>.<name>.<name>"
"""Where the logs of a set stand, in paths that have no names of runs and of their keys."""

Schema = dict[str, Any]


def setting_tables() -> Iterator[tuple[str, str, list[list[str]]]]:
    """(heading, description, a row for each setting) of each section and each policy's options."""
    read_by = readers()
    for title, path, part in sections():
        yield title, part.get("description", ""), _rows(path, part, read_by)


def step_names() -> str:
    """Which names of steps in the column "read by" stand for others, too."""
    alike = {name: step.reads for name, step in STEPS.items() if step.reads in STEPS}
    reports = [f"`{name}`" for name in STEPS if _listed_as(name) == REPORTS]
    same = ", ".join(f"`{other}` stands for `{name}` too" for name, other in alike.items())
    return f"In the column *read by* `{REPORTS}` stands for {', '.join(reports)}; {same}."


def sections() -> list[tuple[str, str, Schema]]:
    """(heading, path, JSON schema) of each section of the configuration."""
    found = [
        (f"`{path}`" if path else "Top level", path, part) for path, part in _below("", schema())
    ]
    logs = _below(IMPORTED, TypeAdapter(ImportedSet).json_schema())
    named = "runs.<name>.imported.<name>"
    found += [(f"`{path.replace(IMPORTED, named)}`", path, part) for path, part in logs]
    for name in filter(None, MODULES):
        if options := named_kind(name).options:
            title = f"`policy.options` of `{name}`"
            found.append((title, "policy.options", options.model_json_schema()))
    return found


def settings_of(part: Schema) -> dict[str, Schema]:
    """The settings of a section, without those that are sections themselves."""
    items = part["properties"].items()
    return {key: item for key, item in items if "description" in item or not _held(part, item)}


# ---- the schema ------------------------------------------------------------------------


def _below(path: str, part: Schema) -> Iterator[tuple[str, Schema]]:
    """A section and those in it; `<name>` stands for a name of the user's, `[]` for each item."""
    yield path, part
    for key, item in part["properties"].items():
        for mark, section in _held(part, item):
            yield from _below(f"{path}.{key}{mark}".lstrip("."), section)


def _held(part: Schema, item: Schema, mark: str = "") -> list[tuple[str, Schema]]:
    """The sections that a setting may hold."""
    if "$ref" in item:
        named = part["$defs"][item["$ref"].rpartition("/")[2]]
        return [(mark, {"properties": {}, **named, "$defs": part["$defs"]})]
    inside = [(option, mark) for option in item.get("anyOf", ())]
    inside += [(item["items"], f"{mark}[]")] if "items" in item else []
    if isinstance(entries := item.get("additionalProperties"), dict):
        inside.append((entries, f"{mark}.<name>"))
    return [section for each, place in inside for section in _held(part, each, place)]


def _rows(path: str, part: Schema, read_by: dict[str, set[str]]) -> list[list[str]]:
    """Of each setting its name, what it says, allowed values, default, and who reads it."""
    rows = []
    for key, item in settings_of(part).items():
        place = f"{path}.{key}".lstrip(".")
        read = read_by.get(path if path == "policy.options" else place, ())
        found = ", ".join(dict.fromkeys(_listed_as(name) for name in STEPS if name in read))
        if found and key in EXECUTION_KEYS.get(path, ()):
            found += "; runs nothing again"
        default = _literal(item["default"]) if "default" in item else "(needed)"
        text = item["description"].replace("\n", " ")
        rows.append([f"`{key}`", text, _values(item), default, found or "-"])
    return rows


def _literal(value: Any) -> str:
    if value is None or value == "":
        return "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text.replace(chr(10), chr(92) + 'n')}`"


def _values(item: Schema) -> str:
    """Which values are allowed, in one cell."""
    if "enum" in item:
        return ", ".join(_literal(value) for value in item["enum"])
    if "anyOf" in item:
        return " or ".join(dict.fromkeys(map(_values, _not_null(item["anyOf"]))))
    if "$ref" in item:
        return "a section, below"
    kind: str = item.get("type", "any")
    if kind == "array":
        inner = item.get("items") or item.get("prefixItems", [{}])[0]
        return f"list of: {_values(inner)}"
    if kind == "object":
        entries = item.get("additionalProperties")
        return f"by name: {_values(entries)}" if isinstance(entries, dict) else "keys and values"
    names = {"boolean": "`true`, `false`", "integer": "whole number", "string": "text"}
    bounds = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = [f"{sign} {item[bound]}" for bound, sign in bounds.items() if bound in item]
    text = " ".join([names.get(kind, kind), " and ".join(limits)]).strip()
    return f"{text} ({item['unit']})" if "unit" in item else text


def _not_null(options: list[Schema]) -> list[Schema]:
    return [option for option in options if option.get("type") != "null"]


# ---- who reads what --------------------------------------------------------------------


def readers() -> dict[str, set[str]]:
    """Path of a setting -> the steps that read it."""
    found: dict[str, set[str]] = defaultdict(set)
    parts = {path: part for _, path, part in sections() if path != "policy.options"}
    for files in SUITES:
        settings = load(CONFIGS / name for name in files)
        for step, value in _configurations(_spelled_out(settings)):
            for key in _paths("", value, parts):
                found[key].add(step)
    return found


def _listed_as(name: str) -> str:
    """The name of a step, or the common one of those that write reports."""
    alike = [step for step in STEPS.values() if step.reads and step.reads == STEPS[name].reads]
    of_reports = [step.computed_by.startswith("vovnet.report") for step in [STEPS[name], *alike]]
    return REPORTS if any(of_reports) else name


def _configurations(settings: Settings) -> Iterator[tuple[str, steps.Value]]:
    """What the steps of a suite are called with, each step's after its name."""
    data = settings.data
    possible: dict[str, list[Any]] = {
        "dataset": list(data.datasets),
        "seed": settings.seeds[:1],
        "stage": [1, 2],
        "eval_set": [*data.eval_sets, ROUTER_FIT],
        "experiment": list(settings.experiments),
        "report": [PAPER],
    }
    logged = [run for run in settings.runs if is_imported(settings, run)]
    for name, step in STEPS.items():
        if step.reads and step.reads in STEPS:
            continue  # it reads what another step reads
        possible["run"] = logged if name == "import" else trained_runs(settings)
        function = getattr(steps, step.reads or name)
        asked = [key for key in inspect.signature(function).parameters if key in possible]
        for values in product(*(possible[key] for key in asked)):
            chosen = dict(zip(asked, values, strict=True))
            if name == "prepare":
                for split in data.datasets[chosen["dataset"]].files:
                    yield name, function(settings, split=split, **chosen)
            else:
                yield name, function(settings, **chosen)


def _paths(path: str, value: Any, parts: dict[str, Schema]) -> Iterator[str]:
    """The settings that a step's configuration holds."""
    for key, item in value.items():
        place = f"{path}.{key}".lstrip(".")
        if item or place not in ("runs", "experiments"):  # they stand in every configuration
            yield place
        yield from _inside(place, item, parts)


def _inside(place: str, item: Any, parts: dict[str, Schema]) -> Iterator[str]:
    if place in parts and isinstance(item, dict):
        yield from _paths(place, item, parts)
    elif isinstance(item, dict):
        for inner in item.values():
            yield from _inside(f"{place}.<name>", inner, parts)
    elif isinstance(item, list):
        for inner in item:
            yield from _inside(f"{place}[]", inner, parts)


def _spelled_out(value: Any) -> Any:
    """Settings in which every key has a value at which it is told; some are left out else."""
    if isinstance(value, list):
        return [_spelled_out(item) for item in value]
    if isinstance(value, dict):
        return {key: _spelled_out(item) for key, item in value.items()}
    if not isinstance(value, Section):
        return value
    changed = {}
    for key, field in type(value).model_fields.items():
        item = getattr(value, key)
        left_out = field.exclude_if is not None and field.exclude_if(item)
        changed[key] = _told(field) if left_out else _spelled_out(item)
    if isinstance(value, DatasetSettings):
        changed |= dict.fromkeys(load_format(value.format).options.model_fields)
    return value.model_copy(update=changed)


def _told(field: FieldInfo) -> Any:
    """A value of a field that is not left out."""
    adapter: TypeAdapter[Any] = TypeAdapter(field.annotation or Any)
    kinds = get_args(field.annotation)
    literals = [value for kind in kinds for value in get_args(kind)]
    for candidate in (True, 0, 0.25, 1, [0.0], "", {}, *kinds, *literals):
        try:
            found = adapter.validate_python(candidate, strict=True)
        except (ValidationError, TypeError):
            continue
        if field.exclude_if is None or not field.exclude_if(found):
            return found
    raise AssertionError(f"no value of {field.annotation} is told")

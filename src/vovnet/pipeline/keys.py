"""From what a step's result is made: its settings, as a file and as a hash, and its code.

A step is called with a configuration of its own that holds what it reads and nothing else. The
path of that file contains the hash of its content, so that the DAG runs again exactly what a
changed setting touches. The code is the module that computes the result, and the plug-ins that
the step's settings name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vovnet.config import Settings, policy_points, yaml_text
from vovnet.core.files import read_text, sha256_bytes, write_text
from vovnet.core.layout import Layout
from vovnet.pipeline import steps
from vovnet.pipeline.catalogue import FAMILIES, FORMATS, POLICIES, REDUCTIONS, STEPS
from vovnet.pipeline.code_digest import code_digest, declared_text, package_modules, plugin_module
from vovnet.pipeline.steps import Value
from vovnet.policies import by_correctness

EXECUTION_KEYS = {
    "training": {"num_workers", "save_every", "keep_checkpoints", "tracker"},
    "eval": {"num_shards", "shard_rows"},
}
"""Settings that say how a step works, not what it yields; they are passed on but not hashed."""

PASSED_ON = {"train": ("eval",)}
"""Step -> sections of its settings that it does not read and that are not hashed: how a model that
is trained will answer, for those who ask it by its folder alone."""

DIGITS = 12
"""Of the hash of a step's settings in the name of its configuration."""


def step_settings(settings: Settings, step: str, **selection: Any) -> Value:
    """A complete, valid configuration with exactly the settings that `step` reads.

    `selection` says for which dataset, split, run, seed, stage, eval_set, experiment or report. A
    run's overrides are applied, caps on sample counts are folded into the sets' own. `results_dir`
    and `quick` say where results lie.
    """
    value = getattr(steps, STEPS[step].reads or step)(settings, **selection)
    place: Value = {"results_dir": settings.results_dir}
    if not STEPS[step].shared and settings.quick is not None:
        place["quick"] = settings.quick
    return place | plain(value)


def write_step_config(settings: Settings, layout: Layout, step: str, **selection: Any) -> Path:
    """Write `config/<step>-<hash>.yaml` under the results folder unless it is there already."""
    value = step_settings(settings, step, **selection)
    folder = layout.root if STEPS[step].shared else layout.results
    path = step_config_path(folder, step, _digest(step, value))
    text = "".join(_section_text(key, section) for key, section in value.items())
    if not path.exists() or read_text(path) != text:
        write_text(path, text, durable=False)  # it is compared at each call, and written again
    return path


_section_texts: dict[str, str] = {}


def _section_text(key: str, section: Any) -> str:
    """A section as YAML; thousands of steps have few different ones, and each is written once."""
    known = repr((key, section))
    if known not in _section_texts:
        _section_texts[known] = yaml_text({key: section})
    return _section_texts[known]


def step_config_path(folder: Path, step: str, digest: str) -> Path:
    """Where the configuration of a step lies in a results folder, by the hash of what it says."""
    return folder / "config" / f"{step}-{digest[:DIGITS]}.yaml"


def step_digest(settings: Settings, step: str, **selection: Any) -> str:
    """Hash of what a step reads, wherever its results lie and however it is executed."""
    return _digest(step, step_settings(settings, step, **selection))


def step_code(settings: Settings, step: str, views: Sequence[str] = (), **selection: Any) -> str:
    """Hash of the code that computes a step's result; `views` are those that it shows."""
    own = step_settings(settings, step, **selection)
    computed_by = STEPS[step].computed_by
    modules = set(package_modules(computed_by) if STEPS[step].discovers else ())
    for registry in STEPS[step].plugins:
        for name in _plugin_names(step, registry, settings, own, views):
            if module := plugin_module(registry, name):
                modules.add(module)
    return code_digest(computed_by, tuple(sorted(modules)))


def step_key(
    settings: Settings, step: str, views: Sequence[str] = (), **selection: Any
) -> dict[str, str]:
    """The hashes of settings and code with which a step's result is stored."""
    return {
        "config": step_digest(settings, step, **selection),
        "code": step_code(settings, step, views, **selection),
    }


def _plugin_names(
    step: str, registry: str, settings: Settings, own: Value, views: Sequence[str]
) -> list[str | None]:
    """The names that a step's own settings, and the views that it shows, take from a registry."""
    if registry == FAMILIES:
        return [own["model"].get("family", "qwen3_vl")]
    if registry == REDUCTIONS:
        # A part of a view's name starts with that of its reduction, or of its budget.
        shown = [*own.get("actions", ()), *views]
        return [part.partition("-")[0] for view in shown for part in view.split("+")]
    if registry == POLICIES:
        points = [point for name in own["experiments"] for point in policy_points(settings, name)]
        fallback = any(point.fallback_mode is not None for point in points)
        fitted = any(map(by_correctness, points))
        names = [point.baseline_name for point in points]
        return [*names, *(["fallback"] if fallback else []), *(["probe"] if fitted else [])]
    datasets = own["data"]["datasets"]
    if step == "live":  # it scores what its routers are fitted on, and nothing else
        datasets = {ref["dataset"]: datasets[ref["dataset"]] for ref in own["data"]["router_fit"]}
    formats = [dataset["format"] for dataset in datasets.values()]
    if registry == FORMATS:
        return formats
    # The scorers that datasets or their formats name, and the lenient one where a set asks for it.
    scored = [entry.get("scorer") for entry in datasets.values()]
    modules = {
        plugin_module(FORMATS, name)
        for name, own_scorer in zip(formats, scored, strict=True)
        if own_scorer is None
    }
    sets = [*own["data"]["eval_sets"].values(), *own["data"]["router_fit"]]
    lenient = any(chosen.get("parse") == "fuzzy" for chosen in sets)
    scorers = [declared_text(module, "scorer") for module in modules if module]
    scorers += [name for name in scored if name is not None]
    return [*scorers, *(["fuzzy"] if lenient else [])]


def _digest(step: str, value: Value) -> str:
    left_out = ("results_dir", "quick", *PASSED_ON.get(step, ()))
    hashed = {key: item for key, item in value.items() if key not in left_out}
    for section in EXECUTION_KEYS.keys() & hashed.keys():
        kept = hashed[section].keys() - EXECUTION_KEYS[section]
        hashed[section] = {key: item for key, item in hashed[section].items() if key in kept}
    # The text keeps the order of keys, which counts: tables list rows in that order.
    return sha256_bytes(repr(hashed).encode())


def plain(item: Any) -> Any:
    """Tuples as lists, for YAML. (A dump as JSON would lose an infinite lambda_cost.)"""
    if isinstance(item, dict):
        return {key: plain(inner) for key, inner in item.items()}
    return [plain(inner) for inner in item] if isinstance(item, list | tuple) else item

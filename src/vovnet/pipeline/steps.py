"""Which settings each step reads: one function per step of the catalogue.

Each returns the sections of a complete configuration that holds what the step reads and
nothing else. Keys are listed, so that a new setting enters only the steps that it is added to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vovnet.config import (
    EvalSet,
    Experiment,
    Section,
    Settings,
    SplitRef,
    mmbench_part,
    run_settings,
)
from vovnet.config.experiments import (
    ablation_experiments,
    bench_experiments,
    experiment_seeds,
    experiment_sets,
    fallback_experiments,
    report_experiments,
    stage1_owner,
    stage1_reads_actions,
    train_parts,
    with_matched,
    with_sources,
)
from vovnet.core.layout import PAPER, ROUTER_FIT
from vovnet.policies.experiments import uses_router_fit

Value = dict[str, Any]

PROMPT_KEYS = {"system_prompt", "prompt_template", "prompt_order"}
SIGNAL_KEYS = {"feature_mode", "head_hidden_size", "action_space"}
"""Settings of the policy that the head's scores are made with."""

OBJECTIVE_KEYS = {"use_straight_through", "entropy_weight", "lambda_cost", "cost_scale"}
"""Settings of the policy that training reads beside those; no other retrains a model."""

GENERATION_KEYS = {
    "batch_size",
    "max_new_tokens",
    "num_beams",
    "do_sample",
    "temperature",
    "seed",
    "cache_reuse",
    "num_shards",
    "shard_rows",
}


# ---- the steps -------------------------------------------------------------------------


def synthesize(settings: Settings, dataset: str) -> Value:
    data = settings.data
    definition = {dataset: _dump(data.datasets[dataset])}
    return _step(data={"datasets": definition} | _part(data, {"synthetic"}))


def fetch(settings: Settings, dataset: str) -> Value:
    return _step(data={"datasets": {dataset: _dump(settings.data.datasets[dataset])}})


def prepare(settings: Settings, dataset: str, split: str) -> Value:
    definition = settings.data.datasets[dataset]
    value = {key: _of_split(item, split) for key, item in _dump(definition).items()}
    ref = SplitRef(dataset=dataset, split=split)
    return _step(data={"datasets": {dataset: value}, **_division(settings, [ref])})


def leakage(settings: Settings) -> Value:
    train, router_fit = train_parts(settings), list(settings.data.router_fit)
    names = list(settings.data.eval_sets)
    sets = {name: _part(settings.data.eval_sets[name], {"dataset", "split"}) for name in names}
    refs = [*train, *router_fit, *settings.data.eval_sets.values()]
    return _step(
        data={
            "datasets": _datasets(settings, refs),
            "train": _dump_all(train),
            "router_fit": _dump_all(router_fit),
            "eval_sets": sets,
            **_division(settings, refs),
            **_part(settings.data, {"leakage"}),
        }
    )


def pretrain(settings: Settings) -> Value:
    return _step(
        actions=settings.actions,
        model=_dump(settings.model),
        data=_part(settings.data, PROMPT_KEYS),
        vision_budget=_dump(settings.vision_budget),
        training=_without_prefix(settings.training, "stage2_", "head_"),
        pretraining={name: _dump(phase) for name, phase in settings.pretraining.items()},
    )


def train(settings: Settings, run: str, seed: int, stage: int) -> Value:
    value = run_settings(settings, run, seed)
    sections: Value = {
        "model": _dump(value.model),
        "data": {
            **_part(value.data, PROMPT_KEYS),
            "datasets": _datasets(settings, value.data.train),
            **_division(settings, value.data.train),
            "train": _dump_all(value.data.train),
        },
        "vision_budget": _dump(value.vision_budget),
    }
    if stage == 1:
        training = _without_prefix(value.training, "stage2_", "head_")
        drawn = {"actions": value.actions} if stage1_reads_actions(value) else {}
        return _step(runs=[run], seeds=[seed], **sections, **drawn, training=training)
    return _step(
        runs=[stage1_owner(settings, run), run],
        seeds=[seed],
        **sections,
        actions=value.actions,
        policy=_part(value.policy, SIGNAL_KEYS | OBJECTIVE_KEYS),
        training=_dump(value.training),
    )


def observe(settings: Settings, run: str, seed: int, eval_set: str) -> Value:
    value = run_settings(settings, run, seed)
    names = [] if eval_set == ROUTER_FIT else [eval_set]
    sets = _unscored(_eval_sets(settings, names))
    return _step(
        actions=settings.actions,
        runs=[run],
        seeds=[seed],
        model=_dump(value.model),
        data=_part(value.data, PROMPT_KEYS)
        | _observed(settings, names, router_fit=not names)
        | {"eval_sets": sets},
        vision_budget=_dump(value.vision_budget),
        policy=_part(value.policy, SIGNAL_KEYS),
        eval=_part(value.eval, GENERATION_KEYS),
    )


def match(settings: Settings, experiment: str) -> Value:
    return _decide(settings, experiment, with_eval=set())


def evaluate(settings: Settings, experiment: str) -> Value:
    return _decide(settings, experiment, with_eval={"seed", "bootstrap_samples"})


def error_slices(settings: Settings, experiment: str) -> Value:
    return _decide(settings, experiment, with_eval=set())


def _decide(settings: Settings, experiment: str, with_eval: set[str]) -> Value:
    names = with_matched(settings, experiment)
    value = run_settings(settings, settings.experiments[experiment].run)
    sets = experiment_sets(settings, experiment)
    others = [name for source in names for name in experiment_sets(settings, source)]
    return _step(
        actions=settings.actions,
        runs=[settings.experiments[name].run for name in names],
        seeds=experiment_seeds(settings, experiment),
        data=_observed(
            settings, dict.fromkeys(sets + others), uses_router_fit(settings, experiment)
        ),
        policy=_dump(value.policy),
        eval=_part(value.eval, with_eval),
        experiments={name: _stanza(settings, name) for name in names},
    )


def live(settings: Settings, experiment: str) -> Value:
    """What `vovnet evaluate` alone reads is left out: scorers of the sets, and resamples."""
    stanza = settings.experiments[experiment]
    value = run_settings(settings, stanza.run)
    sets = experiment_sets(settings, experiment)
    observed = _observed(settings, sets, uses_router_fit(settings, experiment))
    observed["eval_sets"] = _unscored(observed["eval_sets"])
    return _step(
        actions=settings.actions,
        runs=[stanza.run],
        seeds=experiment_seeds(settings, experiment),
        model=_dump(value.model),
        data=_part(value.data, PROMPT_KEYS) | observed,
        vision_budget=_dump(value.vision_budget),
        policy=_dump(value.policy),
        eval=_dump(value.eval, exclude={"max_samples", "bootstrap_samples", "profile"}),
        experiments={name: _stanza(settings, name) for name in with_matched(settings, experiment)},
    )


def reliability(settings: Settings) -> Value:
    """The report, of the experiments that are cut into slices or have a fallback."""
    sliced = [name for name, item in settings.experiments.items() if item.error_slices]
    return _only(_report(settings), settings, [*sliced, *fallback_experiments(settings)])


def ablation_table(settings: Settings) -> Value:
    """The report, of the default and the ablations."""
    return _only(_report(settings), settings, ablation_experiments(settings))


def _only(value: Value, settings: Settings, names: Iterable[str]) -> Value:
    """A report's configuration with some experiments, and those that they are matched to."""
    kept = with_sources(settings, names)
    return value | {"experiments": {name: value["experiments"][name] for name in kept}}


def bench(settings: Settings) -> Value:
    names = bench_experiments(settings)
    run = settings.experiments[names[0]].run
    value = run_settings(settings, run)
    return _step(
        actions=settings.actions,
        runs=[run],
        seeds=settings.seeds[:1],
        model=_dump(value.model),
        data=_part(value.data, PROMPT_KEYS)
        | _observed(settings, settings.data.eval_sets, router_fit=True),
        vision_budget=_dump(value.vision_budget),
        policy=_dump(value.policy),
        eval=_dump(value.eval, exclude={"max_samples", "profile"}),
        experiments={name: _stanza(settings, name) for name in names},
        bench=_dump(settings.bench),
    )


def shown(settings: Settings, report: str = PAPER) -> Value:
    """A report, of the experiments that it shows."""
    names = report_experiments(settings, report)
    return _only(_report(settings, report), settings, names)


def _report(settings: Settings, report: str = PAPER) -> Value:
    """Tables and figures show everything, so they depend on everything but its execution."""
    left_out = {"results_dir", "standalone", "targets", "bench", "resources", "quick"}
    value = _dump(settings, exclude=left_out)
    for stanza in value["experiments"].values():
        del stanza["targets"]
    value["data"]["eval_sets"] = _eval_sets(settings, settings.data.eval_sets)
    value["eval"].pop("max_samples")
    value["report"].pop("target")
    value["report"]["name"] = report
    return value


# ---- parts of a configuration ----------------------------------------------------------


def _step(runs: Iterable[str] = (), **sections: Any) -> Value:
    """Sections whose runs need no overrides, because they are applied already."""
    return {"runs": {run: {} for run in runs}, "experiments": {}, **sections}


def _dump(section: Section, exclude: set[str] | None = None) -> Value:
    return section.model_dump(exclude=exclude)


def _part(section: Section, include: set[str]) -> Value:
    return section.model_dump(include=include)


def _dump_all(parts: Iterable[SplitRef]) -> list[Value]:
    return [_dump(part) for part in parts]


def _without_prefix(section: Section, *prefixes: str) -> Value:
    return {key: item for key, item in _dump(section).items() if not key.startswith(prefixes)}


def _datasets(settings: Settings, refs: Iterable[SplitRef]) -> Value:
    """Definitions of the datasets that `refs` name, with only the splits that they name."""
    datasets: Value = {}
    for ref in refs:
        definition = settings.data.datasets[ref.dataset]
        entry = datasets.setdefault(
            ref.dataset, _part(definition, {"format", "root"}) | {"files": {}}
        )
        entry["files"][ref.split] = definition.files[ref.split]
    return datasets


def _of_split(item: Any, split: str) -> Any:
    """An entry of a dataset's definition, whose mappings are all by split, cut to one split."""
    if not isinstance(item, dict):
        return item
    return {name: inner for name, inner in item.items() if name == split}


def _division(settings: Settings, refs: Iterable[SplitRef]) -> Value:
    """How MMBench files are divided, where `refs` name a part of one."""
    datasets = settings.data.datasets
    if any(mmbench_part(datasets[ref.dataset], ref.split) for ref in refs):
        return _part(settings.data, {"mmbench_train_fraction", "mmbench_train_seed"})
    return {}


def _observed(settings: Settings, names: Iterable[str], router_fit: bool) -> Value:
    """Evaluation sets, on demand also the router's, and the datasets that they are part of."""
    names = list(names)
    fit = list(settings.data.router_fit) if router_fit else []
    return {
        "datasets": _datasets(settings, [*(settings.data.eval_sets[name] for name in names), *fit]),
        "eval_sets": _eval_sets(settings, names),
        **_division(settings, fit),
        "router_fit": [
            _dump(part) | {"max_samples": _smallest(part.max_samples, settings.quick)}
            for part in fit
        ],
    }


def _eval_sets(settings: Settings, names: Iterable[str]) -> Value:
    return {name: _eval_set(settings, settings.data.eval_sets[name]) for name in names}


def _unscored(sets: Value) -> Value:
    """Evaluation sets for a step that runs the model, which scores nothing."""
    return {name: item | {"fuzzy": False} for name, item in sets.items()}


def _eval_set(settings: Settings, chosen: EvalSet) -> Value:
    cap = _smallest(chosen.max_samples, settings.eval.max_samples, settings.quick)
    return _dump(chosen) | {"max_samples": cap}


def _smallest(*caps: int | None) -> int | None:
    return min((cap for cap in caps if cap is not None), default=None)


def _stanza(settings: Settings, name: str) -> Value:
    """An experiment with its sets and seeds spelled out; title and slices change no result."""
    stanza: Experiment = settings.experiments[name]
    return _dump(stanza) | {
        "title": name,
        "error_slices": False,
        "targets": [],
        "datasets": experiment_sets(settings, name),
        "seeds": experiment_seeds(settings, name),
    }

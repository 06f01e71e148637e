"""Which settings each step reads: one function per step of the catalogue.

Each returns the sections of a complete configuration that holds what the step reads and
nothing else. Keys are listed, so that a new setting enters only the steps that it is added to.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from vovnet.config import (
    Settings,
    SplitRef,
    imported_sets,
    last_stage,
    mmbench_part,
    policy_points,
    run_kind,
    run_settings,
)
from vovnet.config import experiments as suite
from vovnet.config.schema import EvalSettings, TrainingSettings
from vovnet.core.layout import PAPER, ROUTER_FIT
from vovnet.policies.experiments import reliability_experiments, uses_router_fit

Value = dict[str, Any]
Keys = set[str] | bool

PROMPT_KEYS = {"system_prompt", "prompt_template", "prompt_order"}
SIGNAL_KEYS = {"feature_mode", "head_hidden_size", "action_space"}
"""Settings of the policy that the head's scores are made with."""

OBJECTIVE_KEYS = {"use_straight_through", "entropy_weight", "lambda_cost", "cost_scale"}
OBJECTIVE_KEYS |= {"lambda_unit"}
"""Settings of the policy that training reads beside those; no other retrains a model."""

EVALUATED = ("seed", "bootstrap_samples")
"""Settings of the evaluation that scores are made with."""

GENERATION_KEYS = {"batch_size", "max_new_tokens", "num_beams", "do_sample", "temperature", "seed"}
GENERATION_KEYS |= {"cache_reuse", "num_shards", "shard_rows"}
ANSWER_KEYS = GENERATION_KEYS - {"batch_size", "num_shards", "shard_rows"}
"""How a model answers, whatever it is asked."""

LIVE_KEYS = EvalSettings.model_fields.keys() - {"max_samples", "bootstrap_samples", "profile"}
STAGE1_KEYS = {
    key for key in TrainingSettings.model_fields if not key.startswith(("stage2_", "head_"))
}


# ---- the steps -------------------------------------------------------------------------


def synthesize(settings: Settings, dataset: str) -> Value:
    data = settings.data
    definition = {dataset: data.datasets[dataset].model_dump(exclude={"scorer"})}
    return _step(data={"datasets": definition} | data.model_dump(include={"synthetic"}))


def fetch(settings: Settings, dataset: str) -> Value:
    definition = settings.data.datasets[dataset].model_dump(exclude={"scorer"})
    return _step(data={"datasets": {dataset: definition}})


def prepare(settings: Settings, dataset: str, split: str) -> Value:
    definition = settings.data.datasets[dataset]
    value = definition.model_dump(exclude={"scorer"})
    for key, item in value.items():
        # Such a mapping has an entry for each split.
        if isinstance(item, dict) and key not in ("columns", "where"):
            value[key] = {name: inner for name, inner in item.items() if name == split}
    ref = SplitRef(dataset=dataset, split=split)
    return _step(data={"datasets": {dataset: value}, **_division(settings, [ref])})


def leakage(settings: Settings) -> Value:
    data = settings.data
    train, sets, part = suite.train_parts(settings), data.eval_sets, {"dataset", "split"}
    refs = [*train, *data.router_fit, *sets.values()]
    return _step(
        data={
            "datasets": _datasets(settings, refs),
            "train": [ref.model_dump() for ref in train],
            "router_fit": [ref.model_dump(exclude={"parse"}) for ref in data.router_fit],
            "eval_sets": {name: item.model_dump(include=part) for name, item in sets.items()},
            **_division(settings, refs),
            **data.model_dump(include={"leakage", "router_fit_held_out"}),
        }
    )


def pretrain(settings: Settings) -> Value:
    parts = _parts(settings, actions=True, model=True, data=PROMPT_KEYS, vision_budget=True)
    return _step(**parts, **_parts(settings, training=STAGE1_KEYS, pretraining=True))


def train(settings: Settings, run: str, seed: int, stage: int) -> Value:
    value = run_settings(settings, run, seed)
    sections = _parts(value, model=True, data=PROMPT_KEYS, vision_budget=True)
    sections["data"] |= {
        "datasets": _datasets(settings, value.data.train),
        **_division(settings, value.data.train),
        "train": [part.model_dump() for part in value.data.train],
        **_left_out(value, {"router_fit_held_out"}),
    }
    if stage == 1:
        drawn = {"actions": True} if suite.stage1_reads_actions(value) else {}
        sections |= _parts(value, **drawn, training=STAGE1_KEYS, eval=ANSWER_KEYS)
        return _step(_runs(settings, run), seeds=[seed], **sections)
    sections |= _parts(value, actions=True, policy=SIGNAL_KEYS | OBJECTIVE_KEYS, training=True)
    sections |= _parts(value, eval=ANSWER_KEYS)
    owner = suite.stage1_owner(settings, run)
    return _step(_runs(settings, owner, run), seeds=[seed], **sections)


def observe(settings: Settings, run: str, seed: int, eval_set: str) -> Value:
    value = run_settings(settings, run, seed)
    names = [] if eval_set == ROUTER_FIT else [eval_set]
    observed = _unscored(_observed(settings, names, router_fit=not names))
    for part in observed["router_fit"]:
        part.pop("parse", None)
    scored = {"policy": SIGNAL_KEYS} if last_stage(settings, run) == 2 else {}
    limit = {"batch_tokens"} if value.eval.batch_tokens is not None else set()
    decided = _parts(value, **scored, eval=GENERATION_KEYS | limit)
    return _model_step(value, run, [seed], observed, **decided)


def imported(settings: Settings, run: str, seed: int, eval_set: str) -> Value:
    """The logs of one set; they are scored later, as observations are."""
    names = [] if eval_set == ROUTER_FIT else [eval_set]
    observed = _unscored(_observed(settings, names, router_fit=not names))
    for part in observed["router_fit"]:
        part.pop("parse", None)
    logs = {name: item for name, item in imported_sets(settings, run).items() if name == eval_set}
    dumped = {name: item.model_dump() for name, item in logs.items()}
    runs = {run: {"imported": dumped}}
    return _step(runs, actions=settings.actions, seeds=[seed], data=observed)


def evaluate(settings: Settings, experiment: str, eval_keys: Iterable[str] = EVALUATED) -> Value:
    names = suite.with_matched(settings, experiment)
    value = run_settings(settings, settings.experiments[experiment].run)
    sets = [name for source in names for name in suite.experiment_sets(settings, source)]
    evaluated = set(eval_keys)
    if evaluated and not value.eval.cache_reuse:  # only then it changes the FLOPs that are told
        evaluated.add("cache_reuse")
    priced = any(
        point.lambda_unit != "cost" for name in names for point in policy_points(value, name)
    )
    budget = _parts(value, vision_budget=True) if priced else {}  # only then it changes a price
    runs, policy = _policies(settings, names)
    return _step(
        runs,
        actions=settings.actions,
        seeds=suite.experiment_seeds(settings, experiment),
        data=_observed(settings, dict.fromkeys(sets), uses_router_fit(settings, experiment)),
        policy=policy,
        eval=value.eval.model_dump(include=evaluated),
        experiments=_stanzas(settings, names),
        **budget,
    )


def match(settings: Settings, experiment: str) -> Value:
    return evaluate(settings, experiment, eval_keys=())


def live(settings: Settings, experiment: str) -> Value:
    """What `vovnet evaluate` alone reads is left out: scorers of the sets, and resamples."""
    run, names = settings.experiments[experiment].run, suite.with_matched(settings, experiment)
    value, seeds = run_settings(settings, run), suite.experiment_seeds(settings, experiment)
    sets = [name for source in names for name in suite.experiment_sets(settings, source)]
    fitted = uses_router_fit(settings, experiment)
    observed = _unscored(_observed(settings, dict.fromkeys(sets), fitted), scores_fit=True)
    runs, policy = _policies(settings, names)
    decided = {"policy": policy} | _parts(value, eval=LIVE_KEYS)
    step = _model_step(value, run, seeds, observed, **decided)
    return step | {"runs": runs, "experiments": _stanzas(settings, names)}


def bench(settings: Settings) -> Value:
    names = suite.bench_experiments(settings)
    run = settings.experiments[names[0]].run
    value = run_settings(settings, run)
    return _model_step(
        value,
        run,
        suite.run_seeds(settings, run)[:1],
        _observed(settings, settings.data.eval_sets, router_fit=True),
        **_parts(value, policy=True, eval=LIVE_KEYS | {"bootstrap_samples"}),
        experiments=_stanzas(settings, names),
        bench=settings.bench.model_dump(),
    )


def bench_gpu(settings: Settings) -> Value:
    """The main recipe; the bench has photos and weights of its own."""
    recipe = _parts(settings, actions=True, model=True, vision_budget=True, policy=True)
    read = _parts(settings, data=PROMPT_KEYS, training=True, eval=LIVE_KEYS)
    return _step({"vovnet": {}}, **recipe, **read)


# ---- reports ---------------------------------------------------------------------------


def reliability(settings: Settings, report: str = PAPER) -> Value:
    """A report, of the experiments that are cut into slices, have a fallback or follow a head."""
    return _report(settings, reliability_experiments(settings, report), report)


def ablation_table(settings: Settings) -> Value:
    """The report, of the default and the ablations."""
    return _report(settings, suite.ablation_experiments(settings))


def shown(settings: Settings, report: str = PAPER) -> Value:
    """A report, of the experiments that it shows."""
    return _report(settings, suite.report_experiments(settings, report), report)


def _report(settings: Settings, names: Iterable[str], report: str = PAPER) -> Value:
    """Everything but its execution, of some experiments and those that they are matched to."""
    left_out = {"results_dir", "standalone", "targets", "bench", "plan", "resources", "quick"}
    value = settings.model_dump(exclude=left_out)
    stanzas = value["experiments"]
    for stanza in stanzas.values():
        del stanza["targets"]
    kept = suite.with_sources(settings, names)
    value["experiments"] = {name: stanzas[name] for name in kept}
    value["data"]["eval_sets"] = _eval_sets(settings, settings.data.eval_sets)
    value["eval"].pop("max_samples")
    for key in ("target", "further"):
        value["report"].pop(key)
    value["report"]["name"] = report
    return value


# ---- parts of a configuration ----------------------------------------------------------


def _step(runs: Value | None = None, **sections: Any) -> Value:
    """The sections of a step, and its runs."""
    return {"runs": runs or {}, "experiments": {}, **sections}


def _runs(settings: Settings, *names: str) -> Value:
    """Runs without their overrides, which are applied already."""
    return {run: run_kind(settings, run) for run in names}


def _policies(settings: Settings, names: Sequence[str]) -> tuple[Value, Value]:
    """The runs of an experiment and those that it is matched to, and the policy below theirs."""
    runs = _runs(settings, *(settings.experiments[name].run for name in names))
    policies = {run: run_settings(settings, run).policy for run in runs}
    own = policies[settings.experiments[names[0]].run]
    alike = all(policy == own for policy in policies.values())
    common = own if alike else settings.policy
    for run, policy in policies.items():
        if changed := {key: value for key, value in policy if value != getattr(common, key)}:
            runs[run]["policy"] = changed
    return runs, common.model_dump()


def _model_step(
    value: Settings, run: str, seeds: Sequence[int], observed: Value, **further: Any
) -> Value:
    """A step that runs a trained model on some sets; `value` are the settings of its run."""
    model = _parts(value, model=True, data=PROMPT_KEYS, vision_budget=True)
    model["data"] |= observed
    return _step(_runs(value, run), actions=value.actions, seeds=seeds, **model, **further)


def _parts(settings: Settings, **keys: Keys) -> Value:
    """Sections of the settings in the order given: whole ones (True), or some of their keys."""
    dumped = settings.model_dump(include=keys)
    return {section: dumped[section] for section in keys}


def _datasets(settings: Settings, refs: Iterable[SplitRef], *further: str) -> Value:
    """Definitions of the datasets that `refs` name, with only the splits that they name.

    `further` are keys beside those that say where the samples are.
    """
    datasets: Value = {}
    for ref in refs:
        definition = settings.data.datasets[ref.dataset]
        entry = datasets.setdefault(
            ref.dataset, definition.model_dump(include={"format", "root", *further}) | {"files": {}}
        )
        entry["files"][ref.split] = definition.files[ref.split]
    return datasets


def _division(settings: Settings, refs: Iterable[SplitRef]) -> Value:
    """How MMBench files are divided, where `refs` name a part of one."""
    datasets = settings.data.datasets
    if any(mmbench_part(datasets[ref.dataset], ref.split) for ref in refs):
        return settings.data.model_dump(include={"mmbench_train_fraction", "mmbench_train_seed"})
    return {}


def _observed(settings: Settings, names: Iterable[str], router_fit: bool) -> Value:
    """Evaluation sets, on demand also the router's, and the datasets that they are part of."""
    names = list(names)
    fit = list(settings.data.router_fit) if router_fit else []
    return {
        **(_left_out(settings) if fit else {}),
        "datasets": _datasets(
            settings, [*(settings.data.eval_sets[name] for name in names), *fit], "scorer"
        ),
        "eval_sets": _eval_sets(settings, names),
        **_division(settings, fit),
        "router_fit": [
            part.model_dump() | {"max_samples": _smallest(part.max_samples, settings.quick)}
            for part in fit
        ],
    }


def _left_out(settings: Settings, keys: Iterable[str] = ()) -> Value:
    """What says that samples are left out of a mix; which they are, the mix itself tells."""
    drops = {"leakage": {"on_hit": "drop"}} if settings.data.leakage.on_hit == "drop" else {}
    return drops | settings.data.model_dump(include=set(keys))


def _eval_sets(settings: Settings, names: Iterable[str]) -> Value:
    caps = settings.eval.max_samples, settings.quick
    sets = {name: settings.data.eval_sets[name] for name in names}
    return {
        name: item.model_dump() | {"max_samples": _smallest(item.max_samples, *caps)}
        for name, item in sets.items()
    }


def _unscored(observed: Value, scores_fit: bool = False) -> Value:
    """The sets for a step that runs the model, which scores nothing but what routers fit on."""
    fitted = {ref["dataset"] for ref in observed["router_fit"] if scores_fit}
    datasets = {
        name: {key: value for key, value in item.items() if key != "scorer" or name in fitted}
        for name, item in observed["datasets"].items()
    }
    observed = observed | {"datasets": datasets}
    sets = {name: item | {"parse": "official"} for name, item in observed["eval_sets"].items()}
    return observed | {"eval_sets": sets}


def _smallest(*caps: int | None) -> int | None:
    return min((cap for cap in caps if cap is not None), default=None)


def _stanzas(settings: Settings, names: Iterable[str]) -> Value:
    """Experiments with their sets and seeds spelled out; title and slices change no result."""
    return {
        name: settings.experiments[name].model_dump()
        | {
            "title": name,
            "error_slices": False,
            "targets": [],
            "datasets": suite.experiment_sets(settings, name),
            "seeds": suite.experiment_seeds(settings, name),
        }
        for name in names
    }

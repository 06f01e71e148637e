"""All settings together: how files are layered, what must fit, what runs and sweeps override."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from vovnet.config import execution, kinds, schema
from vovnet.config.data import DataSettings
from vovnet.config.imports import ImportedSet
from vovnet.config.kinds import Section, first_error
from vovnet.config.layers import merge, read_layers, set_layers
from vovnet.config.runs import IMPORTED, check_overrides
from vovnet.config.schema import PolicySettings
from vovnet.config.stanzas import Experiment
from vovnet.core.checks import repeated
from vovnet.core.errors import ConfigError
from vovnet.core.layout import TAKEN, Layout
from vovnet.views import DEFAULT_ACTIONS

BASE_SEED = 0
"""The seed of a base run, which has no training to repeat."""

RESULTS = "results"
"""The results folder of config/config.yaml, and of what is layered on it."""


class Settings(Section):
    """Everything. `Settings()` is valid and gives every default."""

    results_dir: kinds.ResultsFolder = Field(RESULTS, description="Where results are written.")
    standalone: bool = False
    """Whether snakemake reads this suite without config/config.yaml below it."""
    model: schema.ModelSettings = schema.ModelSettings()
    data: DataSettings = DataSettings()
    actions: kinds.ActionNames = Field(list(DEFAULT_ACTIONS))
    """The views among which policies choose."""
    vision_budget: schema.VisionBudget = schema.VisionBudget()
    policy: PolicySettings = PolicySettings()
    training: schema.TrainingSettings = schema.TrainingSettings()
    pretraining: dict[str, schema.PretrainingPhase] = Field({})
    """How the tiny base model is made, phase after phase."""
    eval: schema.EvalSettings = schema.EvalSettings()
    seeds: kinds.Seeds = Field([0, 1, 2], description="Each trains every run once more.")
    runs: dict[str, dict[str, Any]] = Field({"vovnet": {}})
    """Training recipes: overrides of model, data, policy and training, and of how eval answers.
    With `base: true` nothing is trained: the base model is observed as it is, and only model, data
    and eval may be overridden. With `last_stage: 1` the model of a stage 1 of its own is observed,
    which has no trained head. With `imported`, which maps sets to logs of other programs, no model
    is run at all."""
    experiments: dict[str, Experiment] = Field({}, description="By name, what `all` evaluates.")
    targets: dict[str, list[str]] = Field({}, description="Named lists of experiments.")
    report: execution.ReportSettings = execution.ReportSettings()
    bench: execution.BenchSettings = execution.BenchSettings()
    plan: execution.PlanSettings = execution.PlanSettings()
    resources: execution.ResourceSettings = execution.ResourceSettings()
    quick: kinds.Samples | None = Field(None)
    """Evaluate at most this many samples of each set."""

    @property
    def layout(self) -> Layout:
        """Where the files of these settings lie."""
        return Layout(Path(self.results_dir), report=self.report.name, quick=self.quick)

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for name, overrides in self.runs.items():
            check_overrides(f"runs.{name}", overrides)
        if self.standalone and self.results_dir == RESULTS:
            raise ValueError(
                "results_dir: a suite with `standalone: true` needs a folder of its own,"
                f" {RESULTS!r} is that of config/config.yaml"
            )
        _check_parts(self.data)
        self._check_shares()
        for key, named, place, known in self._references():
            if named not in known:
                raise ValueError(f"{key}: {named!r} is not in {place}")
        for report in self.report.further:
            if report in TAKEN:
                raise ValueError(f"report.further: {report!r} is a folder of results already")
        for name, experiment in self.experiments.items():
            _check_match(f"experiments.{name}", experiment)
            _check_circle(name, self.experiments)
            if experiment.seeds not in (None, [BASE_SEED]) and is_base(self, experiment.run):
                raise ValueError(
                    f"experiments.{name}.seeds: the base run {experiment.run!r} is not trained and"
                    f" has the seed {BASE_SEED} alone, got {experiment.seeds}"
                )
            for swept in experiment.sweep:
                if swept.partition(".")[0] not in PolicySettings.model_fields:
                    raise ValueError(f"experiments.{name}.sweep: policy has no key {swept!r}")
            policy_points(self, name)
        for run, overrides in self.runs.items():
            if overrides:
                self._check_run(run)
            else:
                _check_training(self)
        return self

    def _references(self) -> Iterator[tuple[str, str, str, Collection[str]]]:
        """Each name of something else: its key, the name, where it must be, and what is there."""
        for name, experiment in self.experiments.items():
            key = f"experiments.{name}"
            yield f"{key}.run", experiment.run, "runs", self.runs
            for target in experiment.targets:
                yield f"{key}.targets", target, "targets", self.targets
            for dataset in experiment.datasets or []:
                yield f"{key}.datasets", dataset, "data.eval_sets", self.data.eval_sets
            if experiment.match:
                yield f"{key}.match", experiment.match.experiment, "experiments", self.experiments
        for dataset, splits in self.plan.sizes.items():
            yield "plan.sizes", dataset, "data.datasets", self.data.datasets
            for split in splits:
                files = self.data.datasets[dataset].files
                yield f"plan.sizes.{dataset}", split, f"data.datasets.{dataset}.files", files
        # The configuration of a single command has no targets.
        if self.targets and self.report.target is not None:
            yield "report.target", self.report.target, "targets", self.targets
        for report in self.report.further:
            yield "report.further", report, "targets", self.targets
        for target, names in self.targets.items():
            for name in names:
                yield f"targets.{target}", name, "experiments", self.experiments

    def _check_shares(self) -> None:
        """Lists of shares have one per action."""
        lists = {
            f"pretraining.{name}.view_shares": phase.view_shares
            for name, phase in self.pretraining.items()
        }
        if self.training.stage1_baseline_name == "random_policy_matched":
            lists["training.stage1_target_ratios"] = self.training.stage1_target_ratios or []
        for key, shares in lists.items():
            if shares and len(shares) != len(self.actions):
                raise ValueError(f"{key}: expected a share for each of {self.actions}")
        floor, count = self.training.stage2_action_floor, len(self.actions)
        if floor * count > 1:
            raise ValueError(
                f"training.stage2_action_floor: expected at most {1 / count:g} for {count} actions,"
                f" got {floor:g}"
            )

    def _check_run(self, run: str) -> None:
        """What a run overrides must fit the data and the experiments as well."""
        value = run_settings(self, run)
        try:
            _check_parts(value.data)
            if not is_base(self, run):
                _check_training(value)
                value._check_shares()
            for name, experiment in self.experiments.items():
                if experiment.run == run:
                    policy_points(value, name)
        except ValueError as error:
            raise ValueError(f"runs.{run}: {error}") from None


def _check_training(settings: Settings) -> None:
    """Adapters are trained by DDP; an infinite price of what costs nothing is no number."""
    if math.isinf(settings.policy.lambda_cost):
        raise ValueError(
            "policy.lambda_cost: expected a finite price, by which models are trained, got inf; the"
            " policy of an experiment may have it"
        )
    if settings.training.fsdp and settings.model.lora is not None:
        raise ValueError(
            "training.fsdp: expected false with model.lora, whose adapters fit on every device,"
            " got true"
        )


def _check_parts(data: DataSettings) -> None:
    """Every part of a dataset that is named must be one."""
    refs = [("data.train", ref) for ref in data.train]
    refs += [("data.router_fit", ref) for ref in data.router_fit]
    refs += [(f"data.eval_sets.{name}", ref) for name, ref in data.eval_sets.items()]
    for key, ref in refs:
        if ref.dataset not in data.datasets:
            raise ValueError(f"{key}: dataset {ref.dataset!r} is not in data.datasets")
        if ref.split not in data.datasets[ref.dataset].files:
            raise ValueError(f"{key}: dataset {ref.dataset!r} has no split {ref.split!r}")
    if twice := repeated([(ref.dataset, ref.split) for ref in data.router_fit]):
        raise ValueError(f"data.router_fit: expected each split once, got {'/'.join(twice)} twice")


def _check_match(key: str, experiment: Experiment) -> None:
    """A match is the experiment's sweep; thresholds of its own cut as many buckets as asked."""
    if experiment.match is None:
        return
    if experiment.sweep:
        raise ValueError(
            f"{key}.sweep: a match has one point per matched row, expected no sweep of"
            f" {next(iter(experiment.sweep))!r}"
        )
    buckets, limits = experiment.match.buckets, experiment.policy.get("baseline_bucket_thresholds")
    if limits is not None and (buckets is None or len(limits) != buckets - 1):
        raise ValueError(
            f"{key}.match.buckets: expected {len(limits) + 1}, for {len(limits)}"
            f" baseline_bucket_thresholds, got {buckets}"
        )


def _check_circle(name: str, experiments: Mapping[str, Experiment]) -> None:
    """Ratios that are copied must be somebody's own in the end."""
    chain = [name]
    while (match := experiments[chain[-1]].match) is not None and match.experiment not in chain[1:]:
        chain.append(match.experiment)
        if match.experiment == name:
            raise ValueError(
                f"experiments.{name}.match: expected an experiment that does not copy this one in"
                f" turn, got the circle {' -> '.join(chain)}"
            )


# ---- layers ----------------------------------------------------------------------------


def validate(value: Mapping[str, Any], source: str) -> Settings:
    """Validate a merged mapping; the error names source and key."""
    try:
        return Settings.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{source}: {first_error(error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def load(paths: Iterable[Path | str], assignments: Sequence[str] = ()) -> Settings:
    """Load and layer YAML files, and set keys such as `policy.lambda_cost=0.02` on top of them.

    The error names the files and the key.
    """
    paths = list(paths)
    layers = [*read_layers(paths), *set_layers(assignments)]
    return validate(reduce(merge, layers, {}), source_of(paths, assignments))


def source_of(paths: Iterable[Path | str], assignments: Iterable[str] = ()) -> str:
    """How errors name the origin of settings."""
    named = [*map(str, paths), *(f"--set {text}" for text in assignments)]
    return " + ".join(named) or "configuration"


def run_settings(settings: Settings, run: str, seed: int | None = None) -> Settings:
    """Settings of one training recipe and seed: the run's overrides applied.

    A base run has no adapters. Images before the question leave no cache to reuse. Only the
    sections that the run overrides are validated again; it is called for every job.
    """
    if run not in settings.runs:
        raise ConfigError(f"runs: no run named {run!r}, expected one of {list(settings.runs)}")
    changed: dict[str, Any] = {
        name: _overridden(getattr(settings, name), overrides, f"runs.{run}: {name}")
        for name, overrides in settings.runs[run].items()
        if name not in ("base", "last_stage", "imported")
    }
    if is_base(settings, run):
        model = changed.get("model", settings.model)
        changed["model"] = model.model_copy(update={"lora": None})
    if changed.get("data", settings.data).prompt_order == "image_first":
        if settings.runs[run].get("eval", {}).get("cache_reuse"):
            check_prompt_order(settings.model_copy(update=changed))
        answering = changed.get("eval", settings.eval)
        changed["eval"] = answering.model_copy(update={"cache_reuse": False})
    if seed is not None:
        training = changed.get("training", settings.training)
        changed["training"] = training.model_copy(update={"seed": seed})
    return settings.model_copy(update=changed)


def is_base(settings: Settings, run: str) -> bool:
    """Whether nothing of a run is trained: the base model as it is, or what was run elsewhere."""
    return bool(settings.runs.get(run, {}).get("base", False)) or is_imported(settings, run)


def is_imported(settings: Settings, run: str) -> bool:
    """Whether a run was run elsewhere, and its answers are read from logs."""
    return "imported" in settings.runs.get(run, {})


def imported_sets(settings: Settings, run: str) -> dict[str, ImportedSet]:
    """The logs of an imported run by the set that they answer."""
    return IMPORTED.validate_python(settings.runs[run]["imported"])


def last_stage(settings: Settings, run: str) -> int:
    """The stage whose model a run is: 2, or 1 where it has no other, and 0 of a base run."""
    return 0 if is_base(settings, run) else int(settings.runs.get(run, {}).get("last_stage", 2))


def run_kind(settings: Settings, run: str) -> dict[str, Any]:
    """A run without its overrides: what kind of model it is."""
    if is_imported(settings, run):
        return {"imported": {}}
    kinds: dict[int, dict[str, Any]] = {0: {"base": True}, 1: {"last_stage": 1}}
    return kinds.get(last_stage(settings, run), {})


def _overridden(section: Section, overrides: Any, key: str) -> Section:
    value = merge({"": section.model_dump()}, {"": overrides})[""]
    try:
        return type(section).model_validate(value)
    except ValidationError as error:
        separator = "." if error.errors()[0]["loc"] else ": "
        raise ConfigError(f"{key}{separator}{first_error(error)}") from None


def check_prompt_order(settings: Settings) -> None:
    """Images before the question leave the text pass and the views no prefix to share."""
    if settings.data.prompt_order == "image_first" and settings.eval.cache_reuse:
        raise ConfigError(
            "eval.cache_reuse: must be false with data.prompt_order: image_first, whose views"
            " share no prefix with the text pass"
        )


def check_trained_weights(model: schema.ModelSettings) -> None:
    """Weights of fp16 lose the small steps of training; adapters are float32 whatever their base.

    An evaluation may read weights that are trained otherwise in fp16.
    """
    if model.dtype == "float16" and model.lora is None:
        raise ConfigError(
            "model.dtype: expected float32 or bfloat16 for weights that are trained, or model.lora,"
            " got float16"
        )


def policy_points(settings: Settings, name: str) -> list[PolicySettings]:
    """The policies of an experiment's sweep, one per results row (one if there is no sweep).

    What the experiment's run says of policies holds where the experiment says nothing. A matched
    experiment has one point per matched row; its ratios are filled in from the matched results
    when it is evaluated.
    """
    experiment = settings.experiments[name]
    policy = run_settings(settings, experiment.run).policy
    base = merge(policy.model_dump(), experiment.policy)
    key, values, points = "policy", list[Any](), [base]
    for swept, values in experiment.sweep.items():
        key, points = f"sweep.{swept}", [merge(base, _nested(swept, value)) for value in values]
    if (match := experiment.match) is not None:
        key, values = "match", match.values
        points = [base | {match.key: value} for value in values]
    try:
        policies = [PolicySettings.model_validate(point) for point in points]
    except ValidationError as error:
        raise ValueError(f"experiments.{name}.policy.{first_error(error)}") from None
    if (twice := repeated(policies)) is not None:
        value = values[policies.index(twice)]
        raise ValueError(f"experiments.{name}.{key}: expected each value once, got {value!r} twice")
    return policies


def _nested(key: str, value: Any) -> dict[str, Any]:
    """A key of the policy, or one of its options as in `options.threshold`, as a layer."""
    first, _, rest = key.partition(".")
    return {first: {rest: value} if rest else value}

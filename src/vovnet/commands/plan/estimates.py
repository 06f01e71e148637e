"""How long jobs take: their counted work at the throughput that was measured.

Only jobs with GPUs are estimated by their work. What a model takes on CPU cores is not known
before a job of its kind has run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial

from vovnet.commands.plan.sizes import Part, Sizes, UnknownSizeError
from vovnet.commands.plan.work import Work
from vovnet.config import Settings, SplitRef, run_settings
from vovnet.config.experiments import ResolvedExperiment
from vovnet.model.throughput import Throughput
from vovnet.policies import kind_of
from vovnet.policies.experiments import experiment_views, needed_views

UNCOUNTED = {
    "synthesize": "prepare",
    "fetch": "prepare",
    "bench": "bench",
    "tiny_model": "tiny_model",
}
"""What the names of rules begin with whose work nobody counts -> their stage."""


@dataclass(frozen=True)
class Estimate:
    """What a job does and how fast; `seconds` is None where that is not known.

    `rate` is the throughput in words, and `start_s` the part of `seconds` that passes before it.
    """

    stage: str
    samples: float = 0.0
    tflop: float = 0.0
    rate: str = ""
    start_s: float = 0.0
    seconds: float | None = None


NO_ESTIMATE = Estimate("")


class Estimator:
    """Estimates the jobs of a suite. `unknown` says of which splits the size is not known."""

    def __init__(self, settings: Settings, throughput: Throughput) -> None:
        self.settings, self.throughput = settings, throughput
        self.sizes = Sizes(settings)
        self.unknown: set[str] = set()
        self._work = cache(lambda run: Work(run_settings(settings, run)))
        self._counted = cache(self._count)
        self._views = cache(partial(experiment_views, settings))

    def __call__(self, rule: str, wildcards: Mapping[str, str], gpus: int) -> Estimate:
        """Of a job by its rule and wildcards, on so many GPUs."""
        wanted = {key: item for key, item in wildcards.items() if key != "part"}
        return self._counted(rule, tuple(sorted(wanted.items())), gpus)

    def _count(self, rule: str, wildcards: tuple[tuple[str, str], ...], gpus: int) -> Estimate:
        named = dict(wildcards)
        try:
            if rule.startswith("train_stage"):
                return self._training(rule, named["run"], gpus)
            if rule == "observe":
                return self._observing(named, gpus)
            if rule == "live":
                return self._live(named["experiment"], gpus)
            if rule == "prepare":
                return self._preparing(SplitRef(dataset=named["dataset"], split=named["split"]))
        except UnknownSizeError as error:
            self.unknown.add(str(error))
            return Estimate("further_views" if named.get("group") == "views" else rule)
        stages = [stage for start, stage in UNCOUNTED.items() if rule.startswith(start)]
        return Estimate(stages[0]) if stages else self._light()

    # ---- kinds of jobs -----------------------------------------------------------------

    def _training(self, rule: str, run: str, gpus: int) -> Estimate:
        work, refs = self._work(run), run_settings(self.settings, run).data.train
        parts, training = self.sizes.mix(refs, "train"), work.settings.training
        if rule == "train_stage1":
            tflop, epochs = work.stage1(parts), training.stage1_epochs
            speed = self.throughput.training.stage1_tflops
        else:
            tflop, epochs = work.stage2(parts), training.stage2_epochs
            speed = self.throughput.training.stage2_tflops
        kept = self.throughput.kept_on(gpus)
        rate = f"{speed:g} TFLOP/s x {kept:g} on {gpus}" if gpus > 1 else f"{speed:g} TFLOP/s"
        return self._on_gpus(rule, epochs * _samples(parts), tflop, rate, speed * kept * gpus)

    def _observing(self, named: dict[str, str], gpus: int) -> Estimate:
        run, name, shards = named["run"], named["eval_set"], int(named["parts"])
        work, further = self._work(run), named["group"] == "views"
        views: list[str] = work.settings.actions
        if further:
            views = needed_views(self.settings, run, int(named["seed"]), name, self._views)
        parts = [Part(part.samples / shards, part.probes) for part in self.sizes.observed(name)]
        speed = self.throughput.observation.tflops
        return self._on_gpus(
            "further_views" if further else "observe",
            _samples(parts),
            work.observing(parts, views, text_pass=not further),
            f"{speed:g} TFLOP/s",
            speed * gpus,
        )

    def _live(self, name: str, gpus: int) -> Estimate:
        """Every answer as if it showed FULL; further cards do not help one question at a time."""
        experiment = ResolvedExperiment.of(self.settings, name)
        stanza, work, times = experiment.stanza, self._work(experiment.run), self.throughput.live
        parts = [
            part
            for eval_set in experiment.sets
            for part in self.sizes.observed(eval_set, stanza.max_samples)
        ]
        reads = any(kind_of(point).reads_text_pass(point) for point in experiment.points)
        repeats = len(experiment.seeds) * len(experiment.points)
        repeats *= 2 if stanza.compare_cache_reuse else 1
        steps = self.settings.plan.answer_tokens
        answer_ms = times.prefill_full_ms + steps * times.token_ms
        answer_ms += times.text_pass_ms if reads else 0
        samples = repeats * _samples(parts)
        tflop = repeats * work.observing(parts, ["full"], text_pass=reads)
        if not gpus:
            return Estimate("live", samples, tflop)
        start_s = self.settings.plan.start_s
        seconds = start_s + samples * answer_ms / 1000
        rate = f"{answer_ms:g} ms an answer"
        return Estimate("live", samples, tflop, rate, start_s, seconds)

    def _on_gpus(
        self, stage: str, samples: float, tflop: float, rate: str, speed: float
    ) -> Estimate:
        if not speed:
            return Estimate(stage, samples, tflop)
        start_s = self.settings.plan.start_s
        return Estimate(stage, samples, tflop, rate, start_s, start_s + tflop / speed)

    def _preparing(self, ref: SplitRef) -> Estimate:
        samples, speed = _samples(self.sizes.mix([ref])), self.settings.plan.prepare_per_s
        return Estimate("prepare", samples, 0.0, f"{speed:g} samples/s", 0.0, samples / speed)

    def _light(self) -> Estimate:
        seconds = self.settings.plan.light_s
        return Estimate("light", rate=f"{seconds:g} s a job", seconds=seconds)


def _samples(parts: list[Part]) -> float:
    return sum(part.samples for part in parts)

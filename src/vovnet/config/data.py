"""The section `data`: datasets, the sets that are made of them, and how questions are asked."""

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from vovnet.config.schema import Section
from vovnet.core.errors import ConfigError

Parse = Literal["official", "tolerant", "fuzzy"]
"""How answers are read; see `EvalSet.parse`."""


class PromptTemplates(Section):
    """One template per task type; fields: {question}, {hint}, {choices}."""

    multiple_choice: str = "{hint}{question}\n{choices}\nAnswer with the option's text."
    open: str = "{question}\nAnswer in a word or short phrase."
    vqa: str = "{question}\n{hint}Answer in a word or short phrase."
    instruction: str = "{question}"


class DatasetSettings(Section):
    """A raw dataset in its original layout; `files` maps a split to a path under `root`.

    Files of `source: hub` are downloaded from the dataset repository `repo_id` at `revision`.
    A format may have options beside these, which vovnet.data.formats checks. An option that is a
    mapping has an entry for each split.
    """

    model_config = ConfigDict(extra="allow")

    format: str = Field(description="A key of vovnet.data.formats.FORMATS.")
    source: Literal["synthetic", "local", "hub"] = "local"
    root: str
    repo_id: str | None = None
    revision: str | None = None
    files: dict[str, str]
    image_root: str | None = Field(None, description="Where image paths start, under `root`.")
    checksums: dict[str, str] = Field({})
    """Per split the hash that its file must have: `md5:<digits>` or `sha256:<digits>`."""

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the format alone."""
        return self.model_extra or {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "hub" and not self.repo_id:
            raise ValueError("source 'hub' needs a repo_id")
        return self


def mmbench_part(dataset: DatasetSettings, split: str) -> tuple[str, str] | None:
    """(`dev`, `train`) for the split `dev_train` of MMBench; None for a split that is no part.

    `<split>_train` and `<split>_eval` are the two parts of a file that has no training split.
    """
    base, _, part = split.rpartition("_")
    divided = dataset.format == "mmbench" and base and part in ("train", "eval")
    return (base, part) if divided else None


class SplitRef(Section):
    """A part of a prepared dataset."""

    dataset: str
    split: str
    max_samples: int | None = Field(None, gt=0)


class EvalSet(SplitRef):
    """What an experiment is evaluated on.

    `passes: first` keeps one row of each circular group, `all` keeps every replica and
    scores a group as right when every pass is right.
    """

    passes: Literal["first", "all"] = "first"
    parse: Parse = Field(
        "official",
        description="How answers to questions with options are read: `official` as the benchmark's"
        " own evaluator does; `tolerant` also takes an option's whole text where that finds no"
        " answer; `fuzzy` takes the most similar option.",
    )


class SyntheticSettings(Section):
    """The size and seed of the synthetic world."""

    seed: int = 0
    num_eval_questions: int = Field(1000, gt=0, description="Per benchmark.")
    num_train_questions: int = Field(2000, gt=0, description="Per training set.")


class LeakageSettings(Section):
    """What stops the run when training mix and evaluation sets share it."""

    fail_on: list[Literal["question", "image", "near_image", "id", "question_and_image"]] = Field(
        ["image", "near_image", "id", "question_and_image"]
    )


class DataSettings(Section):
    system_prompt: str = ""
    prompt_template: PromptTemplates = PromptTemplates()
    prompt_order: Literal["text_first", "image_first"] = "text_first"
    datasets: dict[str, DatasetSettings] = Field({})
    train: list[SplitRef] = Field([])
    router_fit: list[SplitRef] = Field([])
    """Part of the training split on which the routers are fitted."""
    eval_sets: dict[str, EvalSet] = Field({})
    synthetic: SyntheticSettings = SyntheticSettings()
    leakage: LeakageSettings = LeakageSettings()
    mmbench_train_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of an MMBench file's questions in its part `<split>_train`; the rest is"
        " `<split>_eval`. 0 leaves such parts out of the training mix.",
    )
    mmbench_train_seed: int = 0

    def dataset(self, name: str) -> DatasetSettings:
        """The definition of a dataset, by its name."""
        if name not in self.datasets:
            names = sorted(self.datasets)
            raise ConfigError(f"data.datasets: no dataset named {name!r}, expected one of {names}")
        return self.datasets[name]

    @model_validator(mode="after")
    def _leave_out_empty_parts(self) -> Self:
        if self.mmbench_train_fraction > 0:
            return self
        kept = {
            key: [part for part in getattr(self, key) if not self._is_mmbench_train(part)]
            for key in ("train", "router_fit")
        }
        unchanged = all(kept[key] == getattr(self, key) for key in kept)
        return self if unchanged else self.model_copy(update=kept)

    def _is_mmbench_train(self, part: SplitRef) -> bool:
        known = self.datasets.get(part.dataset)
        named = mmbench_part(known, part.split) if known else None
        return named is not None and named[1] == "train"

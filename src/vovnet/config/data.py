"""The section `data`: datasets, the sets that are made of them, and how questions are asked."""

import re
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from vovnet.config.kinds import PathText, Questions, Samples, Section
from vovnet.core.errors import ConfigError

Parse = Literal["official", "tolerant", "fuzzy"]
"""How answers are read; see `EvalSet.parse`."""

TEMPLATE_FIELDS = ("question", "hint", "choices")
"""What stands in braces in a template; each field is filled in as it is."""

HASHES = {"md5": 32, "sha256": 64}
"""Algorithms by which a configuration may name the file it expects -> digits of their hashes."""


def _check_template(template: str) -> str:
    """Refuse a template that cannot be filled in, or that asks no question."""
    known = ", ".join(f"{{{field}}}" for field in TEMPLATE_FIELDS)
    rule = f"expected the fields {known} alone, and a brace of the text itself twice"
    try:
        parts = [part[1:] for part in Formatter().parse(template)]
    except ValueError as error:
        raise ValueError(f"{error}: {rule}") from None
    for field, form, conversion in parts:
        if field is not None and (field not in TEMPLATE_FIELDS or form or conversion):
            form = f"{'!' * bool(conversion)}{conversion or ''}{':' * bool(form)}{form}"
            raise ValueError(f"unknown field {{{field}{form}}}: {rule}")
    if not any(field == "question" for field, *_ in parts):
        raise ValueError("expected {question} in it")
    return template


def _check_checksum(checksum: str) -> str:
    algorithm, _, digits = checksum.partition(":")
    if not re.fullmatch(f"[0-9a-f]{{{HASHES.get(algorithm, 0)}}}", digits) or not digits:
        forms = " or ".join(f"{name}:<{count} digits>" for name, count in HASHES.items())
        raise ValueError(f"expected {forms}, each of 0-9 or a-f")
    return checksum


Template = Annotated[str, AfterValidator(_check_template)]
Checksum = Annotated[str, AfterValidator(_check_checksum)]


class PromptTemplates(Section):
    """One template per task type; fields: {question}, {hint}, {choices}."""

    multiple_choice: Template = "{hint}{question}\n{choices}\nAnswer with the option's text."
    """Questions with options."""
    open: Template = "{question}\nAnswer in a word or short phrase."
    """Questions without options, to which one answer is right."""
    vqa: Template = "{question}\n{hint}Answer in a word or short phrase."
    """Questions with the answers of several people, as TextVQA's."""
    instruction: Template = Field("{question}", description="Turns of a conversation, as LLaVA's.")


class Columns(Section):
    """Which column of a table holds what, for the formats that read any table; null for none."""

    id: str | None = Field("id", description="The number of the row where there is none.")
    question: str | None = Field("question", description="What is asked.")
    answer: str | None = Field("answer", description="The gold answer, or a list of accepted ones.")
    image: str | list[str] | None = Field(
        "image", description="Encoded bytes, base64, or a path below `image_root`; or several."
    )
    options: str | list[str] | None = Field(
        None, description="A list of options, or a column for each; A, B, C ... if left out."
    )
    hint: str | None = Field(None, description="What is told before the question.")
    category: str | None = Field(None, description="What the question is about.")
    answer_is: Literal["letter", "place", "text"] | None = Field(
        None, exclude_if=lambda kind: kind is None
    )
    """How the gold answer names an option: found out if left out; a place is counted from 0."""


class DatasetSettings(Section):
    """A raw dataset in its original layout; `files` maps a split to a path under `root`.

    Files of `source: hub` are downloaded from the dataset repository `repo_id` at `revision`.
    A format may have options beside these, which vovnet.data.formats checks. An option that is a
    mapping has an entry for each split.
    """

    model_config = ConfigDict(extra="allow")

    format: str = Field(description="A key of vovnet.data.formats.FORMATS.")
    source: Literal["synthetic", "local", "hub"] = "local"
    """Whether the files are rendered, lie under `root`, or are downloaded from the hub."""
    root: PathText = Field(description="The folder of the files.")
    repo_id: str | None = Field(None, description="The dataset repository of `source: hub`.")
    revision: str | None = Field(None, description="Its commit, tag or branch.")
    files: dict[str, PathText] = Field(description="Per split its file under `root`, or a pattern.")
    image_root: PathText | None = Field(None, description="Where image paths start, under `root`.")
    checksums: dict[str, Checksum] = Field({})
    """Per split the hash that its file must have: `md5:<digits>` or `sha256:<digits>`."""
    scorer: str | None = Field(None, exclude_if=lambda name: name is None)
    """A key of vovnet.evaluation.scoring.SCORERS, in place of the format's own."""
    columns: Columns | None = Field(None, exclude_if=lambda columns: columns is None)
    """Which columns hold what, for the formats that read any table."""
    where: dict[str, str] | None = Field(None, exclude_if=lambda where: where is None)
    """For the same formats: columns and the values in them of the rows that are read."""

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the format alone."""
        return self.model_extra or {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "hub" and not self.repo_id:
            raise ValueError("source 'hub' needs a repo_id")
        made = [] if self.source == "local" else [self.root, *self.files.values()]
        if any(mark in path for path in made for mark in "{}"):
            raise ValueError("root and files: expected no '{' or '}', which Snakemake fills in")
        for split in self.checksums:
            if split not in self.files:
                raise ValueError(
                    f"checksums: there is no split {split!r}, expected one of {list(self.files)}"
                )
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

    dataset: str = Field(description="A key of `data.datasets`.")
    split: str = Field(description="A key of the dataset's `files`, or a part of it.")
    max_samples: Samples | None = Field(None, description="At most so many; all if left out.")
    draw_seed: int | None = Field(
        None,
        exclude_if=lambda seed: seed is None,
        description="Seed by which `max_samples` are drawn from the whole file, whole questions and"
        " whole conversations, of which the last may be cut. If left out, the first of the file"
        " are taken.",
    )


class RouterPart(SplitRef):
    """A part of what routers and heads are fitted on."""

    parse: Parse = Field(
        "tolerant",
        exclude_if=lambda parse: parse == "tolerant",
        description="How answers are read, as an evaluation set says it.",
    )


class EvalSet(SplitRef):
    """What an experiment is evaluated on.

    `passes: first` keeps one row of each circular group, `all` keeps every replica and
    scores a group as right when every pass is right.
    """

    passes: Literal["first", "all"] = "first"
    """Which rows of a circular group are asked, and must be right."""
    parse: Parse = Field(
        "official",
        description="How answers to questions with options are read: `official` as the benchmark's"
        " own evaluator does; `tolerant` also takes an option's whole text where that finds no"
        " answer; `fuzzy` takes the most similar option.",
    )


class SyntheticSettings(Section):
    """The size and seed of the synthetic world."""

    seed: int = Field(0, description="Another one draws another world.")
    num_eval_questions: Questions = Field(1000, description="Size of each benchmark.")
    num_train_questions: Questions = Field(2000, description="Size of each training set.")


class LeakageSettings(Section):
    """What training mix and evaluation sets must not share, and what happens where they do."""

    fail_on: list[Literal["question", "image", "near_image", "id", "question_and_image"]] = Field(
        ["image", "near_image", "id", "question_and_image"],
        description="What must not be shared; `near_image` is a copy that was scaled or encoded"
        " anew.",
    )
    on_hit: Literal["stop", "drop"] = Field("stop", exclude_if=lambda value: value == "stop")
    """Stop the run, or leave out the samples of the training mix and of router_fit."""


class DataSettings(Section):
    """Datasets, the sets that are made of them, and how questions are asked."""

    system_prompt: str = Field("", description="Said to the model before every question.")
    prompt_template: PromptTemplates = PromptTemplates()
    prompt_order: Literal["text_first", "image_first"] = "text_first"
    """Whether images come after the question, so that a look goes on from the text pass."""
    datasets: dict[str, DatasetSettings] = Field({}, description="By name, the raw datasets.")
    train: list[SplitRef] = Field([], description="The training mix.")
    router_fit: list[RouterPart] = Field([])
    """Questions of training splits on which routers and heads are fitted."""
    router_fit_held_out: bool = Field(False, exclude_if=lambda value: not value)
    """Leave out of the training mix what shares an id, a group or an image with router_fit, so
    that no model was trained on what its routers are fitted on."""
    eval_sets: dict[str, EvalSet] = Field({}, description="By name, what is evaluated on.")
    synthetic: SyntheticSettings = SyntheticSettings()
    leakage: LeakageSettings = LeakageSettings()
    mmbench_train_fraction: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of an MMBench file's questions in its part `<split>_train`; the rest is"
        " `<split>_eval`. 0 leaves such parts out of the training mix.",
    )
    mmbench_train_seed: int = Field(0, description="Seed by which those questions are drawn.")

    @property
    def leaves_out(self) -> bool:
        """Whether the leakage gate says which samples are left out of the training mix."""
        return self.router_fit_held_out or self.leakage.on_hit == "drop"

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

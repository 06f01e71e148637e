"""The sections of the configuration but for `data` and `experiments`: every key and its default."""

from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from vovnet.config.kinds import (
    Decay,
    Extended,
    GpuModel,
    PathText,
    ReductionName,
    Section,
    Shares,
    ViewName,
    check_shares,
)
from vovnet.core.layout import PAPER


class LoraSettings(Section):
    """Low-rank adapters (peft) for models too large to train whole."""

    r: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] = Field(["q_proj", "k_proj", "v_proj", "o_proj"])


class ModelSettings(Section):
    base_model_name: PathText = "src/vovnet/assets/tiny-qwen3-vl"
    """A folder or a hub name of a transformers VLM."""
    revision: str | None = None
    family: str = Field("qwen3_vl", description="A key of vovnet.model.families.FAMILIES.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    attn_implementation: str = "sdpa"
    """A name of transformers, or `varlen`: packed sequences without padding, for GPUs."""
    compile: bool = False
    """Compile the layers (torch.compile): a minute at the start, and fewer and faster kernels."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: all of a layer's, or
    with `compile` those that are cheap, so that half of the memory is needed."""
    lora: LoraSettings | None = None
    random_weights: bool = False
    """Random weights in the sizes of config.json instead of the model's own, for measuring."""


class VisionBudget(Section):
    """Sizes in pixels at which COARSE and FULL show an image; `None` is no limit."""

    coarse_long_side: int | None = Field(64, gt=0)
    full_long_side: int | None = Field(128, gt=0)
    coarse_max_pixels: int | None = Field(None, gt=0)
    full_max_pixels: int | None = Field(None, gt=0)
    patch_size: int = Field(16, gt=0)
    spatial_merge_size: int = Field(2, gt=0)

    @property
    def factor(self) -> int:
        """Side of one vision token in pixels."""
        return self.patch_size * self.spatial_merge_size


class PolicySettings(Section):
    # the learned policy
    feature_mode: Literal["hidden", "hidden_entropy", "hidden_margin", "hidden_entropy_margin"] = (
        "hidden"
    )
    action_space: Literal["binary", "ternary"] = "ternary"
    head_hidden_size: int = Field(256, gt=0)
    use_straight_through: bool = True
    entropy_weight: float = Field(1.0, gt=0)
    """Nats; temperature of the action distribution."""
    lambda_cost: Extended = Field(0.02, ge=0)
    lambda_unit: Literal["cost", "share_of_full"] = Field(
        "cost", exclude_if=lambda value: value == "cost"
    )
    """What lambda_cost is the price of, in nats: a unit of cost, or all that FULL costs on average
    over the set, so that it means the same whatever images and models cost."""
    cost_scale: float = Field(1.0, gt=0, description="Cost per vision token.")
    # baselines
    baseline_name: str | None = None
    """A key of vovnet.policies.MODULES; VoVNet itself if left out."""
    options: dict[str, Any] = Field({})
    """Settings of a policy that declares its own (see docs/policies.md)."""
    baseline_uncertainty: Literal["entropy", "margin"] = "entropy"
    baseline_threshold: Extended | None = None
    baseline_vision: ViewName = "full"
    baseline_target_ratios: Shares | None = None
    baseline_bucket_ratios: list[Shares] | None = Field(None, min_length=2)
    """Shares per bucket of entropy, surest questions first."""
    baseline_bucket_thresholds: list[float] | None = None
    """Nats between the buckets; quantiles of the set if left out."""
    baseline_seed: int = 42
    view: ViewName | None = Field(None, description="What always_view shows.")
    # reduced views
    reduce: ReductionName | None = None
    """Reduces every view that the policy looks at, as in `merge-cosine-0.5`."""
    baseline_pruning_ratio: float = Field(1.0, ge=1e-6, le=1)
    baseline_pruning_mode: Literal[
        "stride", "topk_norm", "random", "divprune", "visionzip", "fastv"
    ] = "stride"
    baseline_merge_ratio: float = Field(1.0, ge=1e-6, le=1)
    baseline_merge_mode: Literal["cosine", "l2"] = "cosine"
    baseline_merge_weight: Literal["norm", "uniform"] = "norm"
    baseline_enable_prune: bool = False
    """Prune what merging left, by baseline_pruning_ratio and _mode."""
    baseline_pool_factor: int = Field(1, gt=0, lt=1000)
    baseline_budget_mode: Literal["long_side", "max_pixels"] = "long_side"
    baseline_long_side: int | None = Field(None, gt=0, description="Pixels.")
    baseline_max_pixels: int | None = Field(None, gt=0)
    baseline_reduction: Literal["pruning", "merging"] | None = None
    """Reduces whichever view the policy chose."""
    # fallback: NO is overruled when the text pass is unsure
    fallback_mode: ViewName | None = None
    fallback_entropy_threshold: Extended | None = None
    fallback_margin_threshold: Extended | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        rows = {"baseline_target_ratios": self.baseline_target_ratios}
        for index, row in enumerate(self.baseline_bucket_ratios or []):
            rows[f"baseline_bucket_ratios.{index}"] = row
        for key, ratios in rows.items():
            check_shares(key, ratios)
        self._check_buckets()
        return self

    def _check_buckets(self) -> None:
        buckets, limits = self.baseline_bucket_ratios, self.baseline_bucket_thresholds
        if limits is None:
            return
        if not all(low <= high for low, high in pairwise(limits)):
            raise ValueError(f"baseline_bucket_thresholds must ascend, got {limits}")
        if buckets is not None and len(limits) != len(buckets) - 1:
            raise ValueError(
                f"baseline_bucket_thresholds must be one fewer than the {len(buckets)} rows of"
                f" baseline_bucket_ratios, got {len(limits)}"
            )


class TrainingSettings(Section):
    seed: int = 0
    num_processes: int = Field(1, gt=0)
    """Devices; equals the rule's gpu resource on GPUs."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    fsdp: bool = Field(False, exclude_if=lambda value: not value)
    """Cut the model over the devices, where each has no room for a whole copy with its gradients
    and the optimizer's state. Adapters need it not. Checkpoints are `.pt` files then."""
    batch_size: int = Field(32, gt=0, description="Samples per optimizer step, over all devices.")
    micro_batch_tokens: int | None = Field(None, gt=0)
    """About how many tokens a device takes at once; a step is cut into as many parts of like work
    as it needs. All samples of a device's step at once if left out."""
    stage1_epochs: float = Field(1.0, gt=0)
    stage1_baseline_name: Literal[
        "always_full", "always_coarse", "no_vision", "random_policy_matched"
    ] = "always_full"
    stage1_target_ratios: Shares | None = None
    stage2_epochs: float = Field(1.0, gt=0)
    stage1_learning_rate: float = Field(2e-4, gt=0)
    stage2_learning_rate: float = Field(2e-4, gt=0)
    head_learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    adam_betas: tuple[Decay, Decay] = (0.9, 0.98)
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: float = Field(1.0, gt=0)
    max_skipped_steps: int = Field(3, ge=0)
    """Steps that are left out because they are not finite, before training ends."""
    max_answer_tokens: int = Field(32, gt=0)
    per_token_loss: bool = Field(False, exclude_if=lambda value: not value)
    """Divide the loss of an answer by its number of tokens, so that a long answer counts as much as
    a short one, in both stages. The head's scores and lambda_cost are then nats per token."""
    save_every: int = Field(100, gt=0)
    num_workers: int = Field(0, ge=0, description="Processes that load images, per device.")
    keep_checkpoints: int = Field(2, gt=0)
    checkpoint_format: Literal["accelerate", "pt"] = "accelerate"
    calibration_samples: int = Field(256, ge=0)
    """Held-out training samples for the calibration check."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares("stage1_target_ratios", self.stage1_target_ratios)
        if self.fsdp and self.mixed_precision == "fp16":
            raise ValueError("mixed_precision: expected no or bf16 with fsdp, got fp16")
        return self


class PretrainingPhase(Section):
    """A phase in which the tiny base model is made: which questions, shown how, how many.

    `templates` gives the share of each template of the synthetic world.
    """

    num_samples: int = Field(gt=0)
    templates: dict[str, float] = Field(min_length=1)
    view_shares: Shares = Field([0.0, 0.0, 1.0])
    """How often each of the actions is shown."""
    learning_rate: float = Field(5e-4, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares("view_shares", self.view_shares)
        return self


class EvalSettings(Section):
    batch_size: int = Field(64, gt=0, description="The most questions at once.")
    batch_tokens: int | None = Field(None, gt=0)
    """The most tokens at once, prompts with images; on a GPU as its memory allows if left out."""
    num_workers: int = Field(0, ge=0, description="Processes that load images ahead.")
    max_new_tokens: int = Field(16, gt=0)
    num_beams: int = Field(1, gt=0)
    do_sample: bool = False
    temperature: float = Field(1.0, gt=0)
    seed: int = 0
    cache_reuse: bool = True
    """Answers go on from the cache of the text pass, unless images come before the question."""
    num_shards: int = Field(1, gt=0)
    shard_rows: int = Field(256, gt=0, description="Rows per resumable piece.")
    max_samples: int | None = Field(None, gt=0)
    profile: bool = False
    """By hand: run live, for latency and memory; the suite has mode: live."""
    bootstrap_samples: int = Field(2000, gt=0)


class BenchSettings(Section):
    """How much `vovnet bench` measures."""

    num_samples: int = Field(64, gt=0, description="Questions of each evaluation set.")
    repeats: int = Field(5, gt=0, description="Of which medians are taken.")
    growth: list[int] = Field([500, 1000, 2000, 4000], min_length=2)
    """Numbers of samples over which cost is followed; questions are repeated."""
    num_threads: int = Field(1, gt=0, description="Of torch on the CPU.")


class SplitSize(Section):
    """How large a split is. Circular replicas are samples of one question."""

    samples: int = Field(gt=0)
    questions: int | None = Field(None, gt=0, description="As many as samples if left out.")


class PlanSettings(Section):
    """What `vovnet plan` estimates run times with; no result depends on it."""

    throughput: PathText | None = None
    """A file of `vovnet bench_gpu`; the measurement that the package brings if left out."""
    price_per_gpu_hour: float | None = Field(None, ge=0, description="In any currency.")
    sizes: dict[str, dict[str, SplitSize]] = Field({})
    """Dataset -> split -> its size, of splits that are not prepared yet."""
    image_size: tuple[PositiveInt, PositiveInt] = (1024, 768)
    """Mean width and height of images that are not prepared yet."""
    prompt_tokens: int = Field(45, gt=0, description="Likewise, of a question.")
    training_answer_tokens: int = Field(16, gt=0, description="Likewise, of a training answer.")
    answer_tokens: int = Field(6, gt=0, description="Of a generated answer.")
    characters_per_token: float = Field(4.0, gt=0, description="Of prepared questions and answers.")
    start_s: float = Field(60.0, ge=0, description="Until a job with GPUs has loaded its model.")
    prepare_per_s: float = Field(200.0, gt=0, description="Samples that a split's job prepares.")
    light_s: float = Field(120.0, ge=0, description="Of any other job that runs no model.")


class ReportSettings(Section):
    title: str = "VoVNet"
    target_lambda: float = Field(0.02, ge=0)
    """The row of a sweep that main tables show."""
    target: str | None = None
    """The list under targets that paper_tables shows; everything if left out."""
    further: list[str] = Field([])
    """Lists under targets with a report of their own, in a folder of their name; each is a target
    that makes it."""
    name: str = PAPER
    """Which report is written, and into which folder; set by the DAG."""


class Resources(Section):
    """What the scheduler is told, per kind of rule. `gpu` counts devices; 0 runs on the CPU."""

    gpu: int = Field(0, ge=0)
    threads: int = Field(1, gt=0)
    mem_mb: int = Field(3000, gt=0)
    runtime_min: int = Field(60, gt=0)
    retry_factor: float = Field(2.0, ge=1)
    """mem_mb and runtime_min grow by it when a failed job is tried again."""
    gpu_model: GpuModel | None = Field(None, description="Slurm's name of the GPUs to be given.")
    partition: str | None = Field(None, description="Slurm's partition; its default if left out.")


class ResourceSettings(Section):
    account: str | None = Field(None, description="Slurm's account that pays for the jobs.")
    train: Resources = Resources()
    observe: Resources = Resources()
    light: Resources = Resources(mem_mb=1500, runtime_min=10)

"""The sections of the configuration about models, policies, training and answers."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vovnet.config.kinds import (
    Decay,
    Epochs,
    Extended,
    Nats,
    PathText,
    Pixels,
    Precision,
    Processes,
    Questions,
    ReductionName,
    Samples,
    Section,
    Shares,
    Tokens,
    ViewName,
    check_shares,
    unit,
)


class LoraSettings(Section):
    """Low-rank adapters (peft) for models too large to train whole."""

    r: int = Field(16, gt=0, description="Rank of the adapters.")
    alpha: int = Field(32, gt=0, description="The adapters' output is scaled by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapters' inputs left out.")
    target_modules: list[str] = Field(["q_proj", "k_proj", "v_proj", "o_proj"])
    """Names of the linear layers of the language model that get adapters."""


class ModelSettings(Section):
    """The vision-language model that is trained or observed."""

    base_model_name: PathText = "src/vovnet/assets/tiny-qwen3-vl"
    """A folder or a hub name of a transformers VLM."""
    revision: str | None = Field(None, description="Commit, tag or branch of a model of the hub.")
    family: str = Field("qwen3_vl", description="A key of vovnet.model.families.FAMILIES.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights. Weights in float16 cannot be trained, adapters over them can;
    adapters and the policy head are always float32."""
    attn_implementation: str = "sdpa"
    """A name of transformers, or `varlen`: packed sequences without padding, for GPUs."""
    compile: bool = False
    """Compile the layers (torch.compile): a minute at the start, and fewer and faster kernels."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: all of a layer's, or
    with `compile` those that are cheap, so that half of the memory is needed."""
    lora: LoraSettings | None = None
    """Train low-rank adapters instead of the whole model; the base model stays as it is."""
    random_weights: bool = False
    """Random weights in the sizes of config.json instead of the model's own, for measuring."""


class VisionBudget(Section):
    """Sizes in pixels at which COARSE and FULL show an image; `None` is no limit."""

    coarse_long_side: Pixels | None = Field(64, description="Longest side at COARSE.")
    full_long_side: Pixels | None = Field(128, description="Longest side at FULL.")
    coarse_max_pixels: Pixels | None = Field(None, description="Width times height at COARSE.")
    full_max_pixels: Pixels | None = Field(None, description="Width times height at FULL.")
    patch_size: Pixels = Field(16, description="Side of a patch of the model's vision tower.")
    spatial_merge_size: int = Field(2, gt=0)
    """A vision token covers this many patches in each direction; as in the model's config.json."""

    @property
    def factor(self) -> int:
        """Side of one vision token in pixels."""
        return self.patch_size * self.spatial_merge_size


class PolicySettings(Section):
    """The policy of VoVNet, and under `policy` of an experiment any other."""

    # the learned policy
    feature_mode: Literal["hidden", "hidden_entropy", "hidden_margin", "hidden_entropy_margin"] = (
        "hidden"
    )
    """What the policy head reads: hidden states of the text pass, and its uncertainty beside."""
    action_space: Literal["binary", "ternary"] = "ternary"
    """All of `actions`, or with `binary` only NO and FULL."""
    head_hidden_size: int = Field(256, gt=0, description="Hidden units of the policy head.")
    use_straight_through: bool = True
    """Train on one sampled action with the gradient of all; false weighs all by probability."""
    objective: Literal["likelihood", "correctness"] = Field(
        "likelihood", exclude_if=lambda value: value == "likelihood"
    )
    """By what VoVNet judges an action: by the log-likelihood of the right answer, which the head
    was trained to expect, or by how often the answer is scored as right, which a head expects that
    is fitted afterwards on `data.router_fit`. It changes no training."""
    entropy_weight: Nats = Field(1.0, gt=0)
    """Temperature of the action distribution in training, and weight of its entropy."""
    lambda_cost: Annotated[Extended, unit("nats or shares of right answers")] = Field(0.02, ge=0)
    """The price of looking: how much better a look must be to be worth what `lambda_unit` names. In
    nats; for routers, heads and `objective: correctness` in shares of right answers."""
    lambda_unit: Literal["cost", "share_of_full"] = Field(
        "cost", exclude_if=lambda value: value == "cost"
    )
    """What lambda_cost is the price of: a unit of cost, or all that FULL costs on average over the
    set, so that it means the same whatever images and models cost."""
    cost_scale: float = Field(1.0, gt=0, description="Cost per vision token.")
    # baselines
    baseline_name: str | None = None
    """A key of vovnet.policies.MODULES; VoVNet itself if left out."""
    options: dict[str, Any] = Field({})
    """Settings of a policy that declares its own (see docs/policies.md)."""
    baseline_uncertainty: Literal["entropy", "margin"] = "entropy"
    """What `uncertainty_threshold` reads of the text pass: entropy in nats, or the margin between
    the two likeliest tokens, a difference of probabilities."""
    baseline_threshold: Extended | None = None
    """Where `uncertainty_threshold` begins to look: above this entropy, below this margin."""
    baseline_vision: ViewName = Field("full", description="What `uncertainty_threshold` shows.")
    baseline_target_ratios: Shares | None = None
    """Share of each action in `random_policy_matched`."""
    baseline_bucket_ratios: list[Shares] | None = Field(None, min_length=2)
    """Shares per bucket of entropy, surest questions first."""
    baseline_bucket_thresholds: list[Nats] | None = None
    """Entropies between the buckets; quantiles of the set if left out."""
    baseline_seed: int = Field(42, description="Seed of the draws of `random_policy_matched`.")
    view: ViewName | None = Field(None, description="What always_view shows.")
    # reduced views
    reduce: ReductionName | None = None
    """Reduces every view that the policy looks at, as in `merge-cosine-0.5`."""
    baseline_pruning_ratio: float = Field(1.0, ge=1e-6, le=1)
    """Share of the vision tokens that pruning keeps."""
    baseline_pruning_mode: Literal[
        "stride", "topk_norm", "random", "divprune", "visionzip", "fastv"
    ] = Field("stride", description="Which tokens pruning keeps.")
    baseline_merge_ratio: float = Field(1.0, ge=1e-6, le=1)
    """Share of the vision tokens that are left after merging."""
    baseline_merge_mode: Literal["cosine", "l2"] = "cosine"
    """By which similarity tokens are merged."""
    baseline_merge_weight: Literal["norm", "uniform"] = "norm"
    """How merged tokens are averaged: weighted by their norms, or all alike."""
    baseline_enable_prune: bool = False
    """Prune what merging left, by baseline_pruning_ratio and _mode."""
    baseline_pool_factor: int = Field(1, gt=0, lt=1000)
    """Side of the squares of vision tokens whose mean is taken by pooling."""
    baseline_budget_mode: Literal["long_side", "max_pixels"] = "long_side"
    """Which of the two keys below says the size that `resolution_scaling_proxy` shows."""
    baseline_long_side: Pixels | None = Field(None, description="Longest side of the image.")
    baseline_max_pixels: Pixels | None = Field(None, description="Width times height.")
    baseline_reduction: Literal["pruning", "merging"] | None = None
    """Reduces whichever view the policy chose."""
    # fallback: NO is overruled when the text pass is unsure
    fallback_mode: ViewName | None = None
    """What is shown where a NO is overruled; none is if left out."""
    fallback_entropy_threshold: Annotated[Extended, unit("nats")] | None = None
    """A NO is overruled above this entropy of the text pass."""
    fallback_margin_threshold: Extended | None = None
    """A NO is overruled below this margin, a difference of probabilities."""

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
    """How the two stages are trained."""

    seed: int = Field(0, description="Seed of `vovnet train` by hand; the suite has `seeds`.")
    num_processes: Annotated[int, unit("devices")] = Field(1, gt=0)
    """Processes that train together, one per device; equals `resources.train.gpu` on GPUs."""
    mixed_precision: Precision = "no"
    """Precision in which passes are computed; float32 weights stay float32. fp16 needs a GPU."""
    fsdp: bool = Field(False, exclude_if=lambda value: not value)
    """Cut the model over the devices, where each has no room for a whole copy with its gradients
    and the optimizer's state. Adapters need it not. Checkpoints are `.pt` files then."""
    batch_size: Samples = Field(32, description="Samples of a step, on all devices together.")
    micro_batch_tokens: Tokens | None = Field(None)
    """About how many tokens a device takes at once; a step is cut into as many parts of like work
    as it needs. All samples of a device's step at once if left out."""
    stage2_micro_batch_tokens: Tokens | None = Field(None, exclude_if=lambda value: value is None)
    """The same in stage 2, where only the view that is sampled keeps what its gradient needs, so
    that more samples fit; `micro_batch_tokens` if left out."""
    stage1_epochs: Epochs = Field(1.0, description="How often stage 1 sees the training mix.")
    stage1_baseline_name: Literal[
        "always_full", "always_coarse", "no_vision", "random_policy_matched"
    ] = Field("always_full", description="In which view stage 1 shows each sample.")
    stage1_target_ratios: Shares | None = None
    """Share of each action in `random_policy_matched`; all alike if left out."""
    stage2_epochs: Epochs = Field(1.0, description="How often stage 2 sees the training mix.")
    stage2_action_floor: float = Field(0.0, ge=0, lt=0.5, exclude_if=lambda value: not value)
    """The least share at which stage 2 samples each action that the policy may choose, so that the
    model stays trained in every view, also in those that the policy thinks little of."""
    stage1_learning_rate: float = Field(2e-4, gt=0, description="Highest learning rate in stage 1.")
    stage2_learning_rate: float = Field(2e-4, gt=0)
    """Highest learning rate of the VLM in stage 2."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Highest learning rate of the policy head."""
    weight_decay: float = Field(0.01, ge=0, description="Weight decay of AdamW.")
    adam_betas: tuple[Decay, Decay] = Field((0.9, 0.98))
    """Decay of AdamW's running means of the gradient and of its square."""
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    """Share of a stage's steps in which the learning rate rises from 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls to 0 afterwards, or that it stays."""
    max_grad_norm: float = Field(1.0, gt=0, description="Longer gradients are cut to this norm.")
    max_skipped_steps: Annotated[int, unit("steps")] = Field(3, ge=0)
    """Steps that are left out because they are not finite, before training ends."""
    max_answer_tokens: Tokens = Field(32, description="Longer training answers are cut.")
    per_token_loss: bool = Field(False, exclude_if=lambda value: not value)
    """Divide the loss of an answer by its number of tokens, so that a long answer counts as much as
    a short one, in both stages. The head's scores and lambda_cost are then nats per token."""
    deterministic: bool = Field(False, exclude_if=lambda value: not value)
    """Compute on a GPU by algorithms alone that give the same bits each time, so that the same run
    gives the same weights on the same card, killed or not. It is slower there; a CPU does so
    anyway."""
    save_every: Annotated[int, unit("steps")] = Field(100, gt=0)
    """How often a checkpoint is saved, from which a killed training goes on."""
    num_workers: Processes = Field(0, description="Processes that load images, per device.")
    keep_checkpoints: int = Field(2, gt=0, description="The newest so many are kept.")
    tracker: Literal["tensorboard", "wandb", "trackio", "mlflow"] | None = None
    """Passes the log of each stage on to a tracker, whose files lie in `tracking/` of the results;
    it changes no result."""
    checkpoint_format: Literal["accelerate", "pt"] = "accelerate"
    """A folder in accelerate's layout, or one file of torch."""
    calibration_samples: Annotated[int, unit("samples")] = Field(256, ge=0)
    """Held-out training samples for the calibration check."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares("stage1_target_ratios", self.stage1_target_ratios)
        if self.fsdp and self.mixed_precision == "fp16":
            raise ValueError("mixed_precision: expected no or bf16 with fsdp, got fp16")
        return self

    def tokens_at_once(self, stage: int) -> int | None:
        """About how many tokens a device takes at once in a stage; None for all of a step."""
        own = self.stage2_micro_batch_tokens if stage == 2 else None
        return self.micro_batch_tokens if own is None else own


class PretrainingPhase(Section):
    """A phase in which the tiny base model is made: which questions, shown how, how many.

    `templates` gives the share of each template of the synthetic world.
    """

    num_samples: Samples = Field(description="How many questions are drawn.")
    templates: dict[str, float] = Field(min_length=1)
    """Share of each template of questions."""
    view_shares: Shares = Field([0.0, 0.0, 1.0])
    """How often each of the actions is shown."""
    learning_rate: float = Field(5e-4, gt=0, description="Highest learning rate of the phase.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_shares("view_shares", self.view_shares)
        return self


class EvalSettings(Section):
    """How a model answers, and how answers become numbers."""

    batch_size: Questions = Field(64, description="The most questions at once.")
    batch_tokens: Tokens | None = Field(None)
    """The most tokens at once, prompts with images; on a GPU as its memory allows if left out."""
    num_workers: Processes = Field(0, description="Processes that load images ahead.")
    max_new_tokens: Tokens = Field(16, description="The most that an answer may have.")
    num_beams: int = Field(1, gt=0, description="Beams of the search; 1 is greedy.")
    do_sample: bool = Field(False, description="Draw answers instead of taking the likeliest.")
    temperature: float = Field(1.0, gt=0, description="Temperature at which answers are drawn.")
    seed: int = Field(0, description="Seed of drawn answers, and of bootstrap resamples.")
    cache_reuse: bool = True
    """Answers go on from the cache of the text pass, unless images come before the question."""
    num_shards: Annotated[int, unit("jobs")] = Field(1, gt=0)
    """Jobs among which the observation of each set is divided."""
    shard_rows: Annotated[int, unit("rows")] = Field(256, gt=0)
    """Rows per piece from which a killed observation goes on."""
    max_samples: Samples | None = Field(None, description="At most so many of each set.")
    profile: bool = False
    """By hand: run live, for latency and memory; the suite has mode: live."""
    bootstrap_samples: int = Field(2000, gt=0, description="Resamples behind each interval.")

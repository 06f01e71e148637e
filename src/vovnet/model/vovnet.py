"""VoVNet: a vision-language model, and the policy head that reads what looking would be worth.

Shapes: B samples, T tokens, D hidden size, V vocabulary, A actions of the suite.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch._dynamo.config as dynamo
import torch._functorch.config as functorch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn

from vovnet.config import ModelSettings, PolicySettings, Settings
from vovnet.core.errors import CheckpointError, ConfigError, one_line
from vovnet.core.files import atomic_path
from vovnet.core.recorded import check_recorded
from vovnet.model.loading import base_model_digest, load_vlm
from vovnet.model.sequences import sent
from vovnet.model.vlm import VisionLanguageModel
from vovnet.pipeline.claims import MANIFEST
from vovnet.pipeline.trained_model import HASHES, manifest_of, weights_file


def pooled_features(hidden_BTD: Tensor, text_mask_BT: Tensor, last_BD: Tensor) -> Tensor:
    """Mean over the tokens of the text pass, and its last token, (B, 2D) in float32.

    A sum of 16 bits is coarse, and may overflow.
    """
    mask_BT1 = text_mask_BT[..., None].float()
    mean_BD = (hidden_BTD.float() * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
    return torch.cat([mean_BD, last_BD.float()], dim=-1)


def uncertainty(logits_BV: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy (nats) and margin (top probability minus the second) of the next token, (B,) each."""
    log_probs_BV = torch.log_softmax(logits_BV.float(), dim=-1)
    probs_BV = log_probs_BV.exp()
    entropy_B = -(probs_BV * log_probs_BV).sum(dim=-1)
    top_B2 = probs_BV.topk(2, dim=-1).values
    return entropy_B, top_B2[:, 0] - top_B2[:, 1]


class PolicyHead(nn.Module):
    """Estimates per action the answer's log-likelihood (nats), up to a constant per sample."""

    def __init__(self, hidden_size: int, num_actions: int, settings: PolicySettings) -> None:
        super().__init__()
        self.with_entropy = "entropy" in settings.feature_mode
        self.with_margin = "margin" in settings.feature_mode
        inputs = 2 * hidden_size
        extra = int(self.with_entropy) + int(self.with_margin)
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Linear(inputs + extra, settings.head_hidden_size)
        self.out = nn.Linear(settings.head_hidden_size, num_actions)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pooled_BF: Tensor, entropy_B: Tensor, margin_B: Tensor) -> Tensor:
        """Scores (B, A), computed in float32 under autocast too, as they are in evaluation."""
        with torch.autocast(pooled_BF.device.type, enabled=False):
            features = [self.norm(pooled_BF.float())]
            if self.with_entropy:
                features.append(entropy_B[:, None])
            if self.with_margin:
                features.append(margin_B[:, None])
            return self.out(nn.functional.gelu(self.hidden(torch.cat(features, dim=-1))))

    @property
    def flops(self) -> int:
        """Of scoring one question."""
        return sum(2 * layer.in_features * layer.out_features for layer in (self.hidden, self.out))


class NoHead(nn.Module):
    """In place of the head of a base model, for which none was trained: it scores no action."""

    flops = 0

    def forward(self, pooled_BF: Tensor, entropy_B: Tensor, margin_B: Tensor) -> Tensor:
        return pooled_BF.new_empty(len(pooled_BF), 0)


def action_distribution(
    scores_BA: Tensor,
    costs_BA: Tensor,
    lambda_cost: float,
    temperature: float,
    allowed: Sequence[int],
) -> Tensor:
    """pi = softmax((score - lambda * cost) / temperature) over the `allowed` actions, else 0."""
    values_BA = (scores_BA - lambda_cost * costs_BA) / temperature
    refused_A = torch.ones(values_BA.shape[-1], dtype=torch.bool)
    refused_A[list(allowed)] = False
    refused_A = sent(refused_A, values_BA.device)
    return torch.softmax(values_BA.masked_fill(refused_A, float("-inf")), dim=-1)


def with_floor(pi_BA: Tensor, floor: float, allowed: Sequence[int]) -> Tensor:
    """pi mixed with equal shares of the allowed actions, so that each has at least `floor`."""
    if not floor:
        return pi_BA
    mixed_BA = (1 - floor * len(allowed)) * pi_BA
    mixed_BA[:, list(allowed)] += floor
    return mixed_BA


def straight_through(pi_BA: Tensor, gumbel_BA: Tensor, drawn_BA: Tensor | None = None) -> Tensor:
    """One-hot Gumbel sample from pi with the gradient of pi (Jang et al. 2017, section 2.2).

    With `drawn_BA` it is sampled from that distribution instead.
    """
    drawn_BA = pi_BA if drawn_BA is None else drawn_BA
    sampled_B = (drawn_BA.detach().clamp_min(1e-20).log() + gumbel_BA).argmax(dim=-1)
    hard_BA = nn.functional.one_hot(sampled_B, pi_BA.shape[-1]).to(pi_BA.dtype)
    return hard_BA - pi_BA.detach() + pi_BA


@dataclass(frozen=True)
class Reading:
    """What the head reads of a text pass, and its scores (B, A), or (B, 0) of a base model.

    `states_BF` are the pooled states, `logits_BV` those of the first answer token, whose entropy
    and margin are (B,) each.
    """

    states_BF: Tensor
    entropy_B: Tensor
    margin_B: Tensor
    scores_BA: Tensor
    logits_BV: Tensor

    def take(self, index_B: Tensor) -> "Reading":
        """Of some questions of the batch."""
        return Reading(*(value[index_B] for value in vars(self).values()))


class VoVNet(nn.Module):
    """`vlm` answers; `head` scores the actions from the text pass, where one is trained."""

    def __init__(self, settings: Settings, *, with_head: bool = True) -> None:
        super().__init__()
        torch.backends.cuda.enable_cudnn_sdp(False)  # NaN gradients of rows without any key
        self.settings = settings.model
        self.vlm = load_vlm(settings.model, settings.vision_budget)
        self.head: PolicyHead | NoHead = NoHead()
        if with_head:
            self.head = PolicyHead(self.vlm.hidden_size, len(settings.actions), settings.policy)
        if settings.model.lora is not None:
            _add_lora(self, settings)
        if settings.model.compile:
            _compile_layers(self.vlm, settings.model)

    def read(self, hidden_BTD: Tensor, text_mask_BT: Tensor, last_B: Tensor) -> Reading:
        """The head's reading of a text pass.

        `text_mask_BT` marks the tokens of the text pass and `last_B` is the index of its last
        one, the position that emits the first answer token (contract 2).
        """
        rows_B = torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device)
        last_BD = hidden_BTD[rows_B, last_B]
        logits_BV = self.vlm.logits(last_BD)
        entropy_B, margin_B = uncertainty(logits_BV)
        states_BF = pooled_features(hidden_BTD, text_mask_BT, last_BD)
        scores_BA = self.head(states_BF, entropy_B, margin_B)
        return Reading(states_BF, entropy_B, margin_B, scores_BA, logits_BV)

    def text_pass_flops(self, num_tokens: int) -> int:
        """Of reading a question of `num_tokens`, the head included."""
        return self.vlm.flops.language_model.prefill(num_tokens) + self.head.flops


def _add_lora(model: VoVNet, settings: Settings) -> None:
    """Freeze the VLM and add adapters, in float32 whatever its precision.

    An optimizer's small steps would be lost in weights of 16 bits.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.tuners_utils import cast_adapter_dtype

    lora = settings.model.lora
    assert lora is not None
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    model.vlm.model.requires_grad_(False)
    try:
        inject_adapter_in_model(config, model.vlm.model)
    except ValueError as error:
        raise ConfigError(f"model.lora.target_modules: {one_line(error)[:200]}") from None
    cast_adapter_dtype(model.vlm.model, "default")
    _leave_out_the_base(model.vlm)


def _compile_layers(vlm: VisionLanguageModel, settings: ModelSettings) -> None:
    """Have each layer compiled at its first pass, once for layers of a kind and for any length."""
    dynamo.recompile_limit = 64  # training, prefill and decoding are kinds of passes
    dynamo.optimize_ddp = False  # it would cut them again where processes exchange gradients
    functorch.activation_memory_budget = 0.5 if settings.gradient_checkpointing else 1.0
    for layer in [*vlm.model.get_decoder().layers, *vlm.tower.get_submodule("blocks").children()]:
        layer.forward = torch.compile(layer.forward, dynamic=True)


def merge_adapters(model: VoVNet) -> None:
    """Add trained adapters into the base's weights, for inference; they cannot be taken out again.

    In 16 bits the sum is rounded to the weights' precision.
    """
    if model.settings.lora is None:
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(model.vlm.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, BaseTunerLayer):
                module.merge()
                setattr(parent, name, module.get_base_layer())


def _leave_out_the_base(vlm: nn.Module) -> None:
    """States hold the adapters alone, and are loaded over the base, which they leave as it is."""
    trained = {name for name, value in vlm.named_parameters() if value.requires_grad}
    base = set(vlm.state_dict()) - trained

    def drop(_: nn.Module, state: dict[str, Tensor], prefix: str, __: object) -> None:
        for name in base:
            state.pop(prefix + name, None)

    def forgive(_: nn.Module, found: Any) -> None:
        missing = found.missing_keys  # of a module that holds the VLM as `vlm`, or of the VLM
        missing[:] = [name for name in missing if name.rpartition("vlm.")[2] not in base]

    vlm.register_state_dict_post_hook(drop)
    vlm.register_load_state_dict_post_hook(forgive)


def save_weights(model: VoVNet, path: Path, state: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights as safetensors, atomically; tied tensors are stored once.

    Of a model with adapters these are the adapters and the head, without the frozen base. Of one
    that is cut over devices `state` holds them. Weights that are not finite are an error.
    """
    check_finite(path, model.state_dict() if state is None else state)
    try:
        with atomic_path(path) as partial:
            if state is None:
                save_model(model, str(partial))
            else:
                save_file(dict(state), partial)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: cannot be written ({one_line(error)})") from None


def check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Weights that are not finite are never written to `path`, nor taken from it."""
    for name, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: weight {name!r} is not finite")


def load_weights(model: VoVNet, checkpoint: Path, *, with_head: bool = True) -> None:
    """Load weights from whatever `weights_file` accepts; without head, those of the VLM alone.

    A `.pt` file is opened with `weights_only=True`, so that a pickle with code in it is
    refused. Adapters are loaded over the base that they were trained over, and no other.
    """
    path = weights_file(checkpoint)
    if model.settings.lora is not None:
        _check_base(model, path)
    for name in (MANIFEST, HASHES):
        check_recorded(path, path.with_name(name))
    state = _read_state(path)
    check_finite(path, state)
    if all(name.startswith("model.") for name in state):  # saved by accelerate with its wrapper
        state = _below("model.", state)
    target: nn.Module = model
    if not with_head:
        target, state = model.vlm, _below("vlm.", state)
    try:
        missing, unexpected = target.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: of another model ({_last_line(error)})") from None
    # A weight that shares its memory with one of the state is not missing.
    weights = target.state_dict(keep_vars=True)
    loaded = {id(weights[name]) for name in state if name in weights}
    missing = sorted(name for name in missing if id(weights.get(name)) not in loaded)
    if missing or unexpected:
        name, fault = (missing[0], "missing") if missing else (unexpected[0], "unexpected")
        raise CheckpointError(f"{path}: of another model (weight {name!r} is {fault})")


def _below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = (name for name in state if name.startswith(prefix))
    return {name.removeprefix(prefix): state[name] for name in named}


def _check_base(model: VoVNet, path: Path) -> None:
    """Compare with the manifest of the stage, where the weights lie beside it."""
    manifest = manifest_of(path)
    if manifest and manifest.get("base_model") != base_model_digest(model.settings):
        raise CheckpointError(
            f"{path}: its adapters were trained over another base model than"
            f" {model.settings.base_model_name!r} is now"
        )


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix != ".pt":
            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # an odd pickle is refused, not warned of
            state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise CheckpointError(
            f"{path}: refused, it holds more than plain weights, or is no checkpoint"
        ) from None
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot be read ({_last_line(error)})") from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise CheckpointError(f"{path}: expected the keys model, optimizer and scheduler")
    return state["model"]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:200]


def load_trained(
    settings: Settings, checkpoint: Path | None, device: torch.device, *, with_head: bool = True
) -> VoVNet:
    """The model with trained weights, or without a checkpoint the base model as it is.

    It is ready to be observed; adapters are merged into the base. Without head the VLM alone is
    loaded.
    """
    with_head = with_head and checkpoint is not None
    model = VoVNet(settings, with_head=with_head)
    if checkpoint is not None:
        load_weights(model, checkpoint, with_head=with_head)
    model.to(device).eval()
    merge_adapters(model)
    return model


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """What the device of `pick_device` is called, for manifests and tables."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"

"""A trained model as its users hold it: loaded from a folder or the hub, asked, saved, uploaded.

A saved folder is one of transformers, with the whole vision-language model, or one of peft, with
adapters alone, where the base model is one of the hub. The policy head and the recipe lie beside.
Nothing in such a folder is run as code, and its weights are safetensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, cast, overload

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vovnet.config import Settings, merge, validate
from vovnet.core.errors import CheckpointError, ConfigError, one_line
from vovnet.core.files import move, open_to_others, read_json, read_text, write_text
from vovnet.inference.ask import Asked, Picture, Question, ask, ask_many, at_lambda
from vovnet.inference.engine import Inference
from vovnet.inference.model_card import model_card
from vovnet.inference.recipes import RECIPE, is_saved, recipe_text, saved_settings, trained_settings
from vovnet.model.loading import check_base_model, hub_commit
from vovnet.model.vovnet import (
    VoVNet,
    check_finite,
    load_weights,
    merge_adapters,
    pick_device,
)
from vovnet.pipeline.trained_model import weights_file

HEAD, CARD = "head.safetensors", "README.md"
WHOLE, ADAPTERS = "model.safetensors", "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
REPLACED = [RECIPE, CARD, HEAD, WHOLE, ADAPTERS, ADAPTER_CONFIG]
"""What an earlier save or upload may have left, none of which may stand beside another model."""

IN_PEFT = "base_model.model."
"""What the names of adapters begin with in the files of peft."""

TAKEN = ["*.json", "*.safetensors", "*.jinja", "*.txt", RECIPE, CARD]
"""What is downloaded of a model on the hub."""


class PretrainedVoVNet(ModelHubMixin):
    """A trained VoVNet with the settings under which it answers; `vovnet.VoVNet`.

    `push_to_hub` and, for names of the hub, `from_pretrained` are those of huggingface_hub; what an
    earlier upload left is removed in the same commit.
    """

    def __init__(
        self, inference: Inference, adapters: dict[str, Tensor], page: Path, base: str
    ) -> None:
        """`adapters` are those that were merged; `page` is the checkpoint, or a page to copy."""
        self.inference, self._adapters, self._page, self._base = inference, adapters, page, base

    @property
    def settings(self) -> Settings:
        return self.inference.settings

    # ---- asking ------------------------------------------------------------------------

    @overload
    def ask(
        self,
        images: Picture | Sequence[Picture],
        question: str,
        *,
        lambda_cost: float | None = None,
        choices: Sequence[str] = (),
    ) -> Asked: ...

    @overload
    def ask(
        self,
        images: Sequence[Picture | Sequence[Picture]],
        question: list[str],
        *,
        lambda_cost: float | None = None,
        choices: Sequence[Sequence[str]] = (),
    ) -> list[Asked]: ...

    def ask(
        self,
        images: Any,
        question: str | list[str],
        *,
        lambda_cost: float | None = None,
        choices: Sequence[Any] = (),
    ) -> Asked | list[Asked]:
        """Decide whether to look, and answer: an `Asked`, or a list of them.

        `images` is a picture (a path or a PIL image), or a list of those that the question is
        about. With a list of questions, `images` has an entry for each, and `choices` may have.
        """
        policy = at_lambda(self.settings, lambda_cost)
        if isinstance(question, str):
            return ask(self.inference, policy, Question(question, _pictures(images), choices))
        count = len(question)
        offered = choices or [()] * count
        for name, given in (("images", images), ("choices", offered)):
            if isinstance(given, str) or len(given) != count:
                raise ConfigError(f"{name}: expected a list with one entry for each question")
        rows = zip(question, images, offered, strict=True)
        asked = [Question(text, _pictures(shown), own) for text, shown, own in rows]
        return ask_many(self.inference, policy, asked)

    def ask_timed(
        self,
        images: Sequence[Picture],
        question: str,
        lambda_cost: float | None = None,
        choices: Sequence[str] = (),
    ) -> Asked:
        """One question, whose parts have been done once before they are timed."""
        policy = at_lambda(self.settings, lambda_cost)
        asked = Question(question, _pictures(images), choices)
        return ask(self.inference, policy, asked, warm_up=True)

    # ---- loading -----------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load a saved folder, the stage folder of a run, or a model of the hub by its name."""
        if Path(pretrained_model_name_or_path).exists():
            return cls.of_checkpoint(Path(pretrained_model_name_or_path))
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def _from_pretrained(  # type: ignore[override]
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
    ) -> Self:
        folder = snapshot_download(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
            allow_patterns=TAKEN,
        )
        return cls.of_checkpoint(Path(folder))

    @classmethod
    def of_checkpoint(cls, checkpoint: Path, settings: Settings | None = None) -> Self:
        """Load a saved folder or a checkpoint, under the settings that it tells or others."""
        if is_saved(checkpoint):
            return cls._of_saved(checkpoint, settings or saved_settings(checkpoint))
        settings = settings or trained_settings(checkpoint)
        settings = _at_commit(settings)
        base = settings.model.base_model_name
        network = VoVNet(settings)
        load_weights(network, checkpoint)
        return cls._ready(network, settings, weights_file(checkpoint), base)

    @classmethod
    def _of_saved(cls, folder: Path, settings: Settings) -> Self:
        """Load what `save_pretrained` wrote."""
        for path in sorted(folder.glob("*.json")):
            value = read_json(path)
            if isinstance(value, dict) and "auto_map" in value:
                raise CheckpointError(f"{path}: names code (auto_map), which is never run")
        whole = settings.model.lora is None
        for name in (WHOLE if whole else ADAPTERS, HEAD):
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder}: there is no {name}, expected a saved model")
        if whole and (folder / ADAPTER_CONFIG).exists():
            raise CheckpointError(
                f"{folder / ADAPTER_CONFIG}: adapters would change the whole weights in {WHOLE},"
                " expected one or the other"
            )
        base = settings.model.base_model_name
        if whole:
            here = {"model": {"base_model_name": str(folder), "revision": None}}
            settings = validate(merge(settings.model_dump(), here), str(folder / RECIPE))
        check_base_model(settings.model)
        settings = _at_commit(settings)
        network = VoVNet(settings)
        try:
            head = load_file(folder / HEAD)
            check_finite(folder / HEAD, head)
            network.head.load_state_dict(head)
            if whole:
                check_finite(folder / WHOLE, network.vlm.state_dict())
            else:
                from peft import set_peft_model_state_dict  # seconds, where there are adapters

                stored = load_file(folder / ADAPTERS)
                check_finite(folder / ADAPTERS, stored)
                adapters = {name.removeprefix(IN_PEFT): value for name, value in stored.items()}
                found: Any = set_peft_model_state_dict(network.vlm.model, adapters)
                if found.unexpected_keys:
                    raise RuntimeError(f"{found.unexpected_keys[0]} is no weight of its base")
                if missing := [name for name in found.missing_keys if "lora_" in name]:
                    raise RuntimeError(f"weight {missing[0]!r} is missing in {ADAPTERS}")
        except (SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: cannot be loaded ({one_line(error)})") from None
        return cls._ready(network, settings, folder / CARD, base)

    @classmethod
    def _ready(cls, network: VoVNet, settings: Settings, page: Path, base: str) -> Self:
        adapters = {}
        if settings.model.lora is not None:
            from peft import get_peft_model_state_dict

            found = get_peft_model_state_dict(network.vlm.model, save_embedding_layers=False)
            adapters = {name: value.detach().clone() for name, value in found.items()}
            merge_adapters(network)
        network.to(pick_device()).eval()
        return cls(Inference(network, settings), adapters, page, base)

    # ---- saving ------------------------------------------------------------------------

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write every file aside, then remove an earlier save's, and write the recipe last."""
        settings, network = self.settings, self.inference.model
        with TemporaryDirectory(dir=save_directory, prefix=".partial") as aside:
            partial = Path(aside)
            if self._keeps_adapters:
                self._save_adapters(partial)
                model = settings.model
                recipe = recipe_text(settings, model.base_model_name, model.revision)
            else:
                network.vlm.save_base(partial)
                plain = settings.model.model_copy(update={"lora": None})
                recipe = recipe_text(settings.model_copy(update={"model": plain}), ".", None)
            head = {name: value.cpu() for name, value in network.head.state_dict().items()}
            save_file(head, partial / HEAD)
            self.generate_model_card().save(partial / CARD)  # of a page that may be removed next
            for name in REPLACED:
                (save_directory / name).unlink(missing_ok=True)
            for path in sorted(partial.iterdir()):
                open_to_others(path)
                move(path, save_directory / path.name)
        write_text(save_directory / RECIPE, recipe)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        return super().push_to_hub(repo_id, **{"delete_patterns": REPLACED, **kwargs})

    @property
    def _keeps_adapters(self) -> bool:
        """Whether adapters are saved: their base is on the hub, and no folder of this machine."""
        return bool(self._adapters) and not Path(self._base).is_dir()

    def _save_adapters(self, folder: Path) -> None:
        from peft import LoraConfig

        model, lora = self.settings.model, self.settings.model.lora
        assert lora is not None
        vlm = cast(Any, self.inference.vlm)
        for part in (vlm.model.config, vlm.tokenizer, vlm.image_processor):
            part.save_pretrained(folder)
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.target_modules,
            base_model_name_or_path=model.base_model_name,
            revision=model.revision,
            inference_mode=True,
        ).save_pretrained(str(folder))
        weights = {IN_PEFT + name: value.cpu() for name, value in self._adapters.items()}
        save_file(weights, folder / ADAPTERS)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The page of the saved folder, or one with the numbers of the results beside the run."""
        if self._page.name == CARD:
            return ModelCard(read_text(self._page)) if self._page.is_file() else ModelCard("")
        adapters = self._keeps_adapters
        base = self._base if adapters else Path(self._base).name
        return model_card(self.settings, base, self._page, adapters=adapters)


def _at_commit(settings: Settings) -> Settings:
    """The settings with the commit of the base of adapters, from whose branch others may come."""
    model = settings.model
    if model.lora is None or Path(model.base_model_name).is_dir():
        return settings
    pinned = model.model_copy(update={"revision": hub_commit(model)})
    return settings.model_copy(update={"model": pinned})


def _pictures(images: Any) -> list[Picture]:
    """One picture, or a list of them."""
    return list(images) if isinstance(images, list | tuple) else [images]

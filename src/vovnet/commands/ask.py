"""`vovnet ask` and `vovnet demo`: a trained model is asked about pictures, here or on a page."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.commands.checkpoints import checkpoint_flag, run_settings_of, tell_what_is_odd
from vovnet.commands.common import CONFIG, Flag, command, count, into_project, number
from vovnet.core.errors import VovnetError
from vovnet.machine.alone import at_work

if TYPE_CHECKING:
    from vovnet.inference.ask import Asked
    from vovnet.inference.pretrained import PretrainedVoVNet

MODEL = (
    checkpoint_flag(
        help="a folder of save_pretrained, a stage folder, an accelerate state folder, or a .pt"
        " file"
    ),
    Flag(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML with settings, may be repeated; needed where the checkpoint does not tell them"
        " (a folder of save_pretrained does, on which they are layered, and a stage folder in its"
        " results)",
    ),
    *CONFIG[1:],
)


@command(
    "ask a trained model one question about pictures: whether it looks, what each action is worth"
    " to it, and what it answers",
    *MODEL,
    Flag("--question", required=True, help="what is asked"),
    Flag(
        "--image",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="a picture; may be repeated",
    ),
    Flag(
        "--choice",
        action="append",
        default=[],
        metavar="TEXT",
        help="an answer to choose from, which gets the next letter; may be repeated",
    ),
    Flag(
        "--lambda_cost",
        type=number,
        help="the price of looking, instead of the configured one; with policy.lambda_unit"
        " share_of_full, of this question's FULL",
    ),
    Flag("--json", action="store_true", help="print one line of JSON"),
)
def ask(args: Namespace) -> None:
    import json

    from vovnet.core.files import json_ready
    from vovnet.data.decoder import open_image

    into_project(args)
    for path in args.image:
        open_image(path)  # what is wrong with it is told before a model is loaded
    model = _loaded(args)
    told = _told(model.ask_timed(args.image, args.question, args.lambda_cost, args.choice))
    if args.json:
        print(json.dumps(json_ready(told)))
        return
    for name, value in told.items():
        print(f"{name.replace('_', ' ')}: {_text(value)}")


@command(
    "serve a page on this machine with an image, a question and a slider for lambda_cost; needs"
    " gradio, which the extra vovnet[demo] installs",
    *MODEL,
    Flag("--port", type=count, default=7860, help="of the page (default: 7860)"),
)
def demo(args: Namespace) -> None:
    import os

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise VovnetError(
            "vovnet demo needs gradio, which is not installed here: pip install 'vovnet[demo]', or"
            " pip install gradio"
        ) from None
    into_project(args)
    with at_work():
        model = _loaded(args)
    page(gradio, model).launch(server_name="127.0.0.1", server_port=args.port)


def page(gradio: Any, model: PretrainedVoVNet) -> Any:
    """The page; a slider goes from free looking to a price at which hardly anything is looked at.

    Pictures are taken as files, so that they are decoded as those of datasets are.
    """
    configured = model.settings.policy.lambda_cost
    return gradio.Interface(
        answering(model),
        [
            gradio.Image(type="filepath", label="image"),
            gradio.Textbox(label="question"),
            gradio.Slider(0, 10 * configured or 1, configured, label="lambda_cost"),
        ],
        [
            gradio.Textbox(label="answer"),
            gradio.Textbox(label="decision"),
            gradio.JSON(label="what each action is worth, in nats"),
            gradio.JSON(label="cost"),
        ],
        title="VoVNet: does it look?",
        flagging_mode="never",
    )


def answering(
    model: PretrainedVoVNet,
) -> Callable[[str | None, str, float], tuple[str, str, dict[str, float], dict[str, Any]]]:
    """What the page does: a picture's file, a question and lambda to what its fields show."""

    def answer(
        image: str | None, question: str, lambda_cost: float
    ) -> tuple[str, str, dict[str, float], dict[str, Any]]:
        if image is None or not question.strip():
            return "", "an image and a question are needed", {}, {}
        with at_work():
            told = _told(model.ask(image, question, lambda_cost=lambda_cost))
        shown = {name: told.pop(name) for name in ("answer", "decision")}
        worth = told.pop("values", {})
        return shown["answer"], _text(shown["decision"]), worth, told

    return answer


def _loaded(args: Namespace) -> PretrainedVoVNet:
    """The model under the settings that it tells itself, or those of its run that are given."""
    from vovnet.inference.pretrained import PretrainedVoVNet
    from vovnet.inference.recipes import is_saved, saved_settings, trained_settings
    from vovnet.pipeline.trained_model import run_of

    folder = args.checkpoint
    if is_saved(folder):
        layers = [*args.config, *args.dataset_config]
        return PretrainedVoVNet.of_checkpoint(folder, saved_settings(folder, layers, args.set))
    manifest = run_of(folder)
    settings = (
        run_settings_of(args, manifest)
        if args.config
        else trained_settings(folder, args.dataset_config, args.set)
    )
    tell_what_is_odd(folder, manifest)
    return PretrainedVoVNet.of_checkpoint(folder, settings)


def _told(asked: Asked) -> dict[str, Any]:
    """What is told, by name; values are in nats, times in milliseconds."""
    told = dict(vars(asked))
    return told if asked.values else {key: told[key] for key in told if key != "values"}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {item:.4g}" for name, item in value.items())
    if isinstance(value, list):
        return ", then ".join(value)
    return f"{value:,.0f}" if isinstance(value, float) else str(value)

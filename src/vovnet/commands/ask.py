"""`vovnet ask`: a trained model's decision and answer for one question about pictures."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vovnet.commands.common import Flag, configured, number

if TYPE_CHECKING:
    from vovnet.config import Settings
    from vovnet.inference.ask import Asked


@configured(
    "ask a trained model one question about pictures: whether it looks, what each action is worth"
    " to it, and what it answers",
    Flag(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="PATH",
        help="a stage folder, an accelerate state folder, or a .pt file",
    ),
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
def ask(settings: Settings, args: Namespace) -> None:
    import json

    from vovnet.config import merge, run_settings, validate
    from vovnet.core.files import json_ready
    from vovnet.data.decoder import open_image
    from vovnet.inference.ask import ask as answer_of
    from vovnet.inference.engine import Inference
    from vovnet.model.vovnet import load_trained, pick_device
    from vovnet.pipeline.trained_model import manifest_of, weights_file

    manifest = manifest_of(weights_file(args.checkpoint))
    if (run := manifest.get("run")) is not None:
        settings = run_settings(settings, run, manifest.get("seed"))
    if args.lambda_cost is not None:
        policy = {"policy": {"lambda_cost": args.lambda_cost}}
        settings = validate(merge(settings.model_dump(), policy), "--lambda_cost")
    for path in args.image:
        open_image(path)  # what is wrong with it is told before a model is loaded
    inference = Inference(load_trained(settings, args.checkpoint, pick_device()), settings)
    asked = answer_of(inference, settings.policy, args.question, args.image, args.choice)
    told = _told(asked)
    if args.json:
        print(json.dumps(json_ready(told)))
        return
    for name, value in told.items():
        print(f"{name.replace('_', ' ')}: {_text(value)}")


def _told(asked: Asked) -> dict[str, Any]:
    """What is printed, by name; values are in nats, times in milliseconds."""
    row, timing = asked.answer.row, asked.answer.timing
    values = {"values": asked.values} if asked.values else {}
    return {
        "decision": row["executed"].split(">"),
        **values,
        "answer": row["text"],
        "vision_tokens": row["vision_tokens"],
        "flops": row["flops"],
        "time_ms": {"total": timing.latency_ms} | {k: ms for k, ms in timing.parts.items() if ms},
    }


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {item:.4g}" for name, item in value.items())
    if isinstance(value, list):
        return ", then ".join(value)
    return f"{value:,.0f}" if isinstance(value, float) else str(value)

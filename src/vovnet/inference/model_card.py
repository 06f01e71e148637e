"""The page of a saved model: what it is, how it is used, and what it was measured to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import ModelCard, ModelCardData

from vovnet.config import Settings
from vovnet.core.files import read_json, sha256_file
from vovnet.evaluation.columns import SETTINGS, read_results

TEMPLATE = """---
{{ card_data }}
---

# VoVNet on {{ base }}

VoVNet reads the question first. Then it decides whether to look at the image, and how: its actions
are {{ actions }}. `lambda_cost` says how many nats of log-likelihood of the answer
{{ price }} has to buy. The higher it is, the less the model looks.

## How it is used

```python
from vovnet import VoVNet

model = VoVNet.from_pretrained("folder or name on the hub")
asked = model.ask("photo.jpg", "What does the sign say?", lambda_cost={{ lambda_cost }})
print(asked.decision, asked.answer, asked.vision_tokens)
```

`model.ask` also takes several images, and lists of images and questions, which it answers in
batches. The shell has `vovnet ask --checkpoint FOLDER --image photo.jpg --question "..."`.

## What is in this folder

{{ weights }}
`head.safetensors` is the policy head, and `recipe.yaml` holds the settings with which the model was
trained and answers. Nothing here is run as code.

## How it was trained

{{ training }}

## What it reaches

{{ measured }}
"""

FIXED = {"": "VoVNet", "always_full": "Always FULL", "always_coarse": "Always COARSE"}
FIXED |= {"no_vision": "No vision"}
"""The policies of the page's table, by `policy.baseline_name`."""


def model_card(settings: Settings, base: str, checkpoint: Path, *, adapters: bool) -> ModelCard:
    """The page of a model that was trained here; its table is of the results beside its weights."""
    whole = (
        "`model.safetensors`, `config.json`, tokenizer and image processor are the vision-language"
        " model in the layout of transformers."
    )
    low_rank = (
        f"`adapter_model.safetensors` are low-rank adapters (peft) for {base}; configuration,"
        " tokenizer and image processor are that model's."
    )
    unit = "a vision token" if settings.policy.cost_scale == 1 else "a unit of cost"
    share = settings.policy.lambda_unit == "share_of_full"
    data = ModelCardData(
        library_name="vovnet",
        pipeline_tag="visual-question-answering",
        tags=["vovnet", "adaptive-computation"],
        base_model=base if adapters else None,
    )
    return ModelCard.from_template(
        data,
        template_str=TEMPLATE,
        base=base,
        actions=", ".join(f"`{action}`" for action in settings.actions),
        price="all that FULL costs" if share else unit,
        lambda_cost=f"{settings.policy.lambda_cost:g}",
        weights=low_rank if adapters else whole,
        training=_training(settings),
        measured=_measured(checkpoint),
    )


def _training(settings: Settings) -> str:
    parts = [f"{part.dataset}/{part.split}" for part in settings.data.train]
    on = f" on {', '.join(parts)}" if parts else ""
    training = settings.training
    return (
        f"In two stages{on}: {training.stage1_epochs:g} and {training.stage2_epochs:g} epochs of"
        f" batches of {training.batch_size}, seed {training.seed}."
    )


def _measured(checkpoint: Path) -> str:
    """A table of the experiments that were evaluated with exactly these weights."""
    rows = _rows(checkpoint)
    if rows.empty:
        return "Nothing was evaluated with these weights where this page was written."
    table = pd.DataFrame(
        {
            "set": rows["dataset"],
            "policy": rows["baseline_name"].map(FIXED),
            "lambda_cost": [
                f"{value:g}" if name == "" else ""
                for name, value in zip(rows["baseline_name"], rows["lambda_cost"], strict=True)
            ],
            "questions": rows["num_samples"].map("{:.0f}".format),
            "accuracy [%], 95% interval": [
                f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
                for mean, low, high in rows[["accuracy", "accuracy_lo", "accuracy_hi"]].values
            ],
            "vision tokens": rows["avg_vision_tokens"].map("{:.1f}".format),
        }
    )
    text: str = table.to_markdown(index=False, disable_numparse=True)
    return text


def _rows(checkpoint: Path) -> pd.DataFrame:
    """Of VoVNet's own sweeps and of the fixed policies, set by set."""
    weights, found = sha256_file(checkpoint), []
    (results,) = checkpoint.resolve().parents[4:5] or (checkpoint.parent,)
    for summary in sorted(results.glob("eval/*/summary.json")):
        of = {
            (facts["set"], facts["seed"])
            for facts in _inputs(read_json(summary))
            if facts.get("checkpoint_hash") == weights
        }
        table = summary.with_name("results.csv")
        if of and table.is_file():
            rows = read_results(table)
            own = [pair in of for pair in zip(rows["dataset"], rows["seed"], strict=True)]
            found.append(rows[own])
    if not found:
        return pd.DataFrame()
    rows = pd.concat(found, ignore_index=True)
    further = [name for name in (*SETTINGS, "objective") if name != "lambda_cost" and name in rows]
    plain = rows[[*further, "fallback_trigger_rate", "latency_ms"]].isna().all(axis=1)
    rows = rows[plain & rows["baseline_name"].isin(list(FIXED))]
    keys = ["dataset", "baseline_name", "lambda_cost"]
    return rows.drop_duplicates(keys).sort_values(keys, kind="stable")


def _inputs(summary: Any) -> list[dict[str, Any]]:
    inputs = summary.get("inputs", []) if isinstance(summary, dict) else []
    return [facts for facts in inputs if isinstance(facts, dict) and {"set", "seed"} <= set(facts)]

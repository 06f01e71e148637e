"""The one definition of what a model is asked. It never reads a sample's answers."""

from __future__ import annotations

from vovnet.config import PromptTemplates
from vovnet.core.records import Sample


def question_text(sample: Sample, templates: PromptTemplates) -> str:
    """What the user says: hint, question and choices, in the template of the question's type."""
    if sample.question_type == "multiple-choice":
        template = templates.multiple_choice
    elif sample.question_type == "open":
        template = templates.open
    elif sample.question_type == "vqa":
        template = templates.vqa
    else:
        template = templates.instruction
    choices = "\n".join(f"{letter}. {text}" for letter, text in sample.choices.items())
    hint = sample.hint + "\n" if sample.hint else ""
    return template.format(question=sample.question, hint=hint, choices=choices).strip()

"""The one definition of what a model is asked. It never reads a sample's answers."""

from collections.abc import Mapping

from vovnet.config import PromptTemplates
from vovnet.core.records import Sample


def question_text(sample: Sample, templates: PromptTemplates) -> str:
    """What the user says: hint, question and choices, in the template of the question's type."""
    template = getattr(templates, sample.question_type.replace("-", "_"))
    return filled(template, sample.question, sample.choices, sample.hint)


def filled(template: str, question: str, choices: Mapping[str, str], hint: str = "") -> str:
    """A template with a question, its choices by letter, and its hint where it has one."""
    lines = "\n".join(f"{letter}. {text}" for letter, text in choices.items())
    hint = hint + "\n" if hint else ""
    return template.format(question=question, hint=hint, choices=lines).strip()

"""The lines in which LLaVA's mix says how to answer, at the end of a question."""

SHORT_ANSWER = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


def without_format(question: str) -> tuple[str, str]:
    """A question and the format prompt in its last line, "" where it has none."""
    text, _, last = question.rpartition("\n")
    return (text.rstrip(), last) if last in (SHORT_ANSWER, LETTER) else (question, "")

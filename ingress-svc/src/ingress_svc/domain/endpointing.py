"""How long the agent waits before it takes the caller's turn for over, by how the caller's words end so far."""

import re
from dataclasses import dataclass

MOST_S = 15.0
"""Vapi takes no longer wait."""
# fmt: off
UNFINISHED_WORDS = frozenset(
    {
        "and", "or", "but", "so", "because", "if", "when", "with", "without", "for", "from", "to", "of", "at", "by",
        "the", "an", "my", "our", "your", "um", "uh", "er",
        "y", "o", "pero", "porque", "cuando", "con", "sin", "para", "por", "de", "del", "el", "los", "las", "un",
        "una", "mi", "em", "eh", "pues",
    }
)
# fmt: on
"""Words of English and Spanish after which a sentence goes on."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class EndpointingRules:
    """Seconds. Vapi's own are 0.1 after punctuation, 0.5 after a number and 1.5 else, which is what makes agents slow;
    a caller who stops at "and" is still thinking."""

    always_s: float | None = None
    """One wait for everything, instead of the rules."""
    after_sentence_s: float = 0.2
    after_number_s: float = 0.6
    unfinished_s: float = 1.6
    otherwise_s: float = 0.9
    unfinished_words: frozenset[str] = UNFINISHED_WORDS


def timeout_s(said: str, rules: EndpointingRules) -> float:
    """Return the wait after these words of the caller."""
    if rules.always_s is not None:
        return rules.always_s
    # Only the end counts, and it may be a long one.
    end = said[-200:].rstrip()
    words = _WORD.findall(end)
    if not words:
        return rules.otherwise_s
    if end[-1] in "!?！？":
        return rules.after_sentence_s
    last = words[-1].casefold()
    # A transcriber puts a full stop behind a word that was left hanging, too.
    if last in rules.unfinished_words or end.endswith((",", "-", "–", "—", "…", "...")):
        return rules.unfinished_s
    if last[-1].isdigit():
        # More of the number may come, whatever the transcriber puts behind it.
        return rules.after_number_s
    return rules.after_sentence_s if end[-1] in ".。" else rules.otherwise_s

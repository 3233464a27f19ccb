"""What an utterance is by its words alone."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from bargein_svc.domain.events import CallerWords, Decision, Phase, PlayoutChanged, Verdict
from bargein_svc.domain.packs import PACKS, Pack
from bargein_svc.domain.phrases import Kind, PhraseBook, Reading
from bargein_svc.domain.text import MAX_CHARS, normalise
from bargein_svc.domain.verdict import NEW, Policy, step
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

BOTH = PhraseBook([PACKS["en"], PACKS["es"]])
ONLY = {language: PhraseBook([pack]) for language, pack in PACKS.items()}


class Row(NamedTuple):
    decision: str
    rule: str
    language: str
    phrase: str


def _table() -> list[Row]:
    lines = Path(__file__).with_name("phrases.tsv").read_text(encoding="utf-8").splitlines()
    return [Row(*line.split("\t")) for line in lines if not line.startswith("#")]


TABLE = _table()


def read(text: str, *, final: bool = False, book: PhraseBook = BOTH) -> Reading:
    return book.read(text, final=final, min_words=2)


def said_over_playout(phrase: str, book: PhraseBook, *, final: bool = True) -> Verdict:
    policy = Policy(phrases=book)
    playing = PlayoutChanged(at_ms=1_000, generation=1, phase=Phase.PLAYING, answers_until_ms=500)
    state, _ = step(NEW, playing, policy)
    _, verdict = step(state, CallerWords(event_id="w", at_ms=2_000, final=final, text=phrase), policy)
    assert verdict is not None
    return verdict


def test_the_table_is_large_enough_and_holds_each_phrase_once() -> None:
    assert len(TABLE) >= 150
    assert len({(row.language, row.phrase) for row in TABLE}) == len(TABLE)


def test_d25_every_interruption_cuts_and_nothing_else_does() -> None:
    """The labels are ours, so precision and recall of 1 say that the rules do what we meant, no more."""
    verdicts = [(row, said_over_playout(row.phrase, BOTH).decision) for row in TABLE]
    cut = {row for row, decision in verdicts if decision is Decision.CUT}
    should = {row for row in TABLE if row.decision == "cut"}
    assert cut - should == set(), f"precision {len(cut & should) / len(cut):.3f}"
    assert should - cut == set(), f"recall {len(cut & should) / len(should):.3f}"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.language}:{row.phrase}")
def test_d25_each_phrase_is_decided_by_the_rule_that_the_table_names(row: Row) -> None:
    for book in (BOTH, ONLY[row.language]):
        verdict = said_over_playout(row.phrase, book)
        assert (verdict.decision.value, verdict.rule.value) == (row.decision, row.rule)


@pytest.mark.parametrize(
    "trap", ["nonstop", "bus stop", "waiter", "waitlist", "factually", "cannot wait", "unstoppable"]
)
@pytest.mark.parametrize("final", [False, True])
def test_d25_a_trigger_inside_another_word_or_phrase_is_none(trap: str, final: bool) -> None:
    assert said_over_playout(trap, BOTH, final=final).decision is Decision.KEEP


@pytest.mark.parametrize(
    "words",
    [
        *("no", "cancel that", "excuse me", "Halt, be quiet", "hold, on", "hold  on"),
        *("para por favor", "I need", "I need a table for four"),
    ],
)
@pytest.mark.parametrize("final", [False, True])
def test_d25_what_the_article_missed_cuts_already_as_a_partial(words: str, final: bool) -> None:
    assert said_over_playout(words, BOTH, final=final).decision is Decision.CUT


def test_a_stop_phrase_in_the_middle_of_a_sentence_is_not_the_rule_that_cuts_it() -> None:
    assert read("I take the bus stop at noon").kind is Kind.OPENER
    assert read("the next stop please").kind is Kind.SPEECH


def test_a_partial_that_can_become_an_acknowledgement_waits_for_its_next_word() -> None:
    assert read("I hear").kind is Kind.MAYBE_ACKNOWLEDGEMENT
    assert read("I hear you").kind is Kind.ACKNOWLEDGEMENT
    assert read("I hear music").kind is Kind.OPENER
    assert read("I hear", final=True).kind is Kind.OPENER


def test_para_waits_in_a_partial_because_a_party_size_may_follow() -> None:
    assert read("para").kind is Kind.SHORT
    assert read("para cuatro").kind is Kind.SHORT
    assert read("para, por").kind is Kind.STOP
    assert read("para", final=True).kind is Kind.STOP


def test_the_longest_phrase_wins() -> None:
    assert read("no problem").kind is Kind.ACKNOWLEDGEMENT
    assert read("no problem, but").kind is Kind.CORRECTION


def test_words_are_spelled_in_one_way() -> None:
    assert normalise("Don’t  HOLD, on… (ｏｋ) Sí!").tokens == ("dont", "hold", "on", "ok", "si")
    assert normalise("8:30 at 10.000").tokens == ("8:30", "at", "10.000")
    assert normalise("uh-huh").tokens == ("uh", "huh")
    assert normalise("nooo Mmmhm").tokens == ("no", "mhm")
    assert normalise("I need, no - stop.").pauses == (2, 3)


@pytest.mark.parametrize("text", ["", " ", "...", "—", "¿?", "'", "\u0301", "🙂"])
def test_text_without_a_word_is_nothing(text: str) -> None:
    assert read(text).kind is Kind.NOTHING


def test_a_very_long_utterance_is_read_at_its_start_and_counted_beyond() -> None:
    reading = read("word " * 1_000)
    assert reading.kind is Kind.SPEECH
    assert MAX_CHARS // 5 < reading.word_count <= 1_000


def test_a_filler_or_an_acknowledgement_at_the_end_adds_no_substance() -> None:
    assert read("for four").substance == 2
    assert read("for four, um, okay").substance == 2
    assert read("for four please").substance == 3


def test_extra_phrases_outweigh_the_packs() -> None:
    book = PhraseBook([PACKS["en"]], {Kind.ACKNOWLEDGEMENT: ["no"], Kind.STOP: ["pineapple"]})
    assert read("no", book=book).kind is Kind.ACKNOWLEDGEMENT
    assert read("okay pineapple", book=book) == Reading(Kind.STOP, "pineapple", 2, "custom", ("okay", "pineapple"), 2)


def test_an_extra_phrase_without_a_word_is_refused() -> None:
    with pytest.raises(ValueError, match="has no word"):
        PhraseBook([PACKS["en"]], {Kind.STOP: ["..."]})


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_every_phrase_of_a_pack_can_be_reached(pack: Pack) -> None:
    """A phrase that a shorter one of another list hides would be dead data."""
    book = ONLY[pack.language]
    for phrase in (*pack.stop, *pack.stop_alone):
        assert read(phrase, final=True, book=book).kind is Kind.STOP, phrase
    for phrase in pack.correction:
        assert read(phrase, final=True, book=book).kind is Kind.CORRECTION, phrase
    for phrase in pack.acknowledgement:
        assert read(phrase, final=True, book=book).kind is Kind.ACKNOWLEDGEMENT, phrase
    for phrase in pack.filler:
        assert read(phrase, final=True, book=book).kind is Kind.FILLER, phrase
    assert all(len(normalise(opener).tokens) == 1 for opener in pack.opener)


URGENT = [phrase for pack in PACKS.values() for phrase in (*pack.stop, *pack.stop_alone, *pack.correction)]
LETTERS = st.text(alphabet="abcdefgilnorstuvwxyzñáé", max_size=4)
CAN_BE_READ = st.text(max_size=2 * MAX_CHARS)


@settings(deadline=None)
@given(phrase=st.sampled_from(URGENT), before=LETTERS, after=LETTERS)
@example(phrase="stop", before="un", after="pable")
@example(phrase="wait", before="", after="er")
def test_a_phrase_inside_a_longer_word_never_matches(phrase: str, before: str, after: str) -> None:
    assume(before or after)
    word = before + phrase.replace(" ", "") + after
    known = {token for pack in PACKS.values() for p in _all_phrases(pack) for token in normalise(p).tokens}
    assume(normalise(word).tokens[0] not in known)
    assert read(word, final=True).kind in (Kind.SHORT, Kind.OPENER)


@settings(deadline=None)
@given(text=CAN_BE_READ, final=st.booleans())
def test_any_text_can_be_read(text: str, final: bool) -> None:
    reading = read(text, final=final)
    assert 0 <= reading.substance <= reading.word_count


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from([*PACKS["en"].acknowledgement, *PACKS["en"].filler]), min_size=1, max_size=6))
def test_acknowledgements_and_fillers_in_a_row_never_interrupt(parts: list[str]) -> None:
    assume(read(" ".join(parts)).kind is not Kind.STOP)
    for text in (" ".join(parts), ", ".join(parts)):
        assert read(text, book=ONLY["en"]).kind in (Kind.ACKNOWLEDGEMENT, Kind.FILLER)


@settings(deadline=None)
@given(phrase=st.sampled_from(URGENT), spaces=st.sampled_from([" ", "  ", ", ", "\t", " … "]))
def test_spacing_and_punctuation_between_words_do_not_matter(phrase: str, spaces: str) -> None:
    assert read(phrase.replace(" ", spaces).upper(), final=True).kind is read(phrase, final=True).kind


def _all_phrases(pack: Pack) -> tuple[str, ...]:
    return (*pack.stop, *pack.stop_alone, *pack.correction, *pack.acknowledgement, *pack.filler, *pack.lead)

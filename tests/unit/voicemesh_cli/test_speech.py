from __future__ import annotations

import pytest
from voicemesh_cli.speech import Speech, retranscribed


def test_a_word_is_heard_once_it_was_spoken_to_its_end() -> None:
    speech = Speech(words_per_s=2)
    speech.add("one two three ", 0)
    speech.start(100)
    assert speech.next_ms == 600
    speech.tick(600)
    assert (speech.heard_text, speech.next_ms) == ("one", 1100)


def test_speech_waits_for_text_that_has_not_come_and_never_speaks_half_a_word() -> None:
    speech = Speech(words_per_s=2)
    speech.start(0)
    speech.add("some", 0)
    assert speech.next_ms is None
    speech.add("thing else", 400)
    assert speech.next_ms == 900
    speech.tick(900)
    assert speech.next_ms is None
    speech.complete(2000)
    assert speech.next_ms == 2500


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Perfect, I can book that.", "perfect i can book that"),
        ("At 7pm, for 4?", "at seven pm for four"),
        ("Room 217 - it's free!", "room 217 it's free"),
        ("…", ""),
    ],
)
def test_a_transcriber_loses_case_and_punctuation_and_writes_small_numbers_out(said: str, heard: str) -> None:
    assert retranscribed(said) == heard

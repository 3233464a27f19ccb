from __future__ import annotations

import pytest
from voicemesh_cli.recording import BadRecording, CallerLine, When, parse


def test_a_line_says_when_and_what() -> None:
    call = parse('{"endpointing_ms": 300}\n\n{"after": "agent_said:7", "ms": 20, "caller": "final", "text": "No."}\n')
    assert call.pace.endpointing_ms == 300
    assert call.lines == (CallerLine(When("agent_said", 20, 7), "final", "No."),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("[]", "line 1 is not a JSON object"),
        ("{}\n{broken", "line 2 is not JSON"),
        ('{"at_ms": 1, "hangup": true}', "no header"),
        ('{"speach_words_per_s": 2}', "speach_words_per_s is no setting"),
        ('{"endpointing_ms": "soon"}', "endpointing_ms is 'soon'"),
        ('{"speech_words_per_s": 0}', "speech_words_per_s is 0"),
        ('{"call": 3}', "call must be an object"),
        ('{}\n{"caller": "final", "text": "a"}', "needs at_ms"),
        ('{}\n{"at_ms": 1, "after": "previous", "hangup": true}', "not both"),
        ('{}\n{"at_ms": -1, "hangup": true}', "at_ms is -1"),
        ('{}\n{"after": "agent_said", "hangup": true}', "after is 'agent_said'"),
        ('{}\n{"after": "lunch", "hangup": true}', "after is 'lunch'"),
        ('{}\n{"at_ms": 1}', "says nothing to do"),
        ('{}\n{"at_ms": 1, "caller": "shouts", "text": "a"}', "caller is 'shouts'"),
        ('{}\n{"at_ms": 1, "caller": "final"}', "needs its text"),
        ('{}\n{"at_ms": 1, "webhook": "x"}', "says nothing to do"),
    ],
)
def test_a_file_that_is_no_recorded_call_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(BadRecording, match=complaint):
        parse(text)

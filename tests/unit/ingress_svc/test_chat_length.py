"""A history that is too long for one event loses its oldest half, never its prompt."""

from __future__ import annotations

from ingress_svc.domain.chat import ChatMessage, newest_half


def test_the_prompt_and_the_newer_half_are_kept() -> None:
    spoken = [ChatMessage("user", str(number)) for number in range(5)]
    prompt = ChatMessage("system", "be brief")
    assert newest_half([prompt, *spoken]) == [prompt, *spoken[2:]]


def test_a_single_message_cannot_be_halved() -> None:
    messages = [ChatMessage("system", "be brief"), ChatMessage("user", "hello")]
    assert newest_half(messages) is messages

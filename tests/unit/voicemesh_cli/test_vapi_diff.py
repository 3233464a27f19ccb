from __future__ import annotations

from voicemesh_cli.vapi_diff import Change, changed, changes, not_kept, shown, starred


def test_a_change_names_its_field_and_both_values() -> None:
    old = {"model": {"provider": "openai", "fallback": ["a"], "temperature": 0.3}}
    new = {"model": {"provider": "custom-llm", "temperature": 0.3, "url": "https://h/llm"}}
    assert changes(old, new) == [
        Change("~", "model.provider", "openai", "custom-llm"),
        Change("-", "model.fallback", old="a"),
        Change("+", "model.url", new="https://h/llm"),
    ]
    assert changed(old, new) == new


def test_only_fields_that_differ_are_sent_and_those_whole() -> None:
    old = {"a": {"x": 1, "y": 2}, "b": [1]}
    assert changed(old, {"a": {"x": 1, "y": 3}, "b": [1]}) == {"a": {"x": 1, "y": 3}}


def test_the_order_of_messages_is_no_difference() -> None:
    assert changes({"serverMessages": ["a", "b"]}, {"serverMessages": ["b", "a"]}) == []
    assert changes({"serverMessages": ["a"]}, {"serverMessages": ["b"]}) == [
        Change("-", "serverMessages", old="a"),
        Change("+", "serverMessages", new="b"),
    ]


def test_null_and_absent_are_the_same() -> None:
    assert changes({"a": None}, {"a": None, "b": None}) == []
    assert changes({"a": {"x": None}}, {"a": {}}) == []
    assert changes({"a": 1}, {"a": None}) == [Change("-", "a", old="1")]


def test_secrets_are_never_shown() -> None:
    old = {
        "server": {
            "headers": {"Authorization": "hunter1"},
            "secret": "hunter2",
            "url": "https://u:hunter3@h/p?t=hunter4",
        }
    }
    new = {"server": {"headers": {"x-any": "hunter5"}}, "credentials": [{"provider": "p", "apiKey": "hunter6"}]}
    assert "hunter" not in str(changes(old, new))
    assert "hunter" not in str(not_kept(new, old))
    assert shown(old["server"]["url"], "server.url") == "https://h/p?…"


def test_what_came_back_from_vapi_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown("a\x1b[31mb", "name")
    assert len(shown("x" * 500, "name")) < 80


def test_a_secret_that_vapi_stars_out_counts_as_kept() -> None:
    assert not_kept({"server": {"secret": "abcdef"}}, {"server": {"secret": "ab**ef"}}) == []
    assert not_kept({"credentials": [{"apiKey": "k"}]}, {"credentials": [{"id": 1}]}) == []


def test_what_did_not_stick_is_named() -> None:
    wanted = {
        "serverMessages": ["transcript", "speech-update"],
        "model": {"url": "u", "messages": [{"role": "s"}]},
        "x": 1,
    }
    got = {"serverMessages": ["transcript"], "model": {"url": "u", "messages": [{"role": "s", "added": 1}], "more": 2}}
    assert not_kept(wanted, got) == ["serverMessages without speech-update", "x is not set"]
    assert not_kept({"x": None}, {"x": 2}) == ["x is still set"]
    assert not_kept({"x": 1}, {"x": 2}) == ["x is 2, not 1"]


def test_a_secret_that_vapi_has_starred_out_is_found_and_bold_words_of_a_prompt_are_not() -> None:
    body = {
        "server": {"headers": {"X-Key": "ab**cd"}, "url": "https://h/a**b"},
        "model": {"messages": [{"role": "system", "content": "Be **brief**."}]},
        "credentials": [{"apiKey": "sk**"}, {"apiKey": "whole"}],
    }
    assert starred(body) == ["server.headers.X-Key", "credentials[0].apiKey"]

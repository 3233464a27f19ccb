"""A generation gets two tries: the primary, then the fallback, or the primary again if that makes sense."""

import pytest
from llm_svc.domain.choice import (
    Failure,
    Kind,
    Role,
    counts_against,
    is_fatal,
    kind_of_status,
    next_try,
    out_of_time,
)


def failure(kind: Kind) -> Failure:
    return Failure("openai/any", kind, "for a reason")


def test_the_primary_is_asked_first() -> None:
    assert next_try([], has_fallback=True) is Role.PRIMARY


@pytest.mark.parametrize("kind", Kind)
def test_d30_whatever_went_wrong_the_fallback_is_asked_once(kind: Kind) -> None:
    assert next_try([failure(kind)], has_fallback=True) is Role.FALLBACK
    assert next_try([failure(kind), failure(kind)], has_fallback=True) is None


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        (Kind.UNREACHABLE, True),
        (Kind.BUSY, True),
        (Kind.PROVIDER_ERROR, True),
        (Kind.BAD_STREAM, True),
        (Kind.TIMEOUT, False),
        (Kind.REJECTED, False),
        (Kind.MISCONFIGURED, False),
        (Kind.BREAKER_OPEN, False),
    ],
)
def test_without_a_fallback_only_what_may_pass_quickly_is_tried_again(kind: Kind, again: bool) -> None:
    assert next_try([failure(kind)], has_fallback=False) is (Role.PRIMARY if again else None)
    assert next_try([failure(kind), failure(kind)], has_fallback=False) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, Kind.MISCONFIGURED),
        (400, Kind.REJECTED),
        (401, Kind.MISCONFIGURED),
        (403, Kind.MISCONFIGURED),
        (404, Kind.MISCONFIGURED),
        (408, Kind.BUSY),
        (409, Kind.BUSY),
        (413, Kind.REJECTED),
        (422, Kind.REJECTED),
        (429, Kind.BUSY),
        (500, Kind.PROVIDER_ERROR),
        (503, Kind.PROVIDER_ERROR),
        (529, Kind.PROVIDER_ERROR),
    ],
)
def test_what_an_http_status_means(status: int, kind: Kind) -> None:
    assert kind_of_status(status) is kind


def test_a_prompt_that_is_refused_says_nothing_against_the_model() -> None:
    assert not counts_against(Kind.REJECTED)
    assert not counts_against(Kind.BREAKER_OPEN)
    assert counts_against(Kind.TIMEOUT)


def test_only_what_somebody_has_to_mend_opens_the_breaker_at_once() -> None:
    assert [kind for kind in Kind if is_fatal(kind)] == [Kind.MISCONFIGURED]


def test_it_is_a_matter_of_time_only_when_every_model_was_too_slow() -> None:
    assert out_of_time([failure(Kind.TIMEOUT), failure(Kind.TIMEOUT)])
    assert not out_of_time([failure(Kind.TIMEOUT), failure(Kind.UNREACHABLE)])

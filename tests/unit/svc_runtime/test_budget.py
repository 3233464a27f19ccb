"""The budget file is read or refused as a whole, and the culprit is the hop that is over by the largest factor."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from svc_runtime.budget import Budget, Hop
from svc_runtime.config import ConfigError

SHIPPED = Path(__file__).parents[3] / "budget.toml"

BUDGET = Budget.parse(
    """
    version = 7
    [hops."session.fold"]
    from = "event leaves ingress"
    to = "its answer is back"
    budget_ms = 10
    aim_ms = 3
    [hops."turn.response"]
    from = "end of caller speech"
    to = "first agent audio sent"
    budget_ms = 1500
    [hops.quick]
    from = "here"
    to = "there"
    budget_ms = 0.5
    """,
    name="test.toml",
)


def test_a_hop_on_its_budget_is_kept() -> None:
    judgement = BUDGET.judge([Hop("session.fold", 10_000), Hop("turn.response", 1_500_000)])
    assert judgement.kept
    assert judgement.culprit == ""
    assert judgement.over == ()


def test_a_microsecond_more_breaks_it() -> None:
    assert BUDGET.judge([Hop("session.fold", 10_001)]).over == ("session.fold",)


def test_the_culprit_is_the_largest_factor_not_the_longest_time() -> None:
    judgement = BUDGET.judge([Hop("turn.response", 2_000_000), Hop("session.fold", 14_000), Hop("quick", 499)])
    assert judgement == (False, "session.fold", ("session.fold", "turn.response"))


def test_of_two_equal_factors_the_first_measured_is_the_culprit() -> None:
    assert BUDGET.judge([Hop("turn.response", 3_000_000), Hop("session.fold", 20_000)]).culprit == "turn.response"


def test_a_hop_without_a_budget_breaks_none() -> None:
    assert BUDGET.judge([Hop("tool.run", 9_000_000)]).kept
    assert BUDGET.limit_us("tool.run") == 0


def test_half_a_millisecond_is_five_hundred_microseconds() -> None:
    assert BUDGET.limit_us("quick") == 500


@given(st.lists(st.tuples(st.sampled_from(["session.fold", "turn.response", "quick"]), st.integers(0, 10**8))))
def test_the_culprit_is_over_and_none_is_over_by_more(measured: list[tuple[str, int]]) -> None:
    judgement = BUDGET.judge([Hop(name, duration_us) for name, duration_us in measured])
    factors = [duration_us / BUDGET.limit_us(name) for name, duration_us in measured]
    assert judgement.kept == all(factor <= 1 for factor in factors)
    if not judgement.kept:
        worst = max(factors)
        assert judgement.culprit in [
            name for (name, _), factor in zip(measured, factors, strict=True) if factor == worst
        ]


def test_the_shipped_file_holds_the_promises() -> None:
    budget = Budget.load(SHIPPED)
    limits = {name: (limit.budget_ms, limit.aim_ms) for name, limit in budget.hops.items()}
    assert limits["ingress.ack"] == (100, 10)
    assert limits["session.fold"] == limits["bargein.verdict"] == (10, 3)
    assert limits["cut.flush"] == (12, 2)
    assert limits["mesh.first_token"] == (15, 4)
    assert limits["interrupt.silence"][0] == limits["interrupt.cut"][0] + 100
    assert limits["interrupt.silence_at_once"][0] == limits["interrupt.cut_at_once"][0] + 100


def test_the_parts_of_an_answer_fit_into_the_whole() -> None:
    budget = Budget.load(SHIPPED)
    parts = [budget.limit_us(hop) for hop in ("endpointing", "llm.first_token")]
    assert sum(parts) <= budget.limit_us("turn.response")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version = ", "is not TOML"),
        ("hops = {}", "version is missing; it must be a whole number from 1"),
        ("version = true", "version = true is not a whole number from 1"),
        ("version = 1", 'there is no hop; give at least one table such as [hops."session.fold"]'),
        ("version = 1\nhop = {}", "[hop] is not known; did you mean hops?"),
        ('version = 1\n[hops.a]\nto = "x"\nbudget_ms = 1', "[hops.a] from is missing; it must be a text"),
        ('version = 1\n[hops.a]\nfrom = "x"\nto = "y"', "[hops.a] budget_ms is missing; it must be a number above 0"),
        (
            'version = 1\n[hops.a]\nfrom = "x"\nto = "y"\nbudget_ms = "9 ms"',
            'budget_ms = "9 ms" is not a number',
        ),
        ('version = 1\n[hops.a]\nfrom = "x"\nto = "y"\nbudget_ms = 0', "budget_ms = 0 is not a number above 0"),
        ('version = 1\n[hops.a]\nfrom = "x"\nto = "y"\nbudget_ms = nan', "budget_ms = nan is not"),
        (
            'version = 1\n[hops.a]\nfrom = "x"\nto = "y"\nbudget_ms = 5\naim_ms = 6',
            "aim_ms = 6 is not at most budget_ms",
        ),
        (
            'version = 1\n[hops.a]\nfrom = "x"\nto = "y"\nbudget_ms = 5\nlimit = 6',
            "limit is not known; the keys are aim_ms",
        ),
        ('version = 1\n[hops.session.fold]\nfrom = "x"\nto = "y"\nbudget_ms = 5', "put the name of a hop in quotes"),
        ('version = 1\n[hops]\n"a.b" = 5', '"a.b" = 5 is not a table; write [hops."a.b"]'),
    ],
)
def test_a_bad_file_says_which_key_and_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Budget.parse(text, name="budget.toml")
    assert told in str(raised.value)
    assert all(line.startswith("budget.toml:") for line in str(raised.value).splitlines())


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        Budget.parse('version = 0\n[hops.a]\nfrom = ""\nbudget_ms = -1', name="budget.toml")
    assert len(str(raised.value).splitlines()) == 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read \(No such file"):
        Budget.load(tmp_path / "nowhere.toml")

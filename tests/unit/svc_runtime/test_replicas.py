"""Which replicas a service has, from what a setting names and what DNS says."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from svc_runtime.replicas import Changes, Discovery, changes, found, grpc_target, is_name, replicas


class Dns:
    """Answers for host names; a list that is missing is a name that does not exist."""

    def __init__(self, **hosts: list[str]) -> None:
        self.hosts = hosts

    async def __call__(self, host: str) -> list[str]:
        if host not in self.hosts:
            raise OSError("Name or service not known")
        return self.hosts[host]


def follow(dns: Dns, *targets: str) -> tuple[Discovery, list[tuple[str, ...]]]:
    told: list[tuple[str, ...]] = []
    return Discovery("llm-svc", targets, told.append, every_s=1.0, lookup=dns), told


def test_replicas_that_are_new_appear_and_those_not_named_any_more_leave() -> None:
    assert changes(("a:1", "b:1"), ("b:1", "c:1")) == Changes(appeared=("c:1",), left=("a:1",))
    assert changes(("a:1",), ("a:1",)) == Changes((), ())


@given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("abcdef"), unique=True))
def test_what_appeared_and_left_makes_the_new_list_of_the_old_one(before: list[str], now: list[str]) -> None:
    change = changes(before, now)
    assert (set(before) | set(change.appeared)) - set(change.left) == set(now)
    assert not set(change.appeared) & set(before)


@pytest.mark.parametrize(
    ("target", "name"), [("llm-svc:50053", True), ("localhost:1", True), ("10.0.0.7:50053", False), ("[::1]:5", False)]
)
def test_addresses_are_not_looked_up(target: str, name: bool) -> None:
    assert is_name(target) is name


@pytest.mark.parametrize("target", ["llm-svc", ":50053", "llm-svc:", "llm-svc:grpc", "llm-svc:0", "llm-svc:65536", ""])
def test_what_is_no_host_and_port_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="is not host:port, for example session-svc:50051"):
        is_name(target)


def test_a_replica_with_both_kinds_of_address_is_one_replica() -> None:
    assert found("llm-svc:5", ["10.0.0.8", "fd00::8", "10.0.0.7", "10.0.0.7"]) == ("10.0.0.7:5", "10.0.0.8:5")
    assert found("llm-svc:5", ["fd00::8"]) == ("[fd00::8]:5",)


def test_names_and_addresses_may_stand_side_by_side() -> None:
    known = {"llm-svc:5": ("10.0.0.7:5", "10.0.0.8:5")}
    assert replicas(("10.0.0.9:5", "llm-svc:5", "10.0.0.7:5"), known) == ("10.0.0.9:5", "10.0.0.7:5", "10.0.0.8:5")
    assert replicas(("other:5",), known) == ()


def test_one_grpc_target_stands_for_all_addresses() -> None:
    assert grpc_target(("10.0.0.7:5", "10.0.0.8:5")) == "ipv4:10.0.0.7:5,10.0.0.8:5"
    assert grpc_target(("[fd00::8]:5",)) == "ipv6:[fd00::8]:5"


async def test_a_replica_that_comes_and_one_that_goes_are_told() -> None:
    dns = Dns(llm=["10.0.0.7"])
    discovery, told = follow(dns, "llm:5")
    await discovery.refresh()
    dns.hosts["llm"] = ["10.0.0.8", "10.0.0.7"]
    await discovery.refresh()
    dns.hosts["llm"] = ["10.0.0.8"]
    await discovery.refresh()
    assert told == [("10.0.0.7:5",), ("10.0.0.7:5", "10.0.0.8:5"), ("10.0.0.8:5",)]


async def test_the_same_addresses_in_another_order_are_no_change() -> None:
    dns = Dns(llm=["10.0.0.7", "10.0.0.8"])
    discovery, told = follow(dns, "llm:5")
    await discovery.refresh()
    dns.hosts["llm"].reverse()
    await discovery.refresh()
    assert len(told) == 1


@pytest.mark.parametrize("hosts", [{}, {"llm": []}])
async def test_a_name_without_an_answer_keeps_the_replicas_it_had(hosts: dict[str, list[str]]) -> None:
    dns = Dns(llm=["10.0.0.7"])
    discovery, told = follow(dns, "llm:5")
    await discovery.refresh()
    dns.hosts = hosts
    await discovery.refresh()
    assert told == [("10.0.0.7:5",)]


async def test_nothing_is_told_before_anything_is_found() -> None:
    dns = Dns()
    discovery, told = follow(dns, "llm:5")
    await discovery.refresh()
    assert told == []
    dns.hosts["llm"] = ["10.0.0.7"]
    await discovery.refresh()
    assert told == [("10.0.0.7:5",)]


async def test_one_name_without_an_answer_does_not_hold_up_another() -> None:
    dns = Dns(here=["10.0.0.7"])
    discovery, told = follow(dns, "gone:5", "here:5")
    await discovery.refresh()
    assert told == [("10.0.0.7:5",)]


async def test_a_resolver_that_hangs_is_given_up() -> None:
    async def hang(host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    told: list[tuple[str, ...]] = []
    await Discovery("llm-svc", ("llm:5",), told.append, every_s=0.1, lookup=hang).refresh()
    assert told == []


async def test_addresses_are_told_without_any_lookup() -> None:
    async def never(host: str) -> list[str]:
        raise AssertionError(f"{host} was looked up")

    told: list[tuple[str, ...]] = []
    await Discovery("llm-svc", ("10.0.0.7:5",), told.append, every_s=1.0, lookup=never).refresh()
    assert told == [("10.0.0.7:5",)]

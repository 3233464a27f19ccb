"""Which replicas a service has: from addresses and names in a setting, and what DNS says of those names by now.

A name that cannot be looked up, or has no address at the moment, keeps the addresses that it had: a resolver that fails
must not take the services away that it found before.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from svc_runtime import logs

log = logs.get()

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the addresses of a host name. Raises OSError."""


class Changes(NamedTuple):
    """What became of a list of replicas, each as host:port."""

    appeared: tuple[str, ...]
    left: tuple[str, ...]


def changes(before: Sequence[str], now: Sequence[str]) -> Changes:
    return Changes(
        appeared=tuple(one for one in now if one not in before), left=tuple(one for one in before if one not in now)
    )


def is_name(target: str) -> bool:
    """Whether the host of ``target`` (host:port) is to be looked up. Raises ValueError for what is no host:port."""
    host, port = _parts(target)
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{target!r} is not host:port, for example session-svc:50051")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def found(target: str, addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the replicas behind a name, sorted: the IPv4 addresses, or the IPv6 ones where there are no others.

    Not both: one replica that has both would be taken for two.
    """
    _, port = _parts(target)
    kinds: dict[int, set[str]] = {4: set(), 6: set()}
    for address in addresses:
        kinds[ipaddress.ip_address(address).version].add(address)
    if kinds[4]:
        return tuple(sorted(f"{address}:{port}" for address in kinds[4]))
    return tuple(sorted(f"[{address}]:{port}" for address in kinds[6]))


def replicas(targets: Sequence[str], known: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return every replica once, in the order of ``targets``; ``known`` has those of each name."""
    every = (one for target in targets for one in (known.get(target, ()) if is_name(target) else (target,)))
    return tuple(dict.fromkeys(every))


def grpc_target(addresses: Sequence[str]) -> str:
    """Return the gRPC target that stands for all of these addresses, which are of one family. There must be one."""
    family = "ipv6" if addresses[0].startswith("[") else "ipv4"
    return f"{family}:{','.join(addresses)}"


class Discovery:
    """Follows the targets of one service. ``on_change`` gets all its replicas, first when any are known."""

    def __init__(
        self,
        service: str,
        targets: Sequence[str],
        on_change: Callable[[tuple[str, ...]], None],
        *,
        every_s: float,
        lookup: Lookup | None = None,
    ) -> None:
        """Raises ValueError for a target that is no host:port."""
        self._service = service
        self._targets = tuple(targets)
        self._names = [target for target in targets if is_name(target)]
        self._on_change = on_change
        self._every_s = every_s
        self._lookup = lookup or look_up
        self._known: dict[str, tuple[str, ...]] = {}
        self._told: tuple[str, ...] = ()
        self._failing: set[str] = set()

    async def refresh(self) -> None:
        """Look every name up once, and tell what has changed."""
        for target, addresses in zip(
            self._names, await asyncio.gather(*(self._ask(target) for target in self._names)), strict=True
        ):
            if addresses:
                self._known[target] = addresses
        now = replicas(self._targets, self._known)
        if now != self._told:
            appeared, left = changes(self._told, now)
            log.info("replicas.changed", of=self._service, appeared=list(appeared), left=list(left))
            self._told = now
            self._on_change(now)

    async def keep_fresh(self) -> None:
        """Look up every ``every_s``; without names once is enough."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every_s if self._names else 3_600.0)

    async def _ask(self, target: str) -> tuple[str, ...]:
        host, _ = _parts(target)
        try:
            async with asyncio.timeout(max(self._every_s, 1.0)):
                addresses = found(target, await self._lookup(host))
            reason = "" if addresses else "it has no address"
        except TimeoutError:
            addresses, reason = (), "no answer in time"
        except OSError as error:
            addresses, reason = (), str(error)
        if not reason:
            self._failing.discard(target)
        elif target not in self._failing:
            self._failing.add(target)
            log.warning("replicas.lookup_failed", of=self._service, target=target, reason=reason)
        return addresses


async def look_up(host: str) -> list[str]:
    """Return the addresses of ``host`` as the machine resolves it. Raises OSError."""
    results = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in results]


def _parts(target: str) -> tuple[str, str]:
    host, _, port = target.rpartition(":")
    return host.strip("[]"), port

"""Sends webhooks to a server: as fast as it answers, or at a fixed rate. A process of its own.

`python -m bench.client SPEC RESULT` builds its requests, prints "ready", waits for a line, sends, writes what came of
it to the file RESULT as JSON, and prints "done".
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench import traffic
from bench.connection import Connection, connect


@dataclass(frozen=True, slots=True)
class Spec:
    """What to send."""

    port: int
    secret: str
    mix: str
    size: int
    calls: int
    count: int
    rate: float = 0.0
    """Events a second, evenly; 0 for as fast as the answers come."""
    connections: int = 64
    staggered: bool = True

    def line(self) -> str:
        return json.dumps(asdict(self))


@dataclass(slots=True)
class Result:
    """What came of it. Times in nanoseconds of the monotonic clock, which all processes share."""

    began_ns: int
    ended_ns: int
    failed: int
    due_ns: list[int]
    done_ns: list[int]
    statuses: list[int]
    """HTTP's; 0 where the connection was lost."""


class _Sender(ABC):
    """Sends the requests in order, each on the next free connection."""

    def __init__(self, requests: list[bytes]) -> None:
        self.failed = 0
        self.due_ns = [0] * len(requests)
        self.done_ns = [0] * len(requests)
        self.statuses = [0] * len(requests)
        self.over = asyncio.Event()
        self._requests = requests
        self._answered = 0

    def answered(self, connection: Connection, status: int) -> None:
        self.done_ns[connection.tag] = time.monotonic_ns()
        self.statuses[connection.tag] = status
        self._answered += 1
        if status != 200:
            self.failed += 1
        if self._answered == len(self._requests):
            self.over.set()
        elif status:
            self.freed(connection)

    def send(self, connection: Connection, number: int) -> None:
        connection.tag = number
        connection.send(self._requests[number])

    @abstractmethod
    def freed(self, connection: Connection) -> None:
        """A connection has been answered and is free again."""

    @abstractmethod
    def start(self, connections: list[Connection]) -> None:
        """Begin to send."""


class _Closed(_Sender):
    """The next request leaves when an answer has come."""

    _next = 0

    def start(self, connections: list[Connection]) -> None:
        for connection in connections:
            self.freed(connection)

    def freed(self, connection: Connection) -> None:
        if self._next < len(self._requests):
            number, self._next = self._next, self._next + 1
            self.due_ns[number] = time.monotonic_ns()
            self.send(connection, number)


class _Open(_Sender):
    """A request is due when its time has come, whatever became of those before it; its latency counts from then."""

    def __init__(self, requests: list[bytes], rate: float) -> None:
        super().__init__(requests)
        self._free: list[Connection] = []
        self._late: deque[int] = deque()
        self._every_ns = int(1e9 / rate)
        self._loop = asyncio.get_running_loop()

    def start(self, connections: list[Connection]) -> None:
        self._free = connections
        # A thread beats the time: the loop's own timers are a millisecond coarse.
        threading.Thread(target=self._beat, daemon=True).start()

    def freed(self, connection: Connection) -> None:
        if self._late:
            self.send(connection, self._late.popleft())
        else:
            self._free.append(connection)

    def _beat(self) -> None:
        begin_ns = time.monotonic_ns() + 1_000_000
        for number in range(len(self._requests)):
            due_ns = self.due_ns[number] = begin_ns + number * self._every_ns
            if (wait_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(wait_ns / 1e9)
            self._loop.call_soon_threadsafe(self._due, number)

    def _due(self, number: int) -> None:
        if self._free:
            self.send(self._free.pop(), number)
        else:
            self._late.append(number)


async def _first(sender: _Sender, spec: Spec) -> None:
    """Send what is not measured."""
    connections = await connect(spec.connections, spec.port, sender.answered)
    sender.start(list(connections))
    await sender.over.wait()
    for connection in connections:
        connection.close()


async def main(spec: Spec) -> Result:
    before, requests = traffic.events(
        spec.mix, size=spec.size, calls=spec.calls, count=spec.count, secret=spec.secret, staggered=spec.staggered
    )
    await _first(_Closed(before), spec)
    sender = _Open(requests, spec.rate) if spec.rate else _Closed(requests)
    connections = await connect(spec.connections, spec.port, sender.answered)
    gc.collect()
    gc.disable()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began_ns = time.monotonic_ns()
    sender.start(list(connections))
    await sender.over.wait()
    ended_ns = time.monotonic_ns()
    for connection in connections:
        connection.close()
    return Result(began_ns, ended_ns, sender.failed, sender.due_ns, sender.done_ns, sender.statuses)


if __name__ == "__main__":
    result = uvloop.run(main(Spec(**json.loads(sys.argv[1]))))
    Path(sys.argv[2]).write_text(json.dumps(asdict(result)))
    print("done", flush=True)

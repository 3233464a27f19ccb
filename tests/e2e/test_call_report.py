"""The report of a call reaches the owner's system, whoever dies while that cannot take it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes import mesh, phone
from fakes.owner_server import FakeOwner, owner_server
from ingress_svc.domain.schemes import VAPI_DEFAULT, Credential
from ingress_svc.domain.signatures import Verifier
from voicemesh.session.v1 import session_pb2 as pb

WAITS_S = 30.0
SECRET = "owner-secret"
AGENT = """
[model]
provider = "scripted"
name = "booking"

[owner]
url = "{url}"
"""
SETTINGS = {
    "OWNER_SECRET": SECRET,
    "OWNER_TIMEOUT_S": "1.0",
    "REPORT_PAUSES_S": "0.5",
    "REPORT_WAIT_S": "1.0",
}


@dataclass
class House:
    mesh: mesh.Mesh
    owner: FakeOwner
    line: phone.Line

    async def call_is_over(self) -> phone.Phone:
        call = self.line.call("told")
        await call.begins()
        answer = await call.says("I need a table for four tonight at 7pm.")
        await answer.is_over()
        await call.agent_stops(answer.text)
        await call.hangs_up()
        return call

    async def until(self, done: Callable[[], bool]) -> None:
        for _ in range(round(WAITS_S / 0.05)):
            if done():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {WAITS_S} s: {self.mesh.said()[-2000:]}")

    def tries(self) -> list[pb.ReportTried]:
        return [row.event.report_tried for row in self.mesh.log() if row.event.HasField("report_tried")]

    async def delivered(self) -> None:
        def is_told() -> bool:
            return any(tried.result == pb.REPORT_RESULT_DELIVERED for tried in self.tries())

        await self.until(is_told)


@asynccontextmanager
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with owner_server() as owner:
        agent = tmp_path / "agent.toml"
        agent.write_text(AGENT.format(url=owner.url))
        with mesh.running(tmp_path, AGENT_FILE=str(agent), **SETTINGS) as running:
            async with phone.line(running.url, running.secret) as line:
                yield House(running, owner, line)


async def test_a_report_is_not_lost_whoever_is_killed_while_the_owners_system_fails(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        at.owner.status = 500
        call = await at.call_is_over()
        await at.until(lambda: len(at.owner.asked) >= 2)
        for service in ("ingress-svc", "session-svc"):
            pid = at.mesh.send(service, signal.SIGKILL)
            await at.mesh.restarted(service, pid)
            await at.mesh.ready()
            seen = len(at.owner.asked)
            await at.until(lambda: len(at.owner.asked) > seen)  # noqa: B023 - it is over before the next one
        at.owner.status = 200
        await at.delivered()
        posted = len(at.owner.asked)
        await asyncio.sleep(1.5)
        assert len(at.owner.asked) == posted, "it was told again of what it had taken"
        assert len({headers["X-Voicemesh-Delivery"] for headers in at.owner.headers}) == 1
        attempts = [tried.attempt for tried in at.tries()]
        assert sorted(set(attempts)) == list(range(1, max(attempts) + 1)), "a restart began to count anew"
        told, headers = at.owner.asked[-1], at.owner.headers[-1]
        lower = {name.lower(): value for name, value in headers.items()}
        verifier = Verifier([Credential(VAPI_DEFAULT, (SECRET,))])
        verifier.verify(lower, method="POST", url="", body=at.owner.raw[-1], now_s=time.time())
        assert headers["X-Voicemesh-Delivery"] == headers["Idempotency-Key"] == told["delivery"]
        assert (told["call_id"], told["outcome"]) == (f"vapi:{call.call_id}", "caller_hung_up")
        assert [turn["party"] for turn in told["turns"]] == ["caller", "agent"]
        assert "table for four" not in at.mesh.all_logs()

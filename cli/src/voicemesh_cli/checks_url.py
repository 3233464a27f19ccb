"""Checks of the way in: what Vapi would meet at the public address, sent as Vapi sends it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import orjson
from ingress_svc.domain.paths import COMPLETIONS_PATH, WEBHOOK_PATH
from svc_runtime.listen import is_loopback

from voicemesh_cli.checks import Result, fail, ok, skipped, warn
from voicemesh_cli.vapi_proof import NoProof, Proof, headers
from voicemesh_cli.words import printable

_WAIT_S = 20.0
_LARGE_BYTES = 1_500_000
"""A call of some turns: each event repeats the whole conversation. nginx refuses bodies over 1 MB unless told."""
_SKEW_WARN_S = 5.0
_SKEW_FAIL_S = 120.0
"""Signatures are refused 300 s from now."""
_BURST_MS = 30.0
"""Pieces of an answer that come within this came together."""
_FEW_PIECES = 3
_UNKNOWN_EVENT = {"message": {"type": "voicemesh-doctor"}}
_QUESTION = "Please count from one to twenty, slowly."


@dataclass(frozen=True, slots=True)
class Way:
    """An address, and what proves us to it."""

    url: str
    proof: Proof
    llm_key: str = field(repr=False)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(urlsplit(self.url).hostname or "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    """0 for no answer."""
    headers: Mapping[str, str]
    body: bytes
    problem: str = ""
    """Why there is no answer."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """How an answer of the custom LLM came in."""

    status: int
    kind: str
    """Its content type."""
    arrivals_ms: tuple[float, ...]
    """When each read returned, from the request on."""
    body: bytes
    problem: str = ""

    @property
    def pieces(self) -> int:
        return self.body.count(b"data: {")

    @property
    def spread_ms(self) -> float:
        return self.arrivals_ms[-1] - self.arrivals_ms[0] if self.arrivals_ms else 0.0


async def run(http: aiohttp.ClientSession, way: Way, direct: Way | None) -> list[Result]:
    """Run every check of an address. ``direct`` is the same mesh without what stands before it, where known."""
    first, answer = await healthz(http, way)
    if first.state.value == "fail":
        why = f"{way.url} does not lead here"
        names = ("clock", "unsigned", "signed", "raw body", "large body", "streaming")
        return [first, *(skipped(name, why) for name in names)]
    host = urlsplit(way.url).netloc
    # This machine's own clock agrees with itself.
    found = [first] if way.is_loopback else [first, clock(answer.headers.get("Date", ""), time.time(), host)]
    found.append(await unsigned(http, way))
    if not way.proof.secret:
        return [
            *found,
            *(skipped(name, "there is no secret to prove ourselves with") for name in ("signed", "streaming")),
        ]
    plain = await signed_event(http, way)
    found.append(plain)
    if plain.state.value == "ok":
        if way.proof.signs_body:
            found.append(await raw_body(http, way))
        else:
            found.append(skipped("raw body", f"{way.proof.scheme.name} proves no body, so a rewritten one passes"))
        found.append(await large_body(http, way))
    return [*found, await streaming(http, way, direct)]


async def healthz(http: aiohttp.ClientSession, way: Way) -> tuple[Result, Answer]:
    name = "address"
    if not way.url.startswith("https://") and not way.is_loopback:
        remedy = "give the address an https certificate: docs/quickstart-vapi.md"
        return fail(name, f"{way.url} is not https; Vapi would send secrets in the clear", remedy), Answer(0, {}, b"")
    answer = await _ask(http, "GET", f"{way.url}/healthz")
    if not answer.status:
        remedy = "is the tunnel or proxy running, and does its name point here?"
        return fail(name, f"{way.url}: {answer.problem}", remedy), answer
    if answer.status in (502, 503, 504, 530):
        remedy = "the proxy or tunnel runs, but not the mesh behind it: `voicemesh up`, and its port in the proxy"
        return fail(name, f"{way.url}/healthz answers {answer.status}", remedy), answer
    if answer.status != 200 or answer.body.strip() != b"ok":
        remedy = "something else answers there: let the proxy pass every path on to VOICEMESH_HTTP_PORT"
        return fail(name, f"{way.url}/healthz answers {answer.status}, not ours", remedy), answer
    how = "loopback, no TLS" if not way.url.startswith("https://") else "TLS"
    return ok(name, f"{way.url} leads here ({how})"), answer


def clock(date: str, now_s: float, whose: str) -> Result:
    """``date`` is the Date header of an answer that came at ``now_s``; it counts whole seconds."""
    try:
        off_s = abs(parsedate_to_datetime(date).timestamp() - now_s)
    except (TypeError, ValueError):
        return skipped("clock", f"{whose} does not tell the time")
    what = f"{off_s:.0f} s from that of {whose}"
    if off_s > _SKEW_FAIL_S:
        return fail("clock", what, "set the clock (NTP): signatures more than 300 s old are refused")
    if off_s > _SKEW_WARN_S:
        return warn("clock", what, "set the clock (NTP)")
    return ok("clock", what)


async def unsigned(http: aiohttp.ClientSession, way: Way) -> Result:
    raw = orjson.dumps(_UNKNOWN_EVENT)
    answer = await _ask(http, "POST", way.url + WEBHOOK_PATH, raw, {"Content-Type": "application/json"})
    if answer.status == 401 and "WWW-Authenticate" in answer.headers:
        return fail("unsigned", "the proxy asks for a password", "let /vapi/ through: Vapi proves itself otherwise")
    if answer.status == 401:
        return ok("unsigned", f"{way.url}{WEBHOOK_PATH} refuses an event without signature")
    if 200 <= answer.status < 300:
        return fail(
            "unsigned", f"an event without signature is taken ({answer.status})", "something else answers there"
        )
    return fail("unsigned", f"answered {_told(answer)}, not 401", _remedy(answer.status, WEBHOOK_PATH))


async def signed_event(http: aiohttp.ClientSession, way: Way) -> Result:
    answer = await _post_signed(http, way, orjson.dumps(_UNKNOWN_EVENT))
    if answer.status == 200 and "X-Voicemesh-Event-Id" in answer.headers:
        return ok(
            "signed", f"{way.url}{WEBHOOK_PATH} takes an event of an unknown type, proven by {way.proof.scheme.name}"
        )
    if answer.status == 401:
        remedy = "run the doctor with the mesh's own settings; after a change restart the mesh"
        how = way.proof.scheme.name
        return fail("signed", f"an event proven by {how} is refused: another secret there, or the clock", remedy)
    return fail("signed", f"answered {_told(answer)}, not 200", _remedy(answer.status, WEBHOOK_PATH))


async def raw_body(http: aiohttp.ClientSession, way: Way) -> Result:
    """A body that comes out different from any JSON library: whoever parses and writes it again breaks it."""
    raw = b'{ "message" :{"type":"voicemesh-doctor" , "n":1e-7, "text":"caf\\u00e9 \xc3\xa9 \\/ "}}\r\n'
    answer = await _post_signed(http, way, raw)
    if answer.status == 200:
        return ok("raw body", "arrives byte for byte")
    if answer.status == 401:
        remedy = "let the proxy pass bodies on as they are: no inspection or rewriting of JSON on /vapi/"
        return fail("raw body", "a signature over odd JSON fails: something rewrites bodies on the way", remedy)
    return fail("raw body", f"answered {_told(answer)}, not 200", "see the log of ingress-svc")


async def large_body(http: aiohttp.ClientSession, way: Way) -> Result:
    filler = {"message": {"type": "voicemesh-doctor", "filler": "x" * _LARGE_BYTES}}
    answer = await _post_signed(http, way, orjson.dumps(filler))
    size = f"{_LARGE_BYTES / 1e6:g} MB"
    if answer.status == 200:
        return ok("large body", f"{size} are taken")
    remedy = "allow 8 MB (nginx: client_max_body_size 8m), and no less in VOICEMESH_MAX_BODY_BYTES"
    return fail("large body", f"{size} are answered {_told(answer)}; a long call sends as much", remedy)


async def streaming(http: aiohttp.ClientSession, way: Way, direct: Way | None) -> Result:
    """Ask the custom LLM as Vapi does, and watch how the answer comes in."""
    seen = await _stream(http, way)
    is_suspect = seen.status == 200 and seen.spread_ms < _BURST_MS
    return judge_streaming(seen, await _stream(http, direct) if is_suspect and direct else None)


def judge_streaming(seen: Streamed, direct: Streamed | None) -> Result:
    """``direct`` is how an answer came without what stands in between; None where that is not known."""
    name = "streaming"
    if seen.status == 401:
        return fail(name, "the custom LLM refuses our key", "run the doctor with the mesh's own VOICEMESH_VAPI_LLM_KEY")
    if seen.status != 200:
        told = str(seen.status) if seen.status else seen.problem
        return fail(name, f"the custom LLM answers {told}", _remedy(seen.status, COMPLETIONS_PATH))
    if not seen.kind.startswith("text/event-stream"):
        return fail(name, f"the answer is {seen.kind or 'of no type'}", "let the proxy pass answers on as they are")
    if b"data: [DONE]" not in seen.body:
        remedy = "raise the proxy's read timeout (nginx: proxy_read_timeout 75s)"
        return fail(name, f"the answer breaks off after {seen.pieces} pieces", remedy)
    what = f"{seen.pieces} pieces over {seen.spread_ms:,.0f} ms, the first after {seen.arrivals_ms[0]:,.0f} ms"
    if seen.spread_ms >= _BURST_MS or seen.pieces < _FEW_PIECES:
        return ok(name, what)
    if direct is not None and direct.spread_ms < _BURST_MS:
        return ok(name, f"{what}; the model itself writes it at once")
    remedy = "switch buffering off for /vapi/llm (nginx: proxy_buffering off; no gzip there)"
    if direct is not None:
        return fail(name, f"the whole answer comes at once, and over {direct.spread_ms:,.0f} ms without proxy", remedy)
    return warn(name, f"the whole answer comes at once: {what}", f"unless the model is that quick, {remedy}")


async def _stream(http: aiohttp.ClientSession, way: Way) -> Streamed:
    call_id = f"doctor-{secrets.token_hex(6)}"
    body = {
        "model": "voicemesh-doctor",
        "messages": [{"role": "user", "content": _QUESTION}],
        "stream": True,
        "max_tokens": 80,
        "call": {"id": call_id},
    }
    headers = {"Authorization": f"Bearer {way.llm_key}", "Content-Type": "application/json"}
    began_s = time.monotonic()
    arrivals: list[float] = []
    read: list[bytes] = []
    status, kind, problem = 0, "", ""
    try:
        timeout = aiohttp.ClientTimeout(total=3 * _WAIT_S)
        async with http.post(
            way.url + COMPLETIONS_PATH, data=orjson.dumps(body), headers=headers, timeout=timeout
        ) as response:
            status, kind = response.status, response.headers.get("Content-Type", "")
            async for piece in response.content.iter_any():
                arrivals.append((time.monotonic() - began_s) * 1000)
                read.append(piece)
    except (aiohttp.ClientError, TimeoutError) as error:
        problem = _why(error)
    if status == 200:
        await _end(http, way, call_id)
    return Streamed(status, kind, tuple(arrivals), b"".join(read), problem)


async def _end(http: aiohttp.ClientSession, way: Way, call_id: str) -> None:
    """Let the call that was made by asking end at once, not after minutes of silence."""
    status = {"type": "status-update", "status": "ended", "endedReason": "voicemesh-doctor", "call": {"id": call_id}}
    await _post_signed(http, way, orjson.dumps({"message": {**status, "timestamp": time.time_ns() // 1_000_000}}))


async def _post_signed(http: aiohttp.ClientSession, way: Way, raw: bytes) -> Answer:
    url = way.url + WEBHOOK_PATH
    try:
        proven = await headers(http, way.proof, way.url, url, raw)
    except NoProof as error:
        return Answer(0, {}, b"", str(error))
    return await _ask(http, "POST", url, raw, proven)


async def _ask(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    timeout = aiohttp.ClientTimeout(total=_WAIT_S)
    try:
        async with http.request(
            method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.content.read(1 << 16))
    except (aiohttp.ClientError, TimeoutError) as error:
        return Answer(0, {}, b"", _why(error))


def _remedy(status: int, path: str) -> str:
    if status in (500, 503):
        return "the mesh itself fails: see the logs of ingress-svc and llm-svc"
    return f"let the proxy pass POST {path} on as it is (a firewall in front of it may object)"


def _told(answer: Answer) -> str:
    return str(answer.status) if answer.status else f"nothing ({answer.problem})"


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer in {_WAIT_S:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not valid ({printable(str(error.certificate_error))})"
        case aiohttp.ClientSSLError():
            return "it does not speak TLS there"
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case _:
            return printable(str(error)) or type(error).__name__

"""Answers over HTTP: streamed, cut, taken over, given again, and apologised for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import openai
import pytest
from fakes.ingress import CALL, CALL_ID, SECRET, Answer, Edge, edge
from fakes.mesh_servers import Generation, Script
from fakes.streams import until
from ingress_svc.adapters import asking
from ingress_svc.adapters.custom_llm import DROPPED
from ingress_svc.config import APOLOGY
from voicemesh.llm.v1 import llm_pb2
from voicemesh.session.v1 import session_pb2

WORDS = "a table for four"
WHOLE = "Four, then. For when?"
PATHS = ["/vapi/llm", "/vapi/llm/chat/completions", "/vapi/llm/chat/completions/chat/completions"]


@pytest.fixture
async def at() -> AsyncIterator[Edge]:
    async with edge() as running:
        yield running


async def begun(at: Edge, *words: str, gate: int = 1) -> tuple[Answer, Generation]:
    """An answer that has come as far as its gate."""
    at.mesh.llm.script = Script(gate=gate)
    known = len(at.mesh.llm.generations)
    answer = await at.provider.ask(*(words or (WORDS,)))
    await until(lambda: len(at.mesh.llm.generations) > known)
    await answer.some("Four, " if gate else "")
    return answer, at.mesh.llm.generations[-1]


def recorded(at: Edge, kind: str) -> Callable[[], bool]:
    return lambda: kind in at.mesh.session.kinds(CALL_ID)


# --- one answer -------------------------------------------------------------------------------------------------------


async def test_an_answer_streams_closes_and_is_recorded(at: Edge) -> None:
    answer = await (await at.provider.ask(WORDS)).all()
    assert answer.response.status == 200
    assert answer.response.headers["Content-Type"].startswith("text/event-stream")
    assert answer.response.headers["X-Accel-Buffering"] == "no"
    assert (answer.text, answer.finish_reason, answer.done) == (WHOLE, "stop", True)
    await until(recorded(at, "generation_ended"))
    assert at.mesh.session.of("generation_ended")[0].said_text == WHOLE


async def test_the_headers_do_not_wait_for_the_first_token(at: Edge) -> None:
    answer, generation = await begun(at, gate=0)
    assert answer.response.status == 200
    generation.opened.set()
    assert (await answer.all()).text == WHOLE


@pytest.mark.parametrize("path", PATHS)
async def test_every_spelling_of_the_address_answers(at: Edge, path: str) -> None:
    assert (await (await at.provider.ask(WORDS, path=path)).all()).text == WHOLE


@pytest.mark.parametrize("base", PATHS[:2])
async def test_the_real_openai_client_reads_the_stream(at: Edge, base: str) -> None:
    async with openai.AsyncOpenAI(base_url=at.url + base, api_key=SECRET, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": WORDS}], stream=True, extra_body={"call": {"id": CALL}}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WHOLE
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_the_real_openai_client_understands_every_refusal(at: Edge) -> None:
    async with openai.AsyncOpenAI(base_url=at.url + "/vapi/llm", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": WORDS}])
        assert (refused.value.type, refused.value.code) == ("invalid_request_error", "invalid_api_key")
        assert "the request is not signed as configured" in refused.value.message
    async with openai.AsyncOpenAI(base_url=at.url + "/vapi/llm", api_key=SECRET, max_retries=0) as client:
        with pytest.raises(openai.BadRequestError, match="messages"):
            await client.chat.completions.create(model="m", messages=None)  # type: ignore[call-overload]


async def test_the_real_openai_client_understands_what_is_refused_before_it_is_read() -> None:
    async with (
        edge(max_body_bytes=2_000) as at,
        openai.AsyncOpenAI(base_url=at.url + "/vapi/llm", api_key=SECRET, max_retries=0) as client,
    ):
        for words, headers, status, code in (
            ("x" * 3_000, {}, 413, "request_too_large"),
            (WORDS, {"Content-Encoding": "gzip"}, 415, "unsupported_encoding"),
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": words}], extra_headers=headers
                )
            assert (refused.value.status_code, refused.value.code) == (status, code)
            assert refused.value.type == "invalid_request_error"


async def test_refused_webhooks_say_why_in_one_line_and_not_as_openai_does(at: Edge) -> None:
    status, text, _ = await at.provider.post("/vapi/webhook", b"{}", {})
    assert (status, json.loads(text)) == (401, {"error": "the request is not signed as configured"})


async def test_a_message_of_nobody_is_left_out_and_counted(at: Edge) -> None:
    messages = [{"role": "wizard", "content": "obey"}, {"role": "user", "content": WORDS}]
    assert (await (await at.provider.ask(messages=messages)).all()).text == WHOLE
    assert at.ingress.counters.value(DROPPED) == 1


async def test_without_stream_the_whole_answer_is_one_completion(at: Edge) -> None:
    async with openai.AsyncOpenAI(base_url=at.url + "/vapi/llm", api_key=SECRET, max_retries=0) as client:
        completion = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": WORDS}])
    assert completion.choices[0].message.content == WHOLE
    assert completion.choices[0].finish_reason == "stop"


async def test_tool_calls_pass_through_as_the_model_wrote_them(at: Edge) -> None:
    at.mesh.llm.script = Script(
        pieces=(),
        finish=llm_pb2.FINISH_TOOL_CALLS,
        tool_calls=[
            llm_pb2.ToolCall(index=0, id="c1", name="book_table", arguments='{"party":'),
            llm_pb2.ToolCall(index=0, arguments="4}"),
        ],
    )
    answer = await (await at.provider.ask(WORDS)).all()
    pieces = [piece for event in answer.events for piece in event["choices"][0]["delta"].get("tool_calls", [])]
    assert pieces[0]["function"]["name"] == "book_table"
    assert "".join(piece["function"]["arguments"] for piece in pieces) == '{"party":4}'
    assert (answer.finish_reason, answer.done) == ("tool_calls", True)


async def test_without_stream_a_tool_call_stands_whole_in_the_completion(at: Edge) -> None:
    at.mesh.llm.script = Script(
        pieces=("One moment.",),
        finish=llm_pb2.FINISH_TOOL_CALLS,
        tool_calls=[
            llm_pb2.ToolCall(index=0, id="c1", name="book_table", arguments='{"party":'),
            llm_pb2.ToolCall(index=0, arguments="4}"),
        ],
    )
    async with openai.AsyncOpenAI(base_url=at.url + "/vapi/llm", api_key=SECRET, max_retries=0) as client:
        completion = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": WORDS}])
    [choice] = completion.choices
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "book_table", '{"party":4}')
    assert (choice.message.content, choice.finish_reason) == ("One moment.", "tool_calls")


async def test_the_real_openai_client_gets_the_token_counts_it_asks_for(at: Edge) -> None:
    at.mesh.llm.script = Script(counts=(21, 6))
    async with openai.AsyncOpenAI(base_url=at.url + "/vapi/llm", api_key=SECRET, max_retries=0) as client:
        ask = client.chat.completions.create
        whole = await ask(model="m", messages=[{"role": "user", "content": WORDS}])
        stream = await ask(
            model="m",
            messages=[{"role": "user", "content": WORDS}],
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"call": {"id": CALL}},
        )
        chunks = [chunk async for chunk in stream]
    for usage in (whole.usage, chunks[-1].usage):
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (21, 6, 27)
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    await until(recorded(at, "generation_ended"))
    assert {ended.model for ended in at.mesh.session.of("generation_ended")} == {"openai/gpt-x"}
    assert [(ended.prompt_tokens, ended.completion_tokens) for ended in at.mesh.session.of("generation_ended")] == [
        (21, 6),
        (21, 6),
    ]


async def test_whoever_does_not_ask_for_token_counts_gets_no_frame_without_choices(at: Edge) -> None:
    at.mesh.llm.script = Script(counts=(21, 6))
    answer = await (await at.provider.ask(WORDS)).all()
    assert all(event["choices"] for event in answer.events)


async def test_a_w3c_context_from_outside_reaches_the_model(at: Edge) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    body = json.dumps({"messages": [{"role": "user", "content": WORDS}], "stream": True, "call": {"id": CALL}})
    headers = {"X-Vapi-Secret": SECRET, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    assert (await at.provider.post("/vapi/llm", body.encode(), headers))[0] == 200
    assert at.mesh.llm.generations[0].request.trace.traceparent.split("-")[1] == trace


async def test_requests_that_name_no_call_do_not_share_one(at: Edge) -> None:
    for _ in range(2):
        assert (await (await at.provider.ask(WORDS, call=None)).all()).text == WHOLE
    assert len({generation.request.call_id for generation in at.mesh.llm.generations}) == 2


# --- cuts -------------------------------------------------------------------------------------------------------------


async def test_d18_no_acknowledgement_waits_for_the_model(at: Edge) -> None:
    answer, generation = await begun(at, gate=0)
    assert (await at.provider.final("yes"))[0] == 200
    assert (await at.provider.partial("mhm"))[0] == 200
    assert (await at.provider.webhook(type="hang"))[0] == 200
    assert not generation.ended
    assert answer.events == []


async def test_d19_a_verdict_acts_while_the_model_thinks(at: Edge) -> None:
    answer, generation = await begun(at, gate=0)
    assert (await at.provider.partial("stop"))[0] == 200
    await until(lambda: generation.cancelled)
    await answer.all()
    assert (answer.text, answer.finish_reason, answer.done) == ("", "stop", True)


async def test_d20_a_cut_is_real_for_the_model_and_for_the_caller(at: Edge) -> None:
    answer, generation = await begun(at)
    await at.provider.partial("stop")
    await until(lambda: generation.cancelled)
    generation.opened.set()
    await answer.all()
    assert (answer.text, answer.finish_reason, answer.done) == ("Four, ", "stop", True)
    await until(recorded(at, "generation_cut"))
    cut = at.mesh.session.of("generation_cut")[0]
    assert (cut.said_text, cut.rule) == ("Four, ", "stop_phrase")


async def test_d20_a_model_that_floods_is_cut_in_mid_flood(at: Edge) -> None:
    at.mesh.llm.script = Script(pieces=["word "] * 200_000)
    answer = await at.provider.ask(WORDS)
    await answer.some("word word")
    await at.provider.partial("stop")
    await until(lambda: at.mesh.llm.generations[0].cancelled)
    await answer.all()
    assert answer.done
    assert len(answer.text) < 900_000


async def test_d24_the_callers_own_voice_ends_no_answer(at: Edge) -> None:
    answer, generation = await begun(at)
    for status in ("started", "stopped"):
        await at.provider.webhook(type="speech-update", role="user", status=status)
    generation.opened.set()
    assert (await answer.all()).text == WHOLE


async def test_d26_nothing_starts_after_the_call_and_its_end_closes_what_runs(at: Edge) -> None:
    answer, generation = await begun(at)
    await at.provider.webhook(type="status-update", status="ended", endedReason="customer-ended-call")
    await until(lambda: generation.cancelled)
    assert (await answer.all()).done
    late = await (await at.provider.ask("still there?")).all()
    assert (late.text, late.done) == ("", True)
    assert len(at.mesh.llm.generations) == 1


async def test_a_peer_that_leaves_cancels_the_model_at_once(at: Edge) -> None:
    for gate in (0, 1):
        answer, generation = await begun(at, f"{WORDS} {gate}", gate=gate)
        answer.response.close()
        await until(lambda generation=generation: generation.cancelled)  # type: ignore[misc]
    await until(lambda: at.mesh.session.kinds(CALL_ID).count("generation_cut") == 2)


# --- more words, and the same again -----------------------------------------------------------------------------------


async def test_longer_words_take_the_voice(at: Edge) -> None:
    first, generation = await begun(at)
    second, _ = await begun(at, f"{WORDS} at seven")
    await first.all()
    assert (first.text, first.done, generation.cancelled) == ("Four, ", True, True)
    at.mesh.llm.generations[1].opened.set()
    assert (await second.all()).text == WHOLE
    assert len(at.mesh.llm.running) == 0


async def test_d17_three_corrections_give_one_answer_to_the_last(at: Edge) -> None:
    corrections = ["Actually", "Actually no wait", "Actually no wait make that 8pm"]
    at.mesh.llm.script = Script(gate=0)
    answers = [await at.provider.ask(words) for words in corrections]
    await until(lambda: at.mesh.llm.generations and len(at.mesh.llm.running) == 1)
    await until(lambda: at.mesh.llm.generations[-1].request.messages[-1].content == corrections[-1])
    for generation in at.mesh.llm.generations:
        generation.opened.set()
    texts = [(await answer.all()).text for answer in answers]
    assert texts == ["", "", WHOLE]


async def test_the_same_words_take_a_running_answer_over_from_its_first_byte(at: Edge) -> None:
    first, generation = await begun(at)
    again = await at.provider.ask(WORDS)
    await again.some("Four, ")
    assert (await first.all()).done
    generation.opened.set()
    assert (await again.all()).text == WHOLE
    assert len(at.mesh.llm.generations) == 1


async def test_the_same_words_after_the_end_are_answered_from_the_record(at: Edge) -> None:
    assert (await (await at.provider.ask(WORDS)).all()).text == WHOLE
    await until(recorded(at, "generation_ended"))
    again = await (await at.provider.ask(WORDS)).all()
    assert (again.text, again.done) == (WHOLE, True)
    assert len(at.mesh.llm.generations) == 1


async def test_the_same_words_after_a_cancelled_answer_start_anew(at: Edge) -> None:
    first, generation = await begun(at)
    first.response.close()
    await until(lambda: generation.cancelled)
    await until(recorded(at, "generation_cut"))
    at.mesh.llm.script = Script()
    assert (await (await at.provider.ask(WORDS)).all()).text == WHOLE
    assert len(at.mesh.llm.generations) == 2


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_d30_a_model_that_fails_before_its_first_token_is_apologised_for(at: Edge) -> None:
    at.mesh.llm.script = Script(pieces=(), fails=grpc.StatusCode.DEADLINE_EXCEEDED)
    answer = await (await at.provider.ask(WORDS)).all()
    assert answer.response.status == 200
    assert (answer.text, answer.finish_reason, answer.done) == (APOLOGY, "stop", True)
    assert (await at.provider.final("hello?"))[0] == 200


@pytest.mark.parametrize("fails", [grpc.StatusCode.UNAVAILABLE, None])
async def test_d30_a_model_that_fails_in_mid_sentence_is_apologised_for(
    at: Edge, fails: grpc.StatusCode | None
) -> None:
    at.mesh.llm.script = Script(pieces=("Four, ",), fails=fails, finish=llm_pb2.FINISH_FAILED)
    answer = await (await at.provider.ask(WORDS)).all()
    assert (answer.text, answer.finish_reason, answer.done) == (f"Four,  {APOLOGY}", "stop", True)
    await until(recorded(at, "generation_ended"))


async def test_d30_a_model_without_a_word_in_time_is_apologised_for_and_cancelled() -> None:
    async with edge(first_piece_s=0.3) as at:
        answer, generation = await begun(at, gate=0)
        assert (await answer.all()).text == APOLOGY
        await until(lambda: generation.cancelled)


async def test_d30_llm_svc_that_is_lost_before_its_first_token_is_asked_again(at: Edge) -> None:
    answer, _ = await begun(at, gate=0)
    at.mesh.llm.script = Script()
    await at.mesh.llm_server.down()
    await at.mesh.llm_server.up()
    assert (await answer.all()).text == WHOLE


async def test_d30_without_session_svc_the_agent_apologises(at: Edge) -> None:
    await at.mesh.session_server.down()
    answer = await (await at.provider.ask(WORDS)).all()
    assert answer.response.status == 200
    assert (answer.text, answer.done) == (APOLOGY, True)


async def test_an_answer_that_was_asked_for_while_session_svc_was_down_is_given_when_it_is_back(at: Edge) -> None:
    await at.mesh.session_server.down()
    answer = await at.provider.ask(WORDS)
    await at.mesh.session_server.up()
    assert (await answer.all()).text == WHOLE
    assert len(at.mesh.llm.generations) == 1


async def test_an_attachment_that_is_asked_for_again_is_not_asked_for_twice_as_often(
    at: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_s = 3_600.5
    monkeypatch.setattr(asking, "ASK_AGAIN_S", never_s)
    loop = asyncio.get_running_loop()
    call_later, timers = loop.call_later, []

    def noting(delay_s: float, *what: Any) -> asyncio.TimerHandle:
        timer = call_later(delay_s, *what)
        timers.extend([timer] if delay_s == never_s else [])
        return timer

    monkeypatch.setattr(loop, "call_later", noting)
    at.mesh.session.stuck = True
    answer = await at.provider.ask(WORDS)
    [attachment_id] = at.ingress.calls.get(CALL_ID).attachments
    gone = session_pb2.MoveOutput(generation=9, attachment_id=attachment_id)
    for asked in (2, 3):
        command = session_pb2.Command(command_id=f"c{asked}", call_id=CALL_ID, move_output=gone)
        at.mesh.session.order(at.ingress.calls.mesh.client_id, command)
        await until(lambda asked=asked: len(timers) == asked)  # type: ignore[misc]
        assert [timer.cancelled() for timer in timers] == [True] * (asked - 1) + [False]
    answer.response.close()
    await until(lambda: timers[-1].cancelled())


async def test_an_answer_that_was_frozen_for_nothing_goes_on(at: Edge) -> None:
    answer, generation = await begun(at)
    time.sleep(0.3)  # noqa: ASYNC251 - the loop stands still
    generation.opened.set()
    async with asyncio.timeout(10):
        assert (await answer.all()).text == WHOLE

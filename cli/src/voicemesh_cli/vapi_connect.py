"""`voicemesh vapi connect` and `restore`: look, show, ask, save, change, look again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ingress_svc.domain.paths import TOKEN_PATH

from voicemesh_cli import vapi_merge
from voicemesh_cli.vapi_api import NoCredentials, VapiApi, VapiError
from voicemesh_cli.vapi_diff import Change, changed, changes, not_kept, starred
from voicemesh_cli.vapi_merge import TOUCHED, Connection, Credential
from voicemesh_cli.vapi_proof import NoProof, Proof, by_hand, header_of

_TO_BE_MADE = "(one that is to be made)"
_BACKUP_KIND = "voicemesh vapi backup"
_NUMBER_TOUCHED = ("assistantId", "squadId", "workflowId")
"""What a number answers with: one of the three."""


class ConnectFailed(Exception):
    """The assistant is not connected; the message says what helps."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line and the settings ask for."""

    url: str
    assistant_id: str
    proof: Proof
    """How ingress-svc has Vapi prove its webhooks."""
    llm_key: str = field(repr=False)
    phone_number_id: str = ""
    credential_id: str = ""
    """Of the webhooks, made by hand."""
    llm_credential_id: str = ""
    header: Proof | None = None
    """What takes its place where Vapi makes no credential; None where ingress-svc takes nothing of the kind."""


class Screen(Protocol):
    """Where it is shown, and who is asked."""

    def say(self, line: str) -> None: ...
    def show(self, title: str, found: list[Change]) -> None: ...
    def agrees(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Found:
    """What Vapi has now, and what is to become of it."""

    to: Connection
    assistant: dict[str, Any]
    fields: dict[str, Any]
    """All that connecting sets, whole."""
    number: dict[str, Any] = field(default_factory=dict)
    number_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> list[Change]:
        return changes(self.assistant, self.fields)

    @property
    def number_changes(self) -> list[Change]:
        return changes(self.number, self.number_fields)


async def look(api: VapiApi, wanted: Wanted) -> Found:
    """Return what connecting would do, without doing it. Raises VapiError, ConnectFailed."""
    assistant = await api.assistant(wanted.assistant_id)
    number = await api.phone_number(wanted.phone_number_id) if wanted.phone_number_id else {}
    try:
        known, can_make = tuple(await api.credentials()), True
    except NoCredentials:
        known, can_make = (), False
    to = Connection(
        wanted.url,
        webhook_credential=wanted.credential_id or _credential_of(known, _webhook_body(wanted), can_make),
        llm_credential=wanted.llm_credential_id
        or (_credential_of(known, _llm_body(wanted), can_make) if wanted.llm_key else ""),
        header=header_of(wanted.header) if wanted.header is not None else ("", ""),
        llm_key=wanted.llm_key,
        known=known,
    )
    return _found(wanted, to, assistant, number)


async def connect(
    api: VapiApi,
    wanted: Wanted,
    screen: Screen,
    backups: Path,
    *,
    dry_run: bool,
    now_s: Callable[[], float] = time.time,
) -> None:
    """Connect the assistant. Returns also when there is nothing to change, or nobody agrees.

    Raises VapiError, and ConnectFailed where Vapi has not kept what it was sent.
    """
    found = await look(api, wanted)
    if not found.changes and not found.number_changes:
        return screen.say(f"nothing to change: assistant {wanted.assistant_id} is connected to {wanted.url}")
    _show(screen, wanted, found)
    if dry_run:
        return screen.say("nothing was changed (--dry-run)")
    if not screen.agrees():
        return screen.say("nothing was changed")
    _refuse_starred(changed(found.assistant, found.fields))
    kept = save(backups, found.assistant, found.number, now_s())
    screen.say(f"what was there is kept in {kept}; `voicemesh vapi restore {kept}` puts it back")
    found = await _with_credentials(api, wanted, found, screen)
    if found.changes:
        await api.patch_assistant(wanted.assistant_id, changed(found.assistant, found.fields))
    lost = not_kept(found.fields, await api.assistant(wanted.assistant_id))
    if found.number_changes:
        await _patch_number(api, wanted.phone_number_id, found.number, found.number_fields)
        lost += not_kept(found.number_fields, await api.phone_number(wanted.phone_number_id))
    _check(lost)
    return screen.say(f"connected and verified; now `voicemesh doctor --url {wanted.url}`, and call it")


async def restore(
    api: VapiApi, backup: Path, screen: Screen, backups: Path, *, dry_run: bool, now_s: Callable[[], float] = time.time
) -> None:
    """Put back what connecting has changed since the backup was saved. Raises VapiError, ConnectFailed."""
    saved, saved_number = load(backup)
    id_, number_id = str(saved["id"]), str(saved_number.get("id") or "")
    assistant = await api.assistant(id_)
    number = await api.phone_number(number_id) if number_id else {}
    fields = {name: saved.get(name) for name in TOUCHED if name != "credentials"}
    if "credentials" not in saved and assistant.get("credentials"):
        fields["credentials"] = []
    number_fields = {name: saved_number.get(name) for name in _NUMBER_TOUCHED} if number_id else {}
    body, number_body = changed(assistant, fields), changed(number, number_fields)
    if not body and not number_body:
        return screen.say(f"nothing to change: assistant {id_} is as it was")
    screen.show(f"assistant {id_}", changes(assistant, fields))
    if number_body:
        screen.show(f"phone number {number_id}", changes(number, number_fields))
    if dry_run:
        return screen.say("nothing was changed (--dry-run)")
    if not screen.agrees():
        return screen.say("nothing was changed")
    _refuse_starred(body)
    screen.say(f"what was there is kept in {save(backups, assistant, number, now_s())}")
    if body:
        await _patch_with_nulls(api, id_, body)
    lost = not_kept(fields, await api.assistant(id_))
    if number_body:
        await _patch_number(api, number_id, number, number_fields)
        lost += not_kept(number_fields, await api.phone_number(number_id))
    _check(lost)
    return screen.say("restored and verified")


def save(backups: Path, assistant: Mapping[str, Any], number: Mapping[str, Any], now_s: float) -> Path:
    """Write a backup that only its owner can read. Raises ConnectFailed."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    path = backups / f"{assistant.get('id')}-{stamp}.json"
    # A number's own body holds the credentials of its carrier; what it answered with is all that is needed.
    kept_number = {name: number[name] for name in ("id", "provider", *_NUMBER_TOUCHED) if name in number}
    content = {"kind": _BACKUP_KIND, "assistant": dict(assistant), "phoneNumber": kept_number}
    try:
        for directory in (backups.parent, backups):
            directory.mkdir(mode=0o700, exist_ok=True)
        while True:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                break
            except FileExistsError:
                path = path.with_name(f"{path.stem}-again.json")
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConnectFailed(f"no backup can be written to {path}: {error.strerror}; nothing was changed") from error
    return path


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the assistant and the phone number of a backup; an empty number for none. Raises ConnectFailed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConnectFailed(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        content = {}
    content = content if isinstance(content, dict) and content.get("kind") == _BACKUP_KIND else {}
    assistant, number = content.get("assistant"), content.get("phoneNumber")
    if not isinstance(assistant, dict) or not assistant.get("id") or not isinstance(number, dict):
        raise ConnectFailed(f"{path} is no backup of `voicemesh vapi connect`")
    return assistant, number


def _found(wanted: Wanted, to: Connection, assistant: dict[str, Any], number: dict[str, Any]) -> Found:
    if not to.webhook_credential and wanted.header is None:
        raise ConnectFailed(f"Vapi makes no credential here; {by_hand(wanted.proof, wanted.url)}")
    if not to.llm_credential and not wanted.llm_key:
        raise ConnectFailed(
            "the custom LLM takes our OAuth2 tokens only; make a custom-llm credential with OAuth2 in Vapi's dashboard "
            f"(token URL {wanted.url}{TOKEN_PATH}, the same client) and name it with --llm-credential-id"
        )
    try:
        fields = vapi_merge.merged(assistant, to)
    except vapi_merge.CannotMerge as error:
        raise ConnectFailed(str(error)) from error
    return Found(to, assistant, fields, number, _number_fields(number, wanted) if number else {})


def _number_fields(number: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    others = {name: None for name in _NUMBER_TOUCHED[1:] if number.get(name)}
    return {"assistantId": wanted.assistant_id, **others}


def _webhook_body(wanted: Wanted) -> dict[str, Any]:
    try:
        return vapi_merge.webhook_credential(wanted.proof, wanted.url)
    except NoProof as error:
        raise ConnectFailed(by_hand(wanted.proof, wanted.url)) from error


def _llm_body(wanted: Wanted) -> dict[str, Any]:
    return vapi_merge.llm_credential(wanted.llm_key)


def _credential_of(known: tuple[Credential, ...], body: Mapping[str, Any], can_make: bool) -> str:
    return vapi_merge.find(known, body) or (_TO_BE_MADE if can_make else "")


def _show(screen: Screen, wanted: Wanted, found: Found) -> None:
    for made, body in ((found.to.webhook_credential, _webhook_body), (found.to.llm_credential, _llm_body)):
        if made == _TO_BE_MADE:
            what = body(wanted)
            how = what.get("authenticationPlan", {}).get("type", "")
            screen.say(f"credential to be made: {what['name']} ({what['provider']}{', ' if how else ''}{how})")
    screen.show(f"assistant {wanted.assistant_id}", found.changes)
    if found.number_changes:
        screen.show(f"phone number {wanted.phone_number_id}", found.number_changes)
    for note in vapi_merge.notes(found.assistant, found.to):
        screen.say(f"note: {note}")


async def _with_credentials(api: VapiApi, wanted: Wanted, found: Found, screen: Screen) -> Found:
    """Return the same with the credentials made, or done without where Vapi refuses."""
    to = found.to
    if to.webhook_credential == _TO_BE_MADE:
        instead = f"in the header {to.header[0]}" if wanted.header is not None else "nowhere"
        to = replace(to, webhook_credential=await _made(api, _webhook_body(wanted), screen, instead))
    if to.llm_credential == _TO_BE_MADE:
        to = replace(to, llm_credential=await _made(api, _llm_body(wanted), screen, "in the assistant"))
    if to == found.to:
        return found
    return _found(wanted, to, found.assistant, found.number)


async def _made(api: VapiApi, body: Mapping[str, Any], screen: Screen, instead: str) -> str:
    try:
        credential = await api.create_credential(body)
    except NoCredentials as error:
        screen.say(f"note: {error}; the secret goes {instead} instead")
        return ""
    screen.say(f"made credential {body['name']}")
    return credential.id


async def _patch_number(api: VapiApi, id_: str, number: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    # Vapi reads the body by its provider, and refuses one without.
    await api.patch_phone_number(id_, {"provider": number.get("provider"), **fields})


async def _patch_with_nulls(api: VapiApi, id_: str, body: Mapping[str, Any]) -> None:
    """Whether Vapi takes null for "unset" is written nowhere: without, it is asked again for what has a value."""
    values = {name: value for name, value in body.items() if value is not None}
    try:
        await api.patch_assistant(id_, body)
    except VapiError as error:
        if error.status != 400 or len(values) == len(body) or not values:
            raise
        await api.patch_assistant(id_, values)


def _refuse_starred(body: Mapping[str, Any]) -> None:
    if found := starred(body):
        raise ConnectFailed(
            f"Vapi shows {', '.join(found)} with stars in the middle, and sent back so it would be lost; nothing was "
            "changed. Take it out in the dashboard, run this again, and set it anew there"
        )


def _check(lost: list[str]) -> None:
    if lost:
        raise ConnectFailed(f"Vapi has not kept all of it: {'; '.join(lost)}; run it again, or set it in the dashboard")

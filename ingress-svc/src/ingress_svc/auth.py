"""From settings to what proves a request."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from svc_runtime.config import ConfigError
from svc_runtime.listen import is_loopback
from svc_runtime.toml_file import Section, TomlFile

from ingress_svc.config import Config
from ingress_svc.domain.auth_doctor import Doctor
from ingress_svc.domain.oauth import TokenEndpoint
from ingress_svc.domain.schemes import (
    BEARER,
    PRESETS,
    Credential,
    HmacScheme,
    OAuthScheme,
    Scheme,
    TokenScheme,
)
from ingress_svc.domain.signatures import Unsigned, Verifier

_SECRET = "VOICEMESH_VAPI_SECRET"
_LLM_KEY = "VOICEMESH_VAPI_LLM_KEY"
_OAUTH_SECRET = "VOICEMESH_VAPI_OAUTH_CLIENT_SECRET"


@dataclass(frozen=True)
class Auth:
    """What proves a webhook and a custom-LLM request, and what else belongs to it."""

    webhooks: Verifier | Unsigned
    llm: Verifier | Unsigned
    tokens: TokenEndpoint | None
    """None where OAuth2 is not configured."""
    webhook_doctor: Doctor | None
    llm_doctor: Doctor | None

    @property
    def unsigned(self) -> list[str]:
        """The endpoints that ask for no proof."""
        doors = {"webhook": self.webhooks, "llm": self.llm}
        return [name for name, verifier in doors.items() if isinstance(verifier, Unsigned)]


def auth(config: Config) -> Auth:
    """Return what proves a request. Raises ConfigError: an empty secret would accept forgeries."""
    if config.public_url and not re.fullmatch(r"https?://[^/?#@\s]+/?", config.public_url):
        raise ConfigError("VOICEMESH_PUBLIC_URL must be a scheme and a host alone, such as https://voice.example.com")
    oauth = _oauth(config)
    webhooks = webhook_credentials(config)
    llm = [*_of_llm(config), *(oauth if config.llm_oauth else [])]
    if config.llm_oauth and not oauth:
        raise ConfigError(f"VOICEMESH_VAPI_LLM_OAUTH=on needs {_OAUTH_SECRET}")
    if not 1 <= config.oauth_token_s <= 86_400:
        raise ConfigError(f"VOICEMESH_VAPI_OAUTH_TOKEN_S={config.oauth_token_s} is not 1 to 86400 seconds")
    return Auth(
        webhooks=_verifier(webhooks, config, _SECRET, "the secret of Vapi's webhooks"),
        llm=_verifier(llm, config, _LLM_KEY, "the API key of the custom-LLM endpoint"),
        tokens=_tokens(config, oauth),
        webhook_doctor=Doctor(webhooks, public_url=config.public_url) if config.auth_doctor else None,
        llm_doctor=Doctor(llm, public_url=config.public_url) if config.auth_doctor else None,
    )


def webhook_credentials(config: Config) -> list[Credential]:
    """Return every way in which a webhook may prove itself. Raises ConfigError."""
    return [*_of_webhooks(config), *_oauth(config)]


def _oauth(config: Config) -> list[Credential]:
    return _credential(OAuthScheme(client_id=config.oauth_client_id), config.oauth_client_secrets, _OAUTH_SECRET)


def _verifier(credentials: Sequence[Credential], config: Config, variable: str, meaning: str) -> Verifier | Unsigned:
    if credentials:
        return Verifier(credentials, public_url=config.public_url)
    if not config.insecure:
        raise ConfigError(
            f"{variable} is empty or not set: {meaning} (or VOICEMESH_INSECURE=on, to let everybody in on loopback)"
        )
    if not is_loopback(config.host):
        raise ConfigError(
            f"{variable} is empty or not set, and VOICEMESH_INSECURE=on holds for a loopback address only; "
            f"VOICEMESH_HTTP_HOST is {config.host!r}, where 127.0.0.1 would be right"
        )
    return Unsigned()


def _tokens(config: Config, oauth: Sequence[Credential]) -> TokenEndpoint | None:
    if not oauth:
        return None
    return TokenEndpoint(config.oauth_client_id, oauth[0].secrets, lifetime_s=config.oauth_token_s)


def _of_webhooks(config: Config) -> list[Credential]:
    for name in config.vapi_schemes:
        if name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the presets are {', '.join(PRESETS)}"
            raise ConfigError(f"VOICEMESH_VAPI_SCHEMES names {name!r}; {hint}")
    common = config.vapi_secrets
    credentials = [found for name in config.vapi_schemes for found in _credential(PRESETS[name], common, _SECRET)]
    for scheme, secrets in schemes_of_file(config.vapi_auth_file) if config.vapi_auth_file else []:
        own = _credential(scheme, secrets, f"{config.vapi_auth_file}: secret_file")
        found = own or _credential(scheme, common, _SECRET)
        if not found and not config.insecure:
            raise ConfigError(
                f"{_SECRET} is empty or not set, and {config.vapi_auth_file} names no secret_file for {scheme.name}"
            )
        credentials += found
    if common.strip() and not credentials:
        raise ConfigError(f"VOICEMESH_VAPI_SCHEMES names no scheme; the presets are {', '.join(PRESETS)}")
    return credentials


def _of_llm(config: Config) -> list[Credential]:
    keys = config.llm_keys or config.vapi_secrets
    variable = _LLM_KEY if config.llm_keys else _SECRET
    try:
        header = TokenScheme(name="llm-header", header=config.llm_header)
    except ValueError as error:
        raise ConfigError(f"VOICEMESH_VAPI_LLM_HEADER: {error}") from error
    return [*_credential(BEARER, keys, variable), *_credential(header, keys, variable)]


def _credential(scheme: Scheme, secrets: str, variable: str) -> list[Credential]:
    """Return the credential of these secrets, separated by commas; nothing for no text at all."""
    if not secrets.strip():
        return []
    try:
        return [Credential(scheme, tuple(part.strip() for part in secrets.split(",")))]
    except ValueError as error:
        raise ConfigError(f"{variable}: {error}") from error


def schemes_of_file(path: str) -> list[tuple[HmacScheme | TokenScheme, str]]:
    """Return the schemes of VOICEMESH_VAPI_AUTH_FILE, each with its own secrets, or "" for the common ones.

    Raises ConfigError with every problem, naming file and key.
    """
    file = TomlFile.read(path, hint="VOICEMESH_VAPI_AUTH_FILE names it")
    schemes = []
    for name, section in file.root.section("scheme").sections():
        try:
            schemes.append((_scheme(name, section), _secrets(section, Path(path).parent)))
        except ValueError as error:
            file.add_problem(f"{section.heading} {str(error).removeprefix(f'{name}: ')}")
        section.refuse_unknown()
    file.root.refuse_unknown()
    file.check()
    if not schemes:
        raise ConfigError(f"{path}: holds no scheme; write [scheme.some-name]")
    return schemes


def _scheme(name: str, section: Section) -> HmacScheme | TokenScheme:
    """Return the scheme of a table: its own header with the secret itself, or a preset with what it says otherwise."""
    preset = PRESETS[section.text("preset", "vapi-default", one_of=tuple(PRESETS))]
    header = section.text("header", "")
    if header or isinstance(preset, TokenScheme):
        given = preset if isinstance(preset, TokenScheme) else TokenScheme(name=name, header=header)
        return replace(given, name=name, header=header or given.header, prefix=section.text("prefix", given.prefix))
    values: dict[str, Any] = {}
    for field in fields(preset):
        # Vapi's own word; of ours, only this one differs.
        key = "signature_encoding" if field.name == "encoding" else field.name
        default = getattr(preset, field.name)
        if field.name != "name":
            values[field.name] = (
                section.switch(key, default) if isinstance(default, bool) else section.text(key, default)
            )
    return replace(preset, name=name, **values)


def _secrets(section: Section, folder: Path) -> str:
    """Return the text of ``secret_file``. No secret stands in the file itself, which is no secret then."""
    name = section.text("secret_file", "")
    if not name:
        return ""
    try:
        secrets = (folder / name).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"secret_file cannot be read from {folder / name}: {error.strerror}") from error
    if not secrets:
        raise ValueError(f"secret_file is empty: {folder / name} must hold at least one secret")
    return secrets

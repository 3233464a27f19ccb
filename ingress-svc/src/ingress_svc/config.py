"""Settings of ingress-svc."""

from __future__ import annotations

from dataclasses import dataclass

from svc_runtime.config import setting
from svc_runtime.shelf_settings import ShelfSettings

from ingress_svc.domain import oauth
from ingress_svc.domain.schemes import UNASKED

APOLOGY = "Sorry, I lost my thread for a moment. Could you say that again, please?"


@dataclass(frozen=True)
class Config(ShelfSettings):
    host: str = setting(
        "VOICEMESH_HTTP_HOST", "127.0.0.1", meaning="Address that the public port is bound to; 0.0.0.0 for all."
    )
    port: int = setting("VOICEMESH_HTTP_PORT", 8080, meaning="The public port: webhooks, custom LLM, health.")
    vapi_secrets: str = setting(
        "VOICEMESH_VAPI_SECRET",
        "",
        meaning="Secret of Vapi's webhooks; several, separated by commas, are active at once (rotation). Without it, "
        "without secrets of VOICEMESH_VAPI_AUTH_FILE and without OAuth2, ingress does not start.",
        secret=True,
        may_be_empty=True,
    )
    vapi_schemes: tuple[str, ...] = setting(
        "VOICEMESH_VAPI_SCHEMES",
        UNASKED,
        meaning="Ways in which a webhook may prove its origin with that secret: vapi-default, article, github-style, "
        "svix (HMAC), x-vapi-secret, bearer.",
    )
    vapi_auth_file: str = setting(
        "VOICEMESH_VAPI_AUTH_FILE",
        "",
        meaning="A TOML file with further ways, which may have secrets of their own; empty for none.",
    )
    public_url: str = setting(
        "VOICEMESH_PUBLIC_URL",
        "",
        meaning="Scheme and host under which Vapi reaches ingress, such as https://voice.example.com: for signatures "
        "over the URL, which a proxy in front changes. Empty: what the request says.",
    )
    llm_keys: str = setting(
        "VOICEMESH_VAPI_LLM_KEY",
        "",
        meaning="API key of the custom-LLM endpoint (commas as above), as Authorization with or without Bearer; empty "
        "means the webhook secrets.",
        secret=True,
    )
    llm_header: str = setting(
        "VOICEMESH_VAPI_LLM_HEADER",
        "x-vapi-secret",
        meaning="Another header in which that key may come, alone: one of the model's own headers at Vapi.",
    )
    llm_oauth: bool = setting(
        "VOICEMESH_VAPI_LLM_OAUTH", False, meaning="Whether the custom-LLM endpoint takes our OAuth2 tokens too."
    )
    oauth_client_id: str = setting(
        "VOICEMESH_VAPI_OAUTH_CLIENT_ID", "vapi", meaning="Client id that Vapi shows at POST /oauth/token."
    )
    oauth_client_secrets: str = setting(
        "VOICEMESH_VAPI_OAUTH_CLIENT_SECRET",
        "",
        meaning="Client secret that it shows there (commas as above). Where it is set, that endpoint is served and "
        "webhooks take its tokens; a token lives no longer than its secret.",
        secret=True,
    )
    oauth_token_s: int = setting(
        "VOICEMESH_VAPI_OAUTH_TOKEN_S", oauth.LIFETIME_S, meaning="Seconds for which a token is valid."
    )
    insecure: bool = setting(
        "VOICEMESH_INSECURE",
        False,
        meaning="Whether to start without a secret and let everything in; only on a loopback address, which a tunnel "
        "to it opens to all. What has a secret is checked all the same.",
    )
    auth_doctor: bool = setting(
        "VOICEMESH_AUTH_DOCTOR",
        False,
        meaning="Whether the log says, at most once a second, with which format a refused request would have matched. "
        "For the time in which you look for it: a look takes 3 to 30 ms.",
    )
    max_body_bytes: int = setting(
        "VOICEMESH_MAX_BODY_BYTES",
        8 * 1024 * 1024,
        meaning="Largest accepted body. Vapi repeats the whole conversation in each event: 18 kB at the first, more "
        "with every turn.",
    )
    session_targets: tuple[str, ...] = setting(
        "VOICEMESH_SESSION_TARGETS",
        ("127.0.0.1:50051",),
        meaning="Replicas of session-svc, host:port with commas; a name stands for every address that DNS has for it.",
    )
    bargein_targets: tuple[str, ...] = setting(
        "VOICEMESH_BARGEIN_TARGETS",
        ("127.0.0.1:50052",),
        meaning="Replicas of bargein-svc, host:port with commas; a name stands for every address that DNS has for it.",
    )
    llm_targets: tuple[str, ...] = setting(
        "VOICEMESH_LLM_TARGETS",
        ("127.0.0.1:50053",),
        meaning="Replicas of llm-svc, host:port with commas; a name stands for every address that DNS has for it.",
    )
    discovery_s: float = setting(
        "VOICEMESH_DISCOVERY_S",
        2.0,
        meaning="Seconds between two looks at DNS for replicas that come and go, where targets are names.",
    )
    hold_s: float = setting(
        "VOICEMESH_HOLD_S",
        1.5,
        meaning="Seconds that a durable event waits for its acknowledgement before it is answered 503.",
    )
    generate_timeout_s: float = setting(
        "VOICEMESH_GENERATE_TIMEOUT_S", 60.0, meaning="Longest run of one generation, in seconds."
    )
    first_piece_s: float = setting(
        "VOICEMESH_FIRST_PIECE_S",
        8.0,
        meaning="Seconds until the first piece of an answer must be there, both models and a restart of llm-svc "
        "included; then the agent apologises.",
    )
    control_hosts: tuple[str, ...] = setting(
        "VOICEMESH_CONTROL_HOSTS",
        (".vapi.ai",),
        meaning="Hosts that a call's control URL may name: .vapi.ai is that host and all below it, over https, on "
        "public addresses. 127.0.0.1 and localhost, with or without a port, may be added for local work. Empty: no "
        "live call control.",
    )
    control_token: str = setting(
        "VOICEMESH_CONTROL_TOKEN",
        "",
        meaning="Sent as `Authorization: Bearer` with each command to a live call: Vapi's public key, where an "
        "assistant's monitorPlan has controlAuthenticationEnabled. It goes to VOICEMESH_CONTROL_HOSTS alone; empty: "
        "none is sent.",
        secret=True,
        may_be_empty=True,
    )
    control_timeout_s: float = setting(
        "VOICEMESH_CONTROL_TIMEOUT_S",
        3.0,
        meaning="Seconds that one try to control a call may take, connecting (at most half of them) included. Vapi "
        "takes 0.2 to 0.3 s.",
    )
    owner_secret: str = setting(
        "VOICEMESH_OWNER_SECRET",
        "",
        meaning="Signs what goes to your own servers, as Vapi signs webhooks by default (x-signature, x-timestamp): "
        "what [vapi] of an agent file asks, and [[tools]] beyond this machine. Needed where any are named.",
        secret=True,
    )
    owner_timeout_s: float = setting(
        "VOICEMESH_OWNER_TIMEOUT_S",
        10.0,
        meaning="Seconds that one POST of a call's report to the owner's system may take.",
    )
    most_calls: int = setting(
        "VOICEMESH_INGRESS_MOST_CALLS", 20_000, meaning="Most calls that one ingress keeps; the idlest go first."
    )
    idle_s: float = setting(
        "VOICEMESH_SESSION_IDLE_S",
        300.0,
        meaning="Seconds without any event after which a call is given up as abandoned. Idle, not age: a call of an "
        "hour is normal.",
    )
    budget_file: str = setting("VOICEMESH_BUDGET_FILE", "budget.toml", meaning="The latency budget.")
    trace_one_in: int = setting(
        "VOICEMESH_TRACE_ONE_IN",
        20,
        meaning="Of the turns without cut, failure or breach, one in so many is traced; 1 traces all, 0 none of them.",
    )
    drain_s: float = setting(
        "VOICEMESH_DRAIN_S", 8.0, meaning="Seconds a service may take to finish what it has begun after SIGTERM."
    )
    otlp_endpoint: str = setting(
        "VOICEMESH_OTLP_ENDPOINT",
        "",
        meaning="OTLP/gRPC endpoint for spans, http://host:4317; empty switches them off.",
    )
    log_level: str = setting("VOICEMESH_LOG_LEVEL", "info", meaning="debug, info, warning or error.")

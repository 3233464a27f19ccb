"""The settings of llm-svc."""

from __future__ import annotations

from dataclasses import dataclass

from svc_runtime.config import setting
from svc_runtime.shelf_settings import ShelfSettings


@dataclass(frozen=True, slots=True)
class Settings(ShelfSettings):
    """Read from ``VOICEMESH_*`` variables. What an agent's models are stands in its file instead."""

    listen: str = setting("VOICEMESH_LLM_LISTEN", "127.0.0.1:50053", meaning="host:port on which llm-svc listens.")
    http: str = setting(
        "VOICEMESH_LLM_HTTP",
        "",
        meaning="host:port on which llm-svc answers GET /metrics, /healthz and /readyz; empty for none.",
    )
    openai_api_key: str = setting(
        "VOICEMESH_OPENAI_API_KEY",
        "",
        meaning="Key for the model when an agent file says provider openai; local servers need none.",
        secret=True,
    )
    openai_fallback_api_key: str = setting(
        "VOICEMESH_OPENAI_FALLBACK_API_KEY",
        "",
        meaning="Key for [model.fallback] at another base_url: a key never goes to a server that it was not given for.",
        secret=True,
    )
    first_token_s: float = setting(
        "VOICEMESH_LLM_FIRST_TOKEN_S",
        3.0,
        meaning="Seconds that a model may take to its first token before the fallback is asked; an agent file can say "
        "it for one model. A deadline, not the budget: at least twice the 0.8 s of llm.first_token, because giving up "
        "on a slow model and starting another costs more than waiting for it.",
    )
    token_gap_s: float = setting(
        "VOICEMESH_LLM_TOKEN_GAP_S",
        5.0,
        meaning="Seconds between two tokens after which the provider has failed: a caller takes a longer silence in "
        "mid-sentence for a dead line.",
    )
    total_s: float = setting(
        "VOICEMESH_LLM_TOTAL_S",
        60.0,
        meaning="Seconds that a generation may take in all, tries included: nobody listens to a longer answer.",
    )
    breaker_failures: int = setting(
        "VOICEMESH_LLM_BREAKER_FAILURES",
        5,
        meaning="Failures in a row that open a model's breaker; half of the latest 20 failing opens it too.",
    )
    breaker_pause_s: float = setting(
        "VOICEMESH_LLM_BREAKER_PAUSE_S",
        10.0,
        meaning="Seconds that an open breaker leaves its model alone before one try; doubles up to 60 s.",
    )
    max_generations: int = setting(
        "VOICEMESH_LLM_MAX_GENERATIONS",
        1_000,
        meaning="Generations at once; one more is answered RESOURCE_EXHAUSTED. Each holds a provider connection.",
    )
    tools_path: str = setting(
        "VOICEMESH_TOOLS_PATH",
        "",
        meaning="Folder in which Python finds the modules that [[tools]] of agent.toml name; empty for none.",
    )
    owner_secret: str = setting(
        "VOICEMESH_OWNER_SECRET",
        "",
        meaning="Signs what goes to your own servers, as Vapi signs webhooks by default (x-signature, x-timestamp): "
        "what [vapi] of an agent file asks, and [[tools]] beyond this machine. Needed where any are named.",
        secret=True,
    )
    max_tools: int = setting(
        "VOICEMESH_TOOL_MAX_RUNNING",
        100,
        meaning="Tools that run at once; one more is answered RESOURCE_EXHAUSTED. A call runs one or two in a turn.",
    )
    tool_threads: int = setting(
        "VOICEMESH_TOOL_THREADS",
        16,
        meaning="Threads for tools that are plain functions; one more waits, within its time. A function that hangs "
        "keeps its thread.",
    )
    scripted_first_token_ms: float = setting(
        "VOICEMESH_SCRIPTED_FIRST_TOKEN_MS",
        350.0,
        meaning="Milliseconds before the scripted model's first token, give or take; 350 is what a quick hosted model "
        "takes, 0 is at once.",
    )
    scripted_token_ms: float = setting(
        "VOICEMESH_SCRIPTED_TOKEN_MS",
        80.0,
        meaning="Milliseconds between tokens of the scripted model, give or take; 0 is at once.",
    )
    otlp_endpoint: str = setting(
        "VOICEMESH_OTLP_ENDPOINT", "", meaning="host:port of an OTLP receiver for spans; empty for none."
    )
    log_level: str = setting("VOICEMESH_LOG_LEVEL", "info", meaning="debug, info, warning or error.")
    drain_s: float = setting(
        "VOICEMESH_DRAIN_S", 8.0, meaning="Seconds that running work gets after SIGTERM before it is cut off."
    )

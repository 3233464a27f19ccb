"""The options of our gRPC channels and servers. Each stands here because its default breaks quietly."""

from __future__ import annotations

import json
from typing import Any

import grpc.aio

MAX_MESSAGE_BYTES = 4 << 20
"""What either end takes in one message. A stream's own messages stay below 1.3 MiB; see LinkLimits and FeedLimits."""

_CHANNEL: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # The one that acts: with keepalive_timeout alone a frozen peer was noticed after 62 s (grpcio 1.85.1).
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # A restarted server is found within 0.3 s of its listening; by default it took up to 2.6 s.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

SERVER: tuple[tuple[str, Any], ...] = (
    # Without these three a server answers our keepalive with GOAWAY "too_many_pings" and the stream dies.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 2_000),
    # Only to make clients look DNS up again. The grace is far longer than a call: streams are not to feel it.
    ("grpc.max_connection_age_ms", 60_000),
    ("grpc.max_connection_age_grace_ms", 4 * 3_600_000),
    ("grpc.max_concurrent_streams", 4_096),
    # By default a second server takes the same port silently and half of the connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)

HEALTHY_ROUND_ROBIN: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
}
"""A service config that spreads calls over all addresses of a target that report SERVING. For work of one call each;
a resumable stream stays with its replica and needs none."""


def channel_options(service_config: dict[str, Any] | None = None) -> list[tuple[str, Any]]:
    """Return the options of every channel, with ``service_config`` if there is one."""
    options = list(_CHANNEL)
    if service_config is not None:
        options.append(("grpc.service_config", json.dumps(service_config)))
    return options


def open_channel(target: str, *, service_config: dict[str, Any] | None = None) -> grpc.aio.Channel:
    """Return a channel to ``target``: host:port, ``dns:///host:port`` or several ``ipv4:host:port,host:port``.

    It connects at the first call. A call that shall survive a restart of the server sets ``wait_for_ready``.
    """
    return grpc.aio.insecure_channel(target, options=channel_options(service_config))

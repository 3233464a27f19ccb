"""Addresses: to listen on, and which of them are this machine's own."""

from __future__ import annotations

import ipaddress
import socket


class CannotListen(Exception):
    """The address is taken or not ours; the message names it."""


def bound(listen: str) -> socket.socket:
    """Return a socket bound to ``listen`` (host:port; port 0 takes a free one). Raises CannotListen."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise CannotListen(f"cannot listen on {listen!r}: it must be host:port, for example 127.0.0.1:50051")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {listen}: {error.strerror}") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise CannotListen(f"cannot listen on {listen}: {error.strerror}") from error
    return sock


def is_loopback(host: str) -> bool:
    """Whether a host, as `urlsplit` gives it, is this machine by its loopback address; "" is not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

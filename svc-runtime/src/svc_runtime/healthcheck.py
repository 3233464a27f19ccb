"""Ask a process of ours whether it is ready: ``python -S -m svc_runtime.healthcheck HOST:PORT``; exits 0 if so.

For container health checks, which run every few seconds in each container: nothing is imported that need not be.
"""

from __future__ import annotations

import socket
import sys

WITHIN_S = 2.0
_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def ask(address: str) -> tuple[bool, str]:
    """Return whether the process is ready, and what it said: its answer, or why there is none."""
    host, _, port = address.rpartition(":")
    answer = b""
    try:
        with socket.create_connection((host, int(port)), WITHIN_S) as connection:
            connection.sendall(_REQUEST)
            while part := connection.recv(4_096):
                answer += part
    except (OSError, ValueError) as error:
        return False, f"no answer from {address}: {error}"
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ", 2)[1:2] == [b"200"], body.decode(errors="replace").strip()


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m svc_runtime.healthcheck HOST:PORT", file=sys.stderr)
        return 2
    ready, said = ask(arguments[0])
    print(said)
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

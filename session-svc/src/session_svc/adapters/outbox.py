"""The commands whose effect is not recorded yet, as this replica holds them in memory; the store has them too."""

from __future__ import annotations

from voicemesh.session.v1 import session_pb2 as pb


class Outbox:
    """Commands by call and by the ingress process they go to, in the order of their addition."""

    def __init__(self) -> None:
        self._by_call: dict[str, dict[str, tuple[str, pb.Command]]] = {}

    def add(self, call_id: str, ingress_id: str, command: pb.Command) -> None:
        self._by_call.setdefault(call_id, {})[command.command_id] = (ingress_id, command)

    def remove(self, call_id: str, command_id: str) -> None:
        commands = self._by_call.get(call_id)
        if commands is not None:
            commands.pop(command_id, None)
            if not commands:
                del self._by_call[call_id]

    def forget(self, call_id: str) -> None:
        self._by_call.pop(call_id, None)

    def of_call(self, call_id: str) -> list[tuple[str, pb.Command]]:
        return list(self._by_call.get(call_id, {}).values())

    def of_ingress(self, ingress_id: str) -> list[pb.Command]:
        """Return what an ingress that has just (re)opened its stream must be told again."""
        return [
            command
            for commands in self._by_call.values()
            for holder, command in commands.values()
            if holder == ingress_id
        ]

    def __len__(self) -> int:
        return sum(len(commands) for commands in self._by_call.values())

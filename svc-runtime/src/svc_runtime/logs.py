"""Log lines: a fixed event name and typed fields, one JSON object a line on standard error.

Nothing private goes in: no transcript text, number, secret or token URL, and never a protobuf message.
"""

from __future__ import annotations

import json
import logging
import sys
import time


class Log:
    """Writes events of one service, for example ``log.info("drain.ended", calls=3)``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: object) -> None:
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: object) -> None:
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: object) -> None:
        """Log a failure that somebody must look at."""
        self._logger.error(event, extra={"fields": fields})

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """Log a defect of ours, with its type and the line it came from; not its text, which may be private."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}" if trace else ""
        self._logger.error(event, extra={"fields": {**fields, "error_type": type(error).__name__, "where": where}})


class _JsonLines(logging.Formatter):
    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "service": self._service,
            **_event(record),
        }
        return json.dumps(line, default=str, ensure_ascii=False)


def _event(record: logging.LogRecord) -> dict[str, object]:
    """Return our own event and fields; of a library's line only where it came from, for its text may be private."""
    fields = getattr(record, "fields", None)
    if fields is not None:
        return {"event": record.getMessage(), **fields}
    return {"event": "library.logged", "logger": record.name, "where": f"{record.filename}:{record.lineno}"}


def setup(service: str, level: str = "info") -> Log:
    """Send this process's log lines to standard error as JSON and return the service's log."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("WARNING")
    logger = logging.getLogger("voicemesh")
    logger.setLevel(level.upper())
    return Log(logger)


def get() -> Log:
    """Return the process's log, for modules below the wiring."""
    return Log(logging.getLogger("voicemesh"))

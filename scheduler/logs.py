"""The daemon's log: one line an event, facts beside it, never a secret.

Whatever looks like a Coda token is blotted out here, the last place before it would be written, and names
that strangers chose cannot write lines of their own. A log that cannot be written stops nothing.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

_TOKEN = re.compile(r"coda_[A-Za-z0-9_\-]{4,}|(?i:bearer)\s+\S+")
BLOT = "[secret]"


def blot(text: str) -> str:
    return _TOKEN.sub(BLOT, text)


def _blot_event(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = blot(value) if key == "exception" else one_line(blot(value))
    return event


def one_line(text: str) -> str:
    """The text with line breaks, and whatever else a terminal would act on, written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def start_log(level: str, form: str) -> Callable[..., None]:
    """Return the function that writes a line to stderr; `trace=True` adds the current exception."""
    renderer = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _blot_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say (aiohttp, asyncio, apscheduler) goes the same way, from warnings on.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_BlotFilter())
    logger = structlog.get_logger()

    def log(event: str, *, trace: bool = False, **facts: Any) -> None:
        try:
            if trace:
                logger.error(event, exc_info=True, **facts)
            else:
                logger.info(event, **facts)
        except OSError:
            pass  # its disk is full or its reader is gone: the work is worth more than the line about it

    return log


class _BlotFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = blot(record.getMessage()), None
        return True

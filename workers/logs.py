"""Structured logs: one JSON object a line for machines, coloured lines for people."""

import logging
import sys

import structlog


def configure(log_format: str = "json", level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers through one pipeline to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor]
    if log_format == "json":
        final = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Plain tracebacks: the pretty ones print local variables, and those hold secrets and personal data.
        final = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These say at INFO what is only interesting when debugging: each pool checkout, request and periodic job.
    for noisy in ("psycopg.pool", "httpx", "httpcore", "stripe", "procrastinate"):
        logging.getLogger(noisy).setLevel(root.level if level == "DEBUG" else max(logging.WARNING, root.level))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; pass facts as keyword arguments, not inside the message."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger

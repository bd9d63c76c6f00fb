"""Logging: JSON lines with the service, its replica and the id of the request."""

import logging
import sys

import structlog


def configure_logging(service: str, replica: str, level: str) -> None:
    """Makes all loggers, ours and the libraries', write one JSON object per line to standard output."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )

    def add_service_and_replica(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"], event["replica"] = service, replica
        return event

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                add_service_and_replica,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for verbose in ("uvicorn.error", "alembic"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
    for duplicating in ("aio_pika", "aiormq"):  # `shopkit.messaging.broker` logs the errors that end a session
        logging.getLogger(duplicating).setLevel(logging.CRITICAL)

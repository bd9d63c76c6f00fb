"""Settings: one frozen struct per service, filled from environment variables."""

import os
import re
import socket
from collections.abc import Mapping
from typing import TypeVar

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that every service has. Each field is the environment variable with its name in capitals."""

    host: str = "127.0.0.1"
    port: int = 8000
    replica: str = msgspec.field(default_factory=socket.gethostname)
    log_level: str = "INFO"
    revision: str = "unknown"


S = TypeVar("S", bound=Settings)


def load(kind: type[S], environ: Mapping[str, str] = os.environ) -> S:
    """Returns the settings. Raises SystemExit with the name of a variable that is missing or wrong."""
    names = [field.name for field in msgspec.structs.fields(kind)]
    values = {name: environ[name.upper()] for name in names if name.upper() in environ}
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        message = re.sub(r"`(?:\$\.)?([a-z_]+)`", lambda match: _as_variable(match[1], names), str(error))
        raise SystemExit(f"settings: {message}") from error


def _as_variable(word: str, names: list[str]) -> str:
    return word.upper() if word in names else word

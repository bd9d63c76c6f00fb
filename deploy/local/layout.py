"""The folder, ports, passwords and numbers of replicas of a local shop."""

import hashlib
import json
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

SERVER_PORTS = {"postgres": 432, "rabbitmq": 672, "management": 673, "epmd": 369, "dist": 674, "redis": 379}
FIRST_PORTS = {"orders": 101, "payments": 201, "notifier": 301, "gateway": 401, "backstage": 601}
WEB_PORT = 501
REPLICAS_LIMIT = 99
# The ports of a shop are less than 1,000 above its base port. Linux uses 32768 and above for outgoing connections.
HIGHEST_BASE_PORT = 31768
PORTS = {"base_port": ("GOZON_BASE_PORT", 18000), "entrance_port": ("GOZON_PORT", 8080)}
"""For each setting, its environment variable and its default."""
DISK_FREE_LIMIT_MB = 200
# These characters have no special meaning in shells and configuration files.
_PLAIN = re.compile(r"[A-Za-z0-9/._+~@=,-]+")
DEFAULT_REPLICAS = {"orders": 2, "payments": 2, "notifier": 3, "gateway": 2, "backstage": 1}
DATABASES = ("orders", "payments")


@dataclass(frozen=True)
class Replica:
    name: str
    service: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Shop:
    dir: Path
    base_port: int
    entrance_port: int
    replicas: dict[str, int]
    servers_only: bool
    passwords: dict[str, str]

    def port(self, server: str) -> int:
        return self.base_port + SERVER_PORTS[server]

    @property
    def web_port(self) -> int:
        return self.base_port + WEB_PORT

    @property
    def entrance(self) -> str:
        return f"http://127.0.0.1:{self.entrance_port}"

    def replicas_of(self, service: str) -> list[Replica]:
        first = self.base_port + FIRST_PORTS[service]
        return [Replica(f"{service}-{i + 1}", service, first + i) for i in range(self.replicas[service])]

    def all_replicas(self) -> list[Replica]:
        if self.servers_only:
            return []
        return [replica for service in FIRST_PORTS for replica in self.replicas_of(service)]

    def urls_of(self, service: str) -> str:
        return ",".join(replica.url for replica in self.replicas_of(service))

    def ports(self) -> dict[str, int]:
        """Returns every port of the shop, by the program that listens on it."""
        ports = {name: self.port(name) for name in SERVER_PORTS}
        ports |= {replica.name: replica.port for replica in self.all_replicas()}
        return ports if self.servers_only else ports | {"web": self.web_port, "nginx": self.entrance_port}

    def database(self, name: str) -> str:
        return f"postgresql://{name}:{self.passwords[name]}@127.0.0.1:{self.port('postgres')}/{name}"

    @property
    def admin_database(self) -> str:
        password, port = self.passwords["postgres"], self.port("postgres")
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"

    @property
    def broker(self) -> str:
        return f"amqp://gozon:{self.passwords['rabbitmq']}@127.0.0.1:{self.port('rabbitmq')}/"

    @property
    def broker_management(self) -> str:
        return f"http://gozon:{self.passwords['rabbitmq']}@127.0.0.1:{self.port('management')}"

    @property
    def redis(self) -> str:
        return f"redis://:{self.passwords['redis']}@127.0.0.1:{self.port('redis')}/0"

    def log(self, program: str) -> Path:
        return self.dir / "logs" / f"{program}.log"

    @property
    def supervisor_conf(self) -> Path:
        return self.dir / "supervisord.conf"

    def describe(self) -> None:
        """Writes shop.json, the addresses for tests and tools, and settings.json for the next `up`."""
        replicas = {
            service: [{"name": r.name, "url": r.url} for r in self.replicas_of(service)] for service in FIRST_PORTS
        }
        description = {
            "base_port": self.base_port,
            "entrance": self.entrance,
            "databases": {name: self.database(name) for name in DATABASES} | {"admin": self.admin_database},
            "broker": self.broker,
            "broker_management": self.broker_management,
            "redis": self.redis,
            "supervisor": str(self.supervisor_conf),
            "replicas": {} if self.servers_only else replicas,
        }
        settings = {
            "base_port": self.base_port,
            "entrance_port": self.entrance_port,
            "replicas": self.replicas,
            "servers_only": self.servers_only,
        }
        write_private(self.dir / "shop.json", json.dumps(description, indent=2) + "\n")
        write_private(self.dir / "settings.json", json.dumps(settings) + "\n")


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read. Replaces it atomically: an interruption leaves no half file."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)


def private_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def real_dir(asked: Path) -> Path:
    """Returns the folder of the data: `asked`, or a folder in /var/tmp to which `asked` will be a link.

    A folder in /var/tmp is used in two cases. RabbitMQ cannot watch the free disk space of a path with a space.
    PostgreSQL does not run as root, and its user cannot enter a repository below a closed folder such as /root.
    Raises SystemExit if another user made a link there.
    """
    asked = asked.absolute()
    _reject_foreign_link(asked)
    if asked.exists() or (_PLAIN.fullmatch(str(asked)) and (os.getuid() != 0 or _open_to_all(asked.parent))):
        return asked.resolve()
    real = Path("/var/tmp") / f"gozon-{_key(asked)}"
    _reject_foreign_link(real)
    return real


def _reject_foreign_link(path: Path) -> None:
    if path.is_symlink() and path.lstat().st_uid != os.getuid():
        raise SystemExit(f"{path} is a link that belongs to another user")


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents) if parent.exists())


def make_dir(asked: Path) -> Path:
    real = real_dir(asked)
    real.mkdir(parents=True, exist_ok=True)
    if real.stat().st_uid != os.getuid():
        raise SystemExit(f"{real} belongs to another user")
    # If root starts the shop, the users of PostgreSQL and nginx must be able to enter their folders in this one.
    real.chmod(0o711 if os.getuid() == 0 else 0o700)
    asked = asked.absolute()
    if real != asked.resolve():
        asked.parent.mkdir(parents=True, exist_ok=True)
        asked.unlink(missing_ok=True)
        asked.symlink_to(real)
    private_folder(real / "logs")
    return real


def remove_dir(asked: Path) -> None:
    """Deletes the data. Renames the folder first, so an interruption cannot leave a shop with half of its data."""
    real = real_dir(asked)
    removed = real.with_name(f"{real.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)
    if real.exists():
        real.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)
    if asked.is_symlink():
        asked.unlink()


def socket_path(directory: Path) -> Path:
    """Returns the path of supervisord's socket: at most 90 characters.

    Linux allows 107 characters, and supervisord appends its pid.
    """
    path = directory / "supervisor.sock"
    if len(str(path)) <= 90:
        return path
    short = Path("/tmp") / f"gozon-{_key(directory)}"
    _reject_foreign_link(short)
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise SystemExit(f"{short} belongs to another user")
    return short / "supervisor.sock"


def _key(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]


def passwords_in(directory: Path) -> dict[str, str]:
    """Returns the passwords. Generates missing ones; the file of an older release may lack some."""
    path = directory / "passwords.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    names = (*DATABASES, "postgres", "rabbitmq", "redis")
    if missing := {name: secrets.token_urlsafe(18) for name in names if name not in kept}:
        write_private(path, json.dumps(kept | missing))
    return kept | missing


def last_settings(directory: Path) -> dict[str, Any]:
    path = directory / "settings.json"
    return json.loads(path.read_text()) if path.exists() else {}

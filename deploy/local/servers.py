"""Writes the configuration of PostgreSQL, RabbitMQ, Redis and two nginx, and returns their commands."""

import os
import pwd
import shlex
import shutil
import string
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from layout import DATABASES, DISK_FREE_LIMIT_MB, REPOSITORY, Shop, private_folder, write_private
from packages import program

HERE = Path(__file__).parent
TEMP_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Program:
    name: str
    command: str
    priority: int
    stop_signal: str = "TERM"
    user: str | None = None
    directory: Path = REPOSITORY
    environment: dict[str, str] = field(default_factory=dict[str, str])


def postgres(shop: Shop) -> Program:
    data = shop.dir / "postgres"
    user = "postgres" if os.getuid() == 0 else None
    if not data.exists():
        _create_cluster(shop, data, user)
    (data / "postgresql.conf").write_text(_fill("postgresql.conf", port=shop.port("postgres")))
    return Program("postgres", f"{program('postgres')} -D {data}", 10, "INT", user, data)


def _create_cluster(shop: Shop, data: Path, user: str | None) -> None:
    # The cluster gets its name when it is complete, so after an interruption the next start creates it again.
    new = data.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password = shop.dir / "postgres.password"
    write_private(password, shop.passwords["postgres"])
    if user:
        owner = pwd.getpwnam(user)
        for path in (new, password):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    options = ["-U", "postgres", f"--pwfile={password}", "--auth=scram-sha-256", "--data-checksums"]
    locale = ["--encoding=UTF8", "--locale=C.UTF-8"]
    _run([program("initdb"), "-D", str(new), *options, *locale], new, user)
    password.unlink()
    # Single-user mode reads one statement per line. Passwords are URL-safe base64, so they need no escaping.
    statements = [
        statement
        for name in DATABASES
        for statement in (
            f"CREATE ROLE {name} LOGIN PASSWORD '{shop.passwords[name]}'",
            f"CREATE DATABASE {name} OWNER {name}",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        )
    ]
    single = [program("postgres"), "--single", "-D", str(new), "postgres"]
    _run(single, new, user, "\n".join(statements) + "\n")
    new.rename(data)


def _run(command: list[str], directory: Path, user: str | None, text: str = "") -> None:
    groups: list[str] | None = [] if user else None
    result = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        cwd=directory,
        user=user,
        group=user,
        extra_groups=groups,
    )
    if result.returncode != 0 or "ERROR" in result.stderr:
        raise SystemExit(f"{Path(command[0]).name} failed:\n{result.stdout}{result.stderr}")


def epmd(shop: Shop) -> Program:
    return Program("epmd", f"{program('epmd')} -address 127.0.0.1 -port {shop.port('epmd')}", 10)


def rabbitmq(shop: Shop) -> Program:
    home = private_folder(shop.dir / "rabbitmq")
    (home / "conf.d").mkdir(exist_ok=True)
    conf = home / "rabbitmq.conf"
    write_private(
        conf,
        _fill(
            "rabbitmq.conf",
            port=shop.port("rabbitmq"),
            management_port=shop.port("management"),
            password=shop.passwords["rabbitmq"],
            disk_free_limit=DISK_FREE_LIMIT_MB,
        ),
    )
    (home / "enabled_plugins").write_text("[rabbitmq_management].\n")
    environment = {
        "HOME": str(home),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(shop.port("epmd")),
        "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        # supervisord runs epmd as a separate program, so it stops with the shop.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false",
        "RABBITMQ_NODENAME": f"gozon-{shop.base_port}@localhost",
        "RABBITMQ_DIST_PORT": str(shop.port("dist")),
        "RABBITMQ_CONF_ENV_FILE": str(home / "no-env.conf"),
        "RABBITMQ_CONFIG_FILE": str(conf),
        "RABBITMQ_CONFIG_FILES": str(home / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_LOGS": "-",
        # With this variable the start script replaces itself by the Erlang VM, so signals reach the VM.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    wait = f"until {program('epmd')} -names >/dev/null 2>&1; do sleep 0.1; done"
    return Program(
        "rabbitmq",
        f"/bin/sh -c '{wait}; exec {program('rabbitmq-server')}'",
        11,
        directory=home,
        environment=environment,
    )


def redis(shop: Shop) -> Program:
    home = private_folder(shop.dir / "redis")
    conf = _fill("redis.conf", port=shop.port("redis"), dir=home, password=shop.passwords["redis"])
    write_private(home / "redis.conf", conf)
    return Program("redis", f"{program('redis-server')} {home / 'redis.conf'}", 10, directory=home)


def entrance(shop: Shop) -> Program:
    listen = f"listen 127.0.0.1:{shop.entrance_port} backlog=4096;"
    home = _nginx_home(shop, "nginx", REPOSITORY / "nginx.conf", listen)
    gateways = [replica.port for replica in shop.replicas_of("gateway")]
    notifiers = [replica.port for replica in shop.replicas_of("notifier")]
    (home / "upstreams.conf").write_text(
        _upstream("gateway", gateways, after=["keepalive 128;", "keepalive_timeout 60s;"])
        + _upstream("notifier", notifiers, before=["least_conn;"])
        + _upstream("web", [shop.web_port], after=["keepalive 16;"])
    )
    return _nginx("nginx", home, 30)


def web(shop: Shop) -> Program:
    html = shop.dir / "web" / "html"
    home = _nginx_home(
        shop, "web", REPOSITORY / "web" / "nginx.conf", f"listen 127.0.0.1:{shop.web_port};", f"root {html};"
    )
    shutil.copy("/etc/nginx/mime.types", home / "mime.types")
    # nginx serves a copy: its workers may be unable to enter the repository, and a build can be in progress there.
    shutil.rmtree(html, ignore_errors=True)
    shutil.copytree(REPOSITORY / "web" / "dist", html)
    return _nginx("web", home, 20)


def _nginx(name: str, home: Path, priority: int) -> Program:
    directives = f"daemon off; pid {home}/nginx.pid;"
    command = [program("nginx"), "-c", f"{home}/nginx.conf", "-e", "stderr", "-g", directives]
    _run([*command, "-t", "-q"], home, None)
    return Program(name, shlex.join(command), priority, "QUIT", directory=home)


def _nginx_home(shop: Shop, name: str, conf: Path, *listen: str) -> Path:
    home = shop.dir / name
    home.mkdir(exist_ok=True)
    shutil.copy(conf, home / "nginx.conf")
    temp = [f"{kind}_temp_path {home}/temp_{kind};" for kind in TEMP_FOLDERS]
    (home / "listen.conf").write_text("\n".join([*listen, *temp]) + "\n")
    return home


def _upstream(name: str, ports: list[int], before: Sequence[str] = (), after: Sequence[str] = ()) -> str:
    # max_fails=0: nginx never skips a replica after a failure. A refused connection costs nothing here, and after
    # two restarts in a row nginx would otherwise skip all replicas.
    servers = [f"server 127.0.0.1:{port} max_fails=0;" for port in ports]
    lines = [f"zone {name} 128k;", *before, *servers, *after]
    return f"upstream {name} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def _fill(template: str, **values: object) -> str:
    return string.Template((HERE / template).read_text()).substitute(values)

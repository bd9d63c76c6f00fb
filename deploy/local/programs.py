"""Writes supervisord.conf with the servers, the replicas of the services, and two nginx."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import servers
from control import open_files_limit
from layout import REPOSITORY, Replica, Shop, socket_path, write_private
from servers import Program


def write_conf(shop: Shop) -> None:
    programs = [servers.postgres(shop), servers.epmd(shop), servers.rabbitmq(shop), servers.redis(shop)]
    if not shop.servers_only:
        programs += [service(shop, replica) for replica in shop.all_replicas()]
        programs += [servers.web(shop), servers.entrance(shop)]
    sections = [_supervisord(shop), *(_program(shop, program) for program in programs)]
    write_private(shop.supervisor_conf, "\n".join(sections))


def service(shop: Shop, replica: Replica) -> Program:
    # The link in the virtual environment, not its target: the target does not find the environment's packages.
    python = Path(sys.prefix) / "bin" / "python"
    environment = {
        "HOST": "127.0.0.1",
        "PORT": str(replica.port),
        "REPLICA": replica.name,
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO"),
        "REVISION": _revision(),
        "PYTHONUNBUFFERED": "1",
    }
    command = shlex.join([str(python), "-m", replica.service])
    return Program(replica.name, command, 20, environment=environment | settings(shop, replica.service))


def _revision() -> str:
    """Returns the git revision of the sources, or `unknown` outside a git clone."""
    command = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True) if shutil.which("git") else None
    return found.stdout.strip() if found and found.returncode == 0 else "unknown"


def settings(shop: Shop, service: str) -> dict[str, str]:
    """Returns the environment variables that tell a service the addresses of servers and other services."""
    if service == "gateway":
        web = f"http://127.0.0.1:{shop.web_port}"
        return _urls(shop, "orders", "payments", "notifier", "backstage") | {"WEB_URLS": web}
    if service == "backstage":
        return _urls(shop, "orders", "payments", "notifier", "gateway") | {"BROKER_URL": shop.broker}
    if service == "notifier":
        # Browsers resolve *.localhost themselves, so the page can be tried under another host name.
        names = ("127.0.0.1", "localhost", "gozon.localhost")
        origins = ",".join(f"http://{name}:{shop.entrance_port}" for name in names)
        return {"BROKER_URL": shop.broker, "REDIS_URL": shop.redis, "ALLOWED_ORIGINS": origins}
    return {"BROKER_URL": shop.broker, "DATABASE_URL": shop.database(service)}


def _urls(shop: Shop, *services: str) -> dict[str, str]:
    return {f"{name.upper()}_URLS": shop.urls_of(name) for name in services}


def _supervisord(shop: Shop) -> str:
    lines = [
        "[supervisord]",
        f"logfile = {shop.log('supervisord')}",
        "logfile_maxbytes = 5MB",
        "logfile_backups = 1",
        f"pidfile = {shop.dir}/supervisord.pid",
        f"childlogdir = {shop.dir}/logs",
        f"minfds = {open_files_limit()}",
        *(["user = root"] if os.getuid() == 0 else []),
        "",
        "[unix_http_server]",
        f"file = {socket_path(shop.dir)}",
        "chmod = 0700",
        "",
        "[supervisorctl]",
        f"serverurl = unix://{socket_path(shop.dir)}",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        "",
    ]
    return "\n".join(lines)


def _program(shop: Shop, program: Program) -> str:
    environment = ",".join(f'{name}="{value}"' for name, value in program.environment.items())
    lines = [
        f"[program:{program.name}]",
        f"command = {_escaped(program.command)}",
        f"directory = {_escaped(program.directory)}",
        f"priority = {program.priority}",
        f"stopsignal = {program.stop_signal}",
        *([f"user = {program.user}"] if program.user else []),
        *([f"environment = {_escaped(environment)}"] if environment else []),
        f"stdout_logfile = {_escaped(shop.log(program.name))}",
        "stdout_logfile_maxbytes = 10MB",
        "stdout_logfile_backups = 2",
        "redirect_stderr = true",
        "autorestart = true",
        "startsecs = 1",
        # The pause grows by a second with each failed start. A successful start resets it.
        "startretries = 1000",
        "stopwaitsecs = 60",
        "killasgroup = true",
        "",
    ]
    return "\n".join(lines)


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")

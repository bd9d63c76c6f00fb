"""Starts, shows and stops a whole shop on this machine, without containers."""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import free_ports
import node
import packages
import preflight
import programs
import ready
import web_build
from control import BIN, Supervisor, stop_leftovers
from layout import (
    DATABASES,
    DEFAULT_REPLICAS,
    PORTS,
    REPLICAS_LIMIT,
    REPOSITORY,
    Shop,
    last_settings,
    make_dir,
    passwords_in,
    real_dir,
    remove_dir,
)

# Added to the base port of a test shop, it is the port of nginx. Not 80: browsers block port 10080.
TEST_ENTRANCE_OFFSET = 90


def up(options: argparse.Namespace) -> None:
    directory = make_dir(options.dir)
    supervisor = Supervisor(directory)
    running = supervisor.runs()
    shop = _shop(options, directory, running)
    preflight.warn_of_too_many_replicas(shop)
    if not running:
        stop_leftovers(directory)
        preflight.require_free_disk(directory)
        preflight.require_free_ports(shop.ports())
    packages.ensure("postgres", "rabbitmq-server", "redis-server")
    if not options.servers_only:
        packages.ensure("nginx")
        web_build.build()
    if running:
        _refresh(shop, supervisor)
    else:
        _start(shop, supervisor)
    _print_addresses(shop)


def _shop(options: argparse.Namespace, directory: Path, running: bool) -> Shop:
    last = last_settings(directory) if running else {}
    replicas = _replicas(options, last.get("replicas", {}))
    servers_only = bool(last.get("servers_only")) if options.command == "status" else options.servers_only
    ports = {name: _port(options, name, last) for name in PORTS}
    return Shop(directory, replicas=replicas, servers_only=servers_only, passwords=passwords_in(directory), **ports)


def _port(options: argparse.Namespace, name: str, last: dict[str, int]) -> int:
    """Returns a port. A running shop keeps its ports: raises SystemExit if an option names another one."""
    variable, usual = PORTS[name]
    by_option, by_variable = getattr(options, name), preflight.port(name, os.environ.get(variable))
    if not last:
        return by_option or by_variable or usual
    if by_option not in (None, last[name]):
        raise SystemExit(f"the shop runs with {name} {last[name]}; stop it first to change that")
    if options.command == "up" and not by_option and by_variable not in (None, last[name]):
        kept = f"the running shop stays on {name.replace('_', ' ')} {last[name]}"
        print(f"{kept}; to change it: make down, then {variable}={by_variable} make up", flush=True)
    return last[name]


def _replicas(options: argparse.Namespace, last: dict[str, int]) -> dict[str, int]:
    """Returns the numbers of the options, or else those of the last start. Backstage has one replica or none."""
    replicas = DEFAULT_REPLICAS | last
    for counts in options.replicas:
        replicas |= counts
    if options.backstage:
        replicas["backstage"] = int(options.backstage == "on")
    return replicas


def _counts(word: str) -> dict[str, int]:
    services = [service for service in DEFAULT_REPLICAS if service != "backstage"]
    service, _, count = word.rpartition("=")
    if service not in ("", *services) or not count.isdigit() or not 1 <= int(count) <= REPLICAS_LIMIT:
        raise argparse.ArgumentTypeError(f"{word!r} must be N or SERVICE=N, with N from 1 to {REPLICAS_LIMIT}")
    return dict.fromkeys([service] if service else services, int(count))


def _start(shop: Shop, supervisor: Supervisor) -> None:
    # Written first, so that `status` and the next `up` know a shop whose start was interrupted.
    shop.describe()
    try:
        # The servers start first: a service that finds no broker retries only after a pause.
        programs.write_conf(dataclasses.replace(shop, servers_only=True))
        supervisor.start(shop)
        ready.wait(shop, list(supervisor.states()))
        programs.write_conf(shop)
        added, _, _ = supervisor.reread()
        for name in added:
            supervisor.add(name)
        ready.wait(shop, added)
    except KeyboardInterrupt:
        _stop_uninterrupted(shop.dir)
        raise


def _stop_uninterrupted(directory: Path) -> None:
    """Stops the shop after Ctrl-C. Further signals do not interrupt this."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("stopping the started programs", flush=True)
    _stop(directory)


def _refresh(shop: Shop, supervisor: Supervisor) -> None:
    """Applies new settings to a running shop, without an interruption of service.

    New programs start first, then changed ones restart one at a time, then removed ones stop.
    """
    programs.write_conf(shop)
    added, changed, removed = supervisor.reread()
    ports = shop.ports()
    preflight.require_free_ports({name: ports[name] for name in added if name in ports})
    shop.describe()
    if not (added or changed or removed):
        print("the shop is running")
        ready.wait(shop, list(supervisor.states()))
        return
    for name in added:
        supervisor.add(name)
    ready.wait(shop, added)
    if added:
        _reload_nginx(supervisor)
    for name in changed:
        supervisor.remove([name])
        supervisor.add(name)
        ready.wait(shop, [name])
    if removed:
        _reload_nginx(supervisor)
        print(f"stopping {' '.join(removed)}", flush=True)
        supervisor.remove(removed)


def _reload_nginx(supervisor: Supervisor) -> None:
    if supervisor.states().get("nginx") == "RUNNING":
        supervisor.signal("nginx", signal.SIGHUP)
        time.sleep(0.5)  # until the new workers have replaced the old ones


def _print_addresses(shop: Shop) -> None:
    if not shop.servers_only:
        print(f"shop        {shop.entrance}")
        print(f"API         {shop.entrance}/api/docs")
    management = f"http://127.0.0.1:{shop.port('management')}"
    print(f"RabbitMQ    {management}  (user gozon, password in {shop.dir / 'passwords.json'})")


def down(options: argparse.Namespace, quiet: bool = False) -> None:
    directory = real_dir(options.dir)
    if not quiet:
        print("stopping" if Supervisor(directory).runs() else "the shop is not running", flush=True)
    _stop(directory)


def _stop(directory: Path) -> None:
    supervisor = Supervisor(directory)
    if supervisor.runs():
        # Services first: they need the servers to finish their work.
        supervisor.stop(name for name in supervisor.states() if "-" in name)
        supervisor.stop(supervisor.states())
        supervisor.shutdown()
    stop_leftovers(directory)


def clean(options: argparse.Namespace, quiet: bool = False) -> None:
    down(options, quiet)
    remove_dir(options.dir)


def status(options: argparse.Namespace) -> None:
    directory = real_dir(options.dir)
    supervisor = Supervisor(directory)
    if not supervisor.runs():
        raise SystemExit("the shop is not running")
    checks = ready.probes(_shop(options, directory, running=True))
    for name, state in supervisor.states().items():
        problem = checks[name]() if name in checks else ""
        print(f"{name:<12} {state:<9} {problem or 'ready'}")


def logs(options: argparse.Namespace) -> None:
    files = sorted(str(path) for path in (real_dir(options.dir) / "logs").glob("*.log"))
    if not files:
        raise SystemExit("there are no logs")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])


def audit(options: argparse.Namespace) -> None:
    if _asks_for_help(options.arguments):
        _become({}, "auditor", *options.arguments)
    shop = _running_shop(options)
    _become(_database_urls(shop), "auditor", *options.arguments)


def dead_letters(options: argparse.Namespace) -> None:
    """Runs `python -m gozon dead-letters` with the settings of payments, plus the database URLs of all services."""
    if _asks_for_help(options.arguments):
        _become({}, "gozon", "dead-letters", *options.arguments)
    shop = _running_shop(options)
    _become(_database_urls(shop) | programs.settings(shop, "payments"), "gozon", "dead-letters", *options.arguments)


def _asks_for_help(arguments: list[str]) -> bool:
    """Returns whether the command only prints its help, for which no shop must run."""
    return not {"-h", "--help"}.isdisjoint(arguments)


def _database_urls(shop: Shop) -> dict[str, str]:
    return {f"{name.upper()}_DATABASE_URL": shop.database(name) for name in DATABASES}


def _running_shop(options: argparse.Namespace) -> Shop:
    directory = real_dir(options.dir)
    if not Supervisor(directory).runs():
        print("the shop is not running", file=sys.stderr)
        raise SystemExit(2)
    return _shop(options, directory, running=True)


def _become(environment: dict[str, str], *module: str) -> NoReturn:
    """Replaces this process by `python -m MODULE ARGUMENTS`."""
    os.chdir(REPOSITORY)
    os.execve(sys.executable, [sys.executable, "-m", *module], os.environ | environment)


def test(options: argparse.Namespace) -> None:
    """Runs pytest on an empty shop, and stops the shop at the end, also after an error or Ctrl-C."""
    _require_tests(options.arguments)
    packages.ensure("chromium")
    options.base_port = options.base_port or free_ports.claim()
    options.entrance_port = options.entrance_port or options.base_port + TEST_ENTRANCE_OFFSET
    clean(options, quiet=True)
    try:
        up(options)
        status = _pytest(options)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        down(options, quiet=True)  # so that pytest's summary is the last line
    raise SystemExit(status)


def _require_tests(arguments: list[str]) -> None:
    """Raises SystemExit if a test file is missing. pytest would report it only after the start of the shop."""
    for word in arguments:
        path = word.partition("::")[0]
        # Other words can be values of pytest's options.
        if path.startswith("tests/") and not (REPOSITORY / path).exists():
            raise SystemExit(f"{path} does not exist")


def _pytest(options: argparse.Namespace) -> int:
    environment = os.environ | {"GOZON_SHOP": str(real_dir(options.dir) / "shop.json"), "PATH": node.path()}
    command = [str(BIN / "pytest"), *options.arguments]
    sys.stdout.flush()  # in a pipe too, pytest's output must follow
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment) as process:
        # Ctrl-C in the terminal reaches pytest too. This process ignores it and waits until pytest has ended.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return process.wait()
        finally:
            process.terminate()


COMMANDS = {
    "up": up,
    "down": down,
    "clean": clean,
    "status": status,
    "logs": logs,
    "audit": audit,
    "dead-letters": dead_letters,
    "test": test,
}


def main() -> None:
    # Splits at `--` by hand: argparse rejects words after `--` if options precede it.
    own, arguments = sys.argv[1:], list[str]()
    if "--" in own:
        position = own.index("--")
        own, arguments = own[:position], own[position + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="words after -- are options of pytest, the auditor or dead-letters"
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--dir", type=Path, default=REPOSITORY / ".run" / "shop", help="data folder")
    parser.add_argument("--base-port", type=partial(preflight.port, "base_port"), help="first port")
    parser.add_argument(
        "--entrance", dest="entrance_port", type=partial(preflight.port, "entrance_port"), help="port of nginx"
    )
    parser.add_argument(
        "--replicas",
        type=_counts,
        nargs="+",
        action="extend",
        default=[],
        metavar="N",
        help="number of replicas of each service except backstage; notifier=N sets one service",
    )
    parser.add_argument("--backstage", choices=["on", "off"], help="start or stop backstage")
    parser.add_argument("--servers-only", action="store_true", help="start only PostgreSQL, RabbitMQ and Redis")
    options = parser.parse_args(own, argparse.Namespace(arguments=arguments))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handled like Ctrl-C
    try:
        COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

"""Runs the whole shop on this machine without containers."""

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import free_ports
import node
import packages
import page
import programs
import ready
import refusals
from control import BIN, Supervisor, stop_leftovers
from place import (
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

# The entrance of a test shop, counted from its base port. Browsers open no page on port 10080.
TEST_ENTRANCE = 90


def up(options: argparse.Namespace) -> None:
    directory = make_dir(options.dir)
    supervisor = Supervisor(directory)
    running = supervisor.runs()
    shop = _shop(options, directory, running)
    refusals.warn_of_many(shop)
    if not running:
        stop_leftovers(directory)
        refusals.refuse_full(directory)
        refusals.refuse_busy(shop.ports())
    packages.ensure("postgres", "rabbitmq-server", "redis-server")
    if not options.servers_only:
        packages.ensure("nginx")
        page.build()
    if running:
        _refresh(shop, supervisor)
    else:
        _start(shop, supervisor)
    _addresses(shop)


def _shop(options: argparse.Namespace, directory: Path, running: bool) -> Shop:
    last = last_settings(directory) if running else {}
    replicas = _replicas(options, last.get("replicas", {}))
    servers_only = bool(last.get("servers_only")) if options.command == "status" else options.servers_only
    ports = {name: _port(options, name, last) for name in PORTS}
    return Shop(directory, replicas=replicas, servers_only=servers_only, passwords=passwords_in(directory), **ports)


def _port(options: argparse.Namespace, name: str, last: dict[str, int]) -> int:
    """A shop that runs keeps its ports. Raises SystemExit if an option names another port."""
    variable, usual = PORTS[name]
    asked, wished = getattr(options, name), refusals.port(name, os.environ.get(variable))
    if not last:
        return asked or wished or usual
    if asked not in (None, last[name]):
        raise SystemExit(f"the shop runs with {name} {last[name]}; take it down first")
    if options.command == "up" and not asked and wished not in (None, last[name]):
        kept = f"the shop runs and stays on {name.replace('_', ' ')} {last[name]}"
        print(f"{kept}; to move it: make down, then {variable}={wished} make up", flush=True)
    return last[name]


def _replicas(options: argparse.Namespace, last: dict[str, int]) -> dict[str, int]:
    """As they are asked for, or else as they were. Of backstage there is one or none."""
    replicas = DEFAULT_REPLICAS | last
    for asked in options.replicas:
        replicas |= asked
    if options.backstage:
        replicas["backstage"] = int(options.backstage == "on")
    return replicas


def _counts(word: str) -> dict[str, int]:
    services = [service for service in DEFAULT_REPLICAS if service != "backstage"]
    service, _, count = word.rpartition("=")
    if service not in ("", *services) or not count.isdigit() or not 1 <= int(count) <= REPLICAS_LIMIT:
        raise argparse.ArgumentTypeError(f"{word}: N or SERVICE=N, from 1 to {REPLICAS_LIMIT}")
    return dict.fromkeys([service] if service else services, int(count))


def _start(shop: Shop, supervisor: Supervisor) -> None:
    # First, so that `status` and the next `up` know a shop whose start was cut short.
    shop.describe()
    try:
        # The servers alone at first: services that find no broker come back to it in their own time.
        programs.write_conf(dataclasses.replace(shop, servers_only=True))
        supervisor.start(shop)
        ready.wait(shop, list(supervisor.states()))
        programs.write_conf(shop)
        added, _, _ = supervisor.reread()
        for name in added:
            supervisor.add(name)
        ready.wait(shop, added)
    except KeyboardInterrupt:
        _take_down(shop.dir)
        raise


def _take_down(directory: Path) -> None:
    """After Ctrl-C. Another one does not end it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("stopping what was started", flush=True)
    _stop(directory)


def _refresh(shop: Shop, supervisor: Supervisor) -> None:
    """New parts first, changed ones one at a time, the superfluous last, so that no call finds a gap."""
    programs.write_conf(shop)
    added, changed, removed = supervisor.reread()
    ports = shop.ports()
    refusals.refuse_busy({name: ports[name] for name in added if name in ports})
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
        time.sleep(0.5)  # until its new workers have taken over


def _addresses(shop: Shop) -> None:
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
        # Services first, while the servers they drain into are up.
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
        amiss = checks[name]() if name in checks else ""
        print(f"{name:<12} {state:<9} {amiss or 'ready'}")


def logs(options: argparse.Namespace) -> None:
    files = sorted(str(path) for path in (real_dir(options.dir) / "logs").glob("*.log"))
    if not files:
        raise SystemExit("there are no logs")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])


def audit(options: argparse.Namespace) -> None:
    shop = _running_shop(options)
    _become(_database_urls(shop), "auditor", *options.arguments)


def dead_letters(options: argparse.Namespace) -> None:
    """Runs with the environment of payments. `--database orders` reads the dead letters of another service."""
    shop = _running_shop(options)
    _become(_database_urls(shop) | programs.settings(shop, "payments"), "gozon", "dead-letters", *options.arguments)


def _database_urls(shop: Shop) -> dict[str, str]:
    return {f"{name.upper()}_DATABASE_URL": shop.database(name) for name in DATABASES}


def _running_shop(options: argparse.Namespace) -> Shop:
    directory = real_dir(options.dir)
    if not Supervisor(directory).runs():
        print("the shop is not running", file=sys.stderr)
        raise SystemExit(2)
    return _shop(options, directory, running=True)


def _become(environment: dict[str, str], *module: str) -> None:
    """The exit status is then the module's."""
    os.chdir(REPOSITORY)
    os.execve(sys.executable, [sys.executable, "-m", *module], os.environ | environment)


def test(options: argparse.Namespace) -> None:
    """A fresh shop, pytest, and nothing left running whatever happens."""
    _refuse_missing_tests(options.arguments)
    packages.ensure("chromium")
    options.base_port = options.base_port or free_ports.claim()
    options.entrance_port = options.entrance_port or options.base_port + TEST_ENTRANCE
    clean(options, quiet=True)
    try:
        up(options)
        outcome = _pytest(options)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        down(options, quiet=True)  # so that pytest's summary is the last line
    raise SystemExit(outcome)


def _refuse_missing_tests(arguments: list[str]) -> None:
    """pytest reports them too, but only when the shop has started. Other words can be values of its options."""
    for word in arguments:
        path = word.partition("::")[0]
        if path.startswith("tests/") and not (REPOSITORY / path).exists():
            raise SystemExit(f"there is no {path}")


def _pytest(options: argparse.Namespace) -> int:
    environment = os.environ | {"GOZON_SHOP": str(real_dir(options.dir) / "shop.json"), "PATH": node.path()}
    command = [str(BIN / "pytest"), *options.arguments]
    sys.stdout.flush()  # so that pytest's summary is the last thing in a pipe as well
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment) as process:
        # Ctrl-C reaches pytest by itself; it ends in its own time and this waits for it.
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
    # argparse does not take what follows `--` when options stand between it and the command.
    own, arguments = sys.argv[1:], list[str]()
    if "--" in own:
        cut = own.index("--")
        own, arguments = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="what follows -- goes to pytest, the auditor or dead-letters"
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--dir", type=Path, default=REPOSITORY / ".run" / "shop")
    parser.add_argument("--base-port", type=partial(refusals.port, "base_port"))
    parser.add_argument("--entrance", dest="entrance_port", type=partial(refusals.port, "entrance_port"))
    parser.add_argument(
        "--replicas",
        type=_counts,
        nargs="+",
        action="extend",
        default=[],
        metavar="N",
        help="of every service but backstage; notifier=N is of that one",
    )
    parser.add_argument("--backstage", choices=["on", "off"], help="whether to run it; it has one replica")
    parser.add_argument("--servers-only", action="store_true", help="PostgreSQL, RabbitMQ and Redis")
    options = parser.parse_args(own, argparse.Namespace(arguments=arguments))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

"""Installs missing programs with apt, or names the packages to install."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
POLICY = Path("/usr/sbin/policy-rc.d")
START_NOTHING = "#!/bin/sh\n# Gozon starts the servers that it installs itself.\nexit 101\n"
# Without this file the postgresql package would create a database cluster.
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/gozon.conf")
# An interrupted dpkg leaves its journal here. apt then installs nothing until it is repaired.
JOURNAL = Path("/var/lib/dpkg/updates")
UNFINISHED = ("half-installed", "unpacked", "half-configured")


def program(name: str) -> str:
    path = _find(name)
    if path is None:
        raise SystemExit(f"{name} is not installed")
    return path


def _find(name: str) -> str | None:
    if name in ("postgres", "initdb"):
        versions = Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
        newest = sorted(versions, key=lambda path: float(path.parts[4]))
        return str(newest[-1]) if newest else shutil.which(name)
    if name == "rabbitmq-server":
        # Debian's wrapper in /usr/sbin only works with the system's user and folders.
        unwrapped = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return str(unwrapped) if unwrapped.exists() else shutil.which(name, path=SEARCH_PATH)
    if name == "uv" and importlib.util.find_spec("ensurepip"):
        return sys.executable  # it can create an environment with pip, which installs uv
    return shutil.which(name, path=SEARCH_PATH)


PACKAGES = {
    "uv": ["python3-venv"],
    "postgres": ["postgresql"],
    "rabbitmq-server": ["rabbitmq-server"],
    "redis-server": ["redis-server"],
    "nginx": ["nginx"],
    "chromium": ["chromium"],
    "faketime": ["faketime"],
}


# Only tests and the fault suite need these programs.
FOR_TESTS = ("chromium", "faketime")


def ensure(*programs: str) -> None:
    missing = _missing(programs)
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise SystemExit(f"apt-get is missing; {_by_hand(programs)}")
    if os.getuid() != 0 and shutil.which("sudo") is None:
        raise SystemExit(f"installing needs root or sudo; {_by_hand(programs)}")
    print(f"installing {' '.join(missing)}", flush=True)
    try:
        _apt("update")
        with _without_starting_services():
            if JOURNAL.exists() and any(JOURNAL.iterdir()):
                _finish("dpkg", "--configure", "-a")
            if "postgresql" in missing:
                _install("postgresql-common")
                _write_as_root(NO_CLUSTER, "create_main_cluster = false\n")
            _install(*missing)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.stderr}apt failed; {_by_hand(programs)}") from error
    finally:
        if "postgresql" in missing:
            _as_root("rm", "-f", str(NO_CLUSTER))


def _missing(programs: Iterable[str]) -> list[str]:
    """Returns the packages whose program is missing or whose installation was interrupted."""
    packages = {package: name for name in programs for package in PACKAGES[name]}
    unfinished = _unfinished(packages)
    return [package for package, name in packages.items() if _find(name) is None or package in unfinished]


def _unfinished(packages: Iterable[str]) -> set[str]:
    if shutil.which("dpkg-query") is None:
        return set()
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *packages]
    shown = subprocess.run(command, capture_output=True, text=True).stdout
    return {package for state, package in map(str.split, shown.splitlines()) if state in UNFINISHED}


def _by_hand(programs: Iterable[str]) -> str:
    """Returns a request to install the packages of all steps, so that the user asks an administrator only once."""
    always = (name for name in PACKAGES if name not in FOR_TESTS)
    needed = _missing(dict.fromkeys([*always, *programs]))
    later = [package for package in _missing(["chromium"]) if package not in needed]
    also = f" (and {later[0]} for `make test`)" if later else ""
    return f"please install: {' '.join(needed)}{also}"


@contextmanager
def _without_starting_services() -> Generator[None]:
    """Prevents apt from starting the servers that it installs: the shop starts its own instances."""
    if POLICY.exists() and POLICY.read_text() != START_NOTHING:  # keep the machine's own policy
        yield
        return
    _write_as_root(POLICY, START_NOTHING)
    _as_root("chmod", "755", str(POLICY))
    try:
        yield
    finally:
        _as_root("rm", "-f", str(POLICY))


def _write_as_root(path: Path, content: str) -> None:
    _as_root("sh", "-c", 'mkdir -p "$1" && printf %s "$3" >"$2"', "sh", str(path.parent), str(path), content)


def _install(*names: str) -> None:
    """Installs packages. Ctrl-C stops the download, but not the short installation after it."""
    install = ("install", "-y", "--no-install-recommends")
    _apt(*install, "--download-only", *names)
    _finish(*_APT, *install, *names)


_APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")


def _apt(*arguments: str) -> None:
    _as_root(*_APT, *arguments)


def _finish(*command: str) -> None:
    """Runs a command to its end. Ctrl-C, which would break dpkg, takes effect after the command."""
    # The command has its own session. Only the waiting shell stays in the session where sudo asks for a password.
    with _interrupts_afterwards():
        _as_root("sh", "-c", 'trap "" INT; exec setsid --wait "$@"', "sh", *command)


@contextmanager
def _interrupts_afterwards() -> Generator[None]:
    """Delays signals that stop this program. Raises KeyboardInterrupt at the end if there was one."""
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not caught:
            print(
                "stopping after the installation, because an interrupted one would have to be repaired", flush=True
            )
        caught.append(number)

    handlers = {
        number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt


def _as_root(*command: str) -> None:
    sudo = [] if os.getuid() == 0 else ["sudo"]
    command = (*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *command)
    # The output is captured, because debconf warns about missing tools for questions that it does not ask here.
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)


if __name__ == "__main__":
    try:
        ensure(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)

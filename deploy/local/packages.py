"""Installs what is missing with apt, or says what to install."""

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
START_NOTHING = "#!/bin/sh\n# Gozon installs servers and starts them itself.\nexit 101\n"
# Without it the package would create a cluster of its own.
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/gozon.conf")
# dpkg leaves its journal here when it is interrupted, and apt then refuses to install.
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
        # Debian's wrapper in /usr/sbin insists on its own user and folders.
        own = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return str(own) if own.exists() else shutil.which(name, path=SEARCH_PATH)
    if name == "uv" and importlib.util.find_spec("ensurepip"):
        return sys.executable  # It can make an environment with pip, and pip installs uv.
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
        raise SystemExit(f"apt is not here; {_by_hand(programs)}")
    if os.getuid() != 0 and shutil.which("sudo") is None:
        raise SystemExit(f"neither root nor sudo; {_by_hand(programs)}")
    print(f"installing {' '.join(missing)}", flush=True)
    try:
        _apt("update")
        with _starting_nothing():
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
    """Packages whose program is not there, or whose installation was interrupted."""
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
    """Names the packages of all steps, so that a user without rights asks an administrator once."""
    always = (name for name in PACKAGES if name not in FOR_TESTS)
    needed = _missing(dict.fromkeys([*always, *programs]))
    later = [package for package in _missing(["chromium"]) if package not in needed]
    also = f" (and {later[0]} for `make test`)" if later else ""
    return f"please install: {' '.join(needed)}{also}"


@contextmanager
def _starting_nothing() -> Generator[None]:
    """Debian starts what it installs, some of it open to the network; nobody asked for those instances."""
    if POLICY.exists() and POLICY.read_text() != START_NOTHING:  # the machine has its own rule
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
    """Ctrl-C ends the download; what follows is short, and is finished."""
    install = ("install", "-y", "--no-install-recommends")
    _apt(*install, "--download-only", *names)
    _finish(*_APT, *install, *names)


_APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120")


def _apt(*arguments: str) -> None:
    _as_root(*_APT, *arguments)


def _finish(*command: str) -> None:
    """Runs a command to its end. Ctrl-C, which would break dpkg, does not reach it and takes effect afterwards."""
    # Only the shell that waits is in the terminal's session, where sudo asks for a password.
    with _interrupts_afterwards():
        _as_root("sh", "-c", 'trap "" INT; exec setsid --wait "$@"', "sh", *command)


@contextmanager
def _interrupts_afterwards() -> Generator[None]:
    """Raises KeyboardInterrupt at the end if a signal came that should stop this program."""
    caught: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not caught:
            print("stopping when the installation is finished: half of it would have to be repaired", flush=True)
        caught.append(number)

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt


def _as_root(*command: str) -> None:
    sudo = [] if os.getuid() == 0 else ["sudo"]
    command = (*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *command)
    # debconf complains to standard error about what is missing for questions, which are not asked here.
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)


if __name__ == "__main__":
    try:
        ensure(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)

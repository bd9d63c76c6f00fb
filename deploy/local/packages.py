"""Installs what is missing with apt, or says what to install."""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
POLICY = Path("/usr/sbin/policy-rc.d")
# Without it the package would create a cluster of its own.
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.d/gozon.conf")


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
    return shutil.which(name, path=SEARCH_PATH)


PACKAGES = {
    "postgres": ["postgresql"],
    "rabbitmq-server": ["rabbitmq-server"],
    "redis-server": ["redis-server"],
    "nginx": ["nginx"],
    "chromium": ["chromium"],
    "faketime": ["faketime"],
}


def ensure(*programs: str) -> None:
    missing = [package for name in programs if _find(name) is None for package in PACKAGES[name]]
    if not missing:
        return
    by_hand = f"please install: {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise SystemExit(f"apt is not here; {by_hand}")
    if os.getuid() != 0 and shutil.which("sudo") is None:
        raise SystemExit(f"neither root nor sudo; {by_hand}")
    print(f"installing {' '.join(missing)}", flush=True)
    try:
        _apt("update")
        with _starting_nothing():
            if "postgresql" in missing:
                _install("postgresql-common")
                _write_as_root(NO_CLUSTER, "create_main_cluster = false")
            _install(*missing)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error.stderr}apt failed; {by_hand}") from error
    finally:
        if "postgresql" in missing:
            _as_root("rm", "-f", str(NO_CLUSTER))


@contextmanager
def _starting_nothing() -> Generator[None]:
    """Debian starts what it installs, some of it open to the network; nobody asked for those instances."""
    if POLICY.exists():  # the machine has its own rule
        yield
        return
    _write_as_root(POLICY, "#!/bin/sh\nexit 101")
    _as_root("chmod", "755", str(POLICY))
    try:
        yield
    finally:
        _as_root("rm", "-f", str(POLICY))


def _write_as_root(path: Path, content: str) -> None:
    _as_root("sh", "-c", 'mkdir -p "$1" && printf "%b\\n" "$3" >"$2"', "sh", str(path.parent), str(path), content)


def _install(*names: str) -> None:
    _apt("install", "-y", "--no-install-recommends", *names)


def _apt(*arguments: str) -> None:
    options = ["-qq", "-o", "DPkg::Lock::Timeout=120"]
    _as_root("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *options, *arguments)


def _as_root(*command: str) -> None:
    sudo = [] if os.getuid() == 0 else ["sudo"]
    # debconf complains to standard error about what is missing for questions, which are not asked here.
    subprocess.run([*sudo, *command], check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)


if __name__ == "__main__":
    ensure(*sys.argv[1:])

"""A fresh Debian on this host: its own root folder, in its own namespaces of processes, mounts and network.

It has only the programs of Debian's smallest installation and those that the README requires. It reaches the
package registries through NAT, with the settings of the host.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

from tests.support import ROOT

PROGRAMS = {"debootstrap": "debootstrap", "ip": "iproute2", "iptables": "iptables", "unshare": "util-linux"}
PACKAGES = "git,make,python3,ca-certificates"
PROJECT = "root/gozon"
# These files and variables say how the host reaches the package registries. A folder is copied with its content.
SETTINGS = (
    "/etc/resolv.conf",
    "/etc/pip.conf",
    "/etc/npmrc",
    "/root/.npmrc",
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/local/share/ca-certificates",
)
VARIABLES = re.compile(r"(PIP|UV|npm_config)_|(https?|no)_proxy$|NODE_EXTRA_CA_CERTS|SSL_CERT_|\w+_CA_BUNDLE", re.I)
# The first process of the machine. Like init, it reaps orphaned processes.
INIT = r"""
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"; done
mknod -m 666 dev/tty c 5 0
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "dev/${number#*:}"; done
hostname "$2"
exec chroot . /bin/sh -c 'while :; do sleep 60 & wait; done'
"""


class Unavailable(Exception):
    """This host cannot run a fresh machine."""


class Step(NamedTuple):
    """The result of a command. `downloaded` and `installed` are megabytes of network traffic and of disk space."""

    status: int
    seconds: float
    downloaded: float
    installed: float


class Machine:
    """A fresh machine with a clone of this repository. The context manager creates and deletes it."""

    def __init__(self, suite: str) -> None:
        self._suite = suite
        self._folder = Path(tempfile.mkdtemp(prefix=f"gozon-fresh-{suite}-", dir="/var/tmp"))
        self.root = self._folder / "root"
        self._number = os.getpid() % 200 + 20
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Machine":
        try:
            self._install()
            self._start()
        except BaseException:
            self.delete()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.delete()

    def run(self, command: str, log: IO[bytes]) -> Step:
        """Runs `command` as root in the clone."""
        before, installed, started = self._received(), self._size(), time.monotonic()
        result = subprocess.run(
            [*self._inside(), f"cd /{PROJECT}\n{command}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        seconds = time.monotonic() - started
        return Step(result.returncode, seconds, self._received() - before, self._size() - installed)

    def delete(self) -> None:
        if self._process:
            self._process.kill()  # --kill-child then kills every process of the machine
            self._process.wait()
            for command in (*self._rules("-D"), ("ip", "link", "delete", f"fresh{self._number}")):
                subprocess.run(command, check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _install(self) -> None:
        mirror = _mirror()
        output = self._folder / "debootstrap.log"
        command = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", self._suite, self.root, mirror)
        with output.open("wb") as log:
            if subprocess.run(command, stdout=log, stderr=log).returncode:
                raise Unavailable(f"debootstrap failed:\n{output.read_text()[-2000:]}")
        security = f"{mirror.rstrip('/')}-security {self._suite}-security"
        lines = [f"deb {source} main\n" for source in (f"{mirror} {self._suite}", security)]
        (self.root / "etc/apt/sources.list").write_text("".join(lines))
        for name in (*SETTINGS, *map(str, Path("/etc/apt/apt.conf.d").glob("99*"))):
            _copy(Path(name), self.root / name.lstrip("/"))
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost fresh\n")
        subprocess.run(["git", "clone", "--quiet", ROOT, self.root / PROJECT], check=True)

    def _start(self) -> None:
        namespaces = ("--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child")
        init = ("sh", "-c", INIT, "init", str(self.root), "fresh")
        self._process = subprocess.Popen(["unshare", *namespaces, *init], stdin=subprocess.DEVNULL)
        inside = f"10.79.{self._number}"
        pid = self._pid()
        device = f"fresh{self._number}"
        network = ("nsenter", "--target", pid, "--net", "ip")
        for command in (
            ("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", pid),
            ("ip", "addr", "add", f"{inside}.1/24", "dev", device),
            ("ip", "link", "set", device, "up"),
            (*network, "addr", "add", f"{inside}.2/24", "dev", "eth0"),
            (*network, "link", "set", "eth0", "up"),
            (*network, "link", "set", "lo", "up"),
            (*network, "route", "add", "default", "via", f"{inside}.1"),
            ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
            *self._rules("-I"),
        ):
            subprocess.run(command, check=True)

    def _rules(self, verb: str) -> list[tuple[str, ...]]:
        device = f"fresh{self._number}"
        leaving = ("-s", f"10.79.{self._number}.0/24", "!", "-o", device, "-j", "MASQUERADE")
        return [
            ("iptables", "-t", "nat", verb, "POSTROUTING", *leaving),
            ("iptables", verb, "FORWARD", "-i", device, "-j", "ACCEPT"),
            ("iptables", verb, "FORWARD", "-o", device, "-j", "ACCEPT"),
        ]

    def _pid(self) -> str:
        """Returns the pid of the machine's first process after its chroot. Raises Unavailable if it has exited."""
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while self._process.poll() is None:
            pid = children.read_text().strip()
            if pid and Path(f"/proc/{pid}/root").resolve() == self.root:
                return pid
            time.sleep(0.05)
        raise Unavailable("the namespaces of the machine could not be created")

    def _inside(self) -> list[str]:
        environment = {"HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
        environment |= {name: value for name, value in os.environ.items() if VARIABLES.match(name)}
        environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        assignments = [f"{name}={value}" for name, value in environment.items()]
        enter = (
            "nsenter",
            "--target",
            self._pid(),
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--root",
            "--wd",
        )
        return [*enter, "/usr/bin/env", "-i", *assignments, "bash", "-ec"]

    def _received(self) -> float:
        counter = f"/sys/class/net/fresh{self._number}/statistics/tx_bytes"
        return int(Path(counter).read_text()) / 1e6

    def _size(self) -> float:
        result = subprocess.run(["du", "-sxk", self.root], capture_output=True, text=True, check=False)
        return int(result.stdout.split()[0]) / 1e3


def require() -> None:
    """Raises Unavailable with the reason if this host cannot run a fresh machine."""
    if os.getuid() != 0:
        raise Unavailable("needs root")
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        raise Unavailable(f"please install: {' '.join(missing)}")
    if subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], capture_output=True).returncode:
        raise Unavailable("the kernel allows no network namespaces here")


def _mirror() -> str:
    """Returns the Debian mirror of the host, which the machine can reach too."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    found = re.search(r"^(?:URIs:|deb(?: \[.*?\])?) *(\S+/debian/?)(?:\s|$)", text, re.MULTILINE)
    return found[1] if found else "http://deb.debian.org/debian"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy(source, target)

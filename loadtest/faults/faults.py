"""All that can happen to a shop on this machine."""

from functools import partial

from gozon.topology import ORDER_STATUS, TOPOLOGY
from loadtest.faults.place import InjectedFault
from loadtest.faults.points import POINTS
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.to_links import answers_to_commit_lost, cut, half_open, one_way, slow
from loadtest.faults.to_processes import frozen, killed, killed_at, wrong_clock
from loadtest.faults.to_servers import (
    backends_terminated,
    copied,
    memory_alarm,
    queue_deleted,
    redis_wiped,
    server_killed,
    snapshots_held,
    stopped,
    unroutable,
)

# What a deleted queue held is sent again by the reconciler, which looks after a minute.
REMINDED_IN = 100.0
# Longer than a confirm, a command of the database, an answer at the gateway and an idle transaction may take; at
# the notifier, longer than a page waits for a sign of life. The 120 s for which Redis counts a socket that nobody
# renews are not passed: until then more is missed than a stream keeps, so pages would rightly be told to read anew.
PAST_EVERY_TIMEOUT = {"orders": 35.0, "payments": 35.0, "notifier": 45.0, "gateway": 35.0}

SERVERS = ("rabbitmq", "redis", "postgres")

FAULTS: dict[str, InjectedFault[ShopUnderFaults]] = {
    fault.name: fault
    for fault in (
        *(InjectedFault(f"kill {service}", partial(killed, service)) for service in PAST_EVERY_TIMEOUT),
        *(InjectedFault(f"kill {point}", partial(killed_at, point)) for point in POINTS),
        *(InjectedFault(f"freeze {s}", partial(frozen, s, seconds)) for s, seconds in PAST_EVERY_TIMEOUT.items()),
        *(InjectedFault(f"stop {server}", partial(stopped, server)) for server in SERVERS),
        *(InjectedFault(f"kill {server}", partial(server_killed, server)) for server in SERVERS),
        InjectedFault("memory alarm", memory_alarm),
        # Not the notifier's: the toasts in it would be gone, and nobody sends them again.
        *(
            InjectedFault(f"delete {q.name}", partial(queue_deleted, q), REMINDED_IN)
            for q in TOPOLOGY
            if q != ORDER_STATUS
        ),
        *(InjectedFault(f"unroute {q.name}", partial(unroutable, q)) for q in TOPOLOGY),
        InjectedFault("wipe redis", redis_wiped),
        InjectedFault("terminate backends", backends_terminated),
        InjectedFault("hold a snapshot", snapshots_held),
        *(
            InjectedFault(f"lose commits of {s}", partial(answers_to_commit_lost, s))
            for s in ("orders", "payments")
        ),
        InjectedFault("cut a link", cut),
        InjectedFault("half-open link", half_open),
        InjectedFault("one-way link", one_way),
        InjectedFault("slow link", slow),
        InjectedFault("copy everything", partial(copied, False)),
        InjectedFault("remind of everything", partial(copied, True)),
        InjectedFault("wrong clock", wrong_clock),
    )
}

"""The faults of a shop that `make up` started on this machine."""

from functools import partial

from gozon.topology import ORDER_STATUS, TOPOLOGY
from loadtest.faults.link_faults import commit_responses_lost, cut, half_open, one_way, slow
from loadtest.faults.points import POINTS
from loadtest.faults.process_faults import frozen, killed, killed_at, wrong_clock
from loadtest.faults.server_faults import (
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
from loadtest.faults.shop import ShopUnderFaults
from loadtest.faults.target import InjectedFault

# The reconciler sends the events of a deleted queue again, for orders that have been NEW for a minute.
RECONCILED_SECONDS = 100.0
# Seconds for which a replica is frozen. They are longer than the timeouts of a confirm, a database command, a
# gateway response and an idle transaction; at the notifier, also longer than a page waits for a sign of life. They
# are shorter than the 120 s for which Redis counts a socket without renewal: a page would by then have missed more
# than a stream keeps, and would rightly have to reload its orders.
FREEZE_SECONDS = {"orders": 35.0, "payments": 35.0, "notifier": 45.0, "gateway": 35.0}

SERVERS = ("rabbitmq", "redis", "postgres")

FAULTS: dict[str, InjectedFault[ShopUnderFaults]] = {
    fault.name: fault
    for fault in (
        *(InjectedFault(f"kill {service}", partial(killed, service)) for service in FREEZE_SECONDS),
        *(InjectedFault(f"kill {point}", partial(killed_at, point)) for point in POINTS),
        *(InjectedFault(f"freeze {s}", partial(frozen, s, seconds)) for s, seconds in FREEZE_SECONDS.items()),
        *(InjectedFault(f"stop {server}", partial(stopped, server)) for server in SERVERS),
        *(InjectedFault(f"kill {server}", partial(server_killed, server)) for server in SERVERS),
        InjectedFault("memory alarm", memory_alarm),
        # Not the notifier's queue: no service would send its lost events again.
        *(
            InjectedFault(f"delete {q.name}", partial(queue_deleted, q), RECONCILED_SECONDS)
            for q in TOPOLOGY
            if q != ORDER_STATUS
        ),
        *(InjectedFault(f"unroute {q.name}", partial(unroutable, q)) for q in TOPOLOGY),
        InjectedFault("wipe redis", redis_wiped),
        InjectedFault("terminate backends", backends_terminated),
        InjectedFault("hold a snapshot", snapshots_held),
        *(InjectedFault(f"lose commits of {s}", partial(commit_responses_lost, s)) for s in ("orders", "payments")),
        InjectedFault("cut a link", cut),
        InjectedFault("half-open link", half_open),
        InjectedFault("one-way link", one_way),
        InjectedFault("slow link", slow),
        InjectedFault("copy everything", partial(copied, False)),
        InjectedFault("remind of everything", partial(copied, True)),
        InjectedFault("wrong clock", wrong_clock),
    )
}

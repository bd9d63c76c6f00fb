"""The hops of an order, in their order. An event carries the hops that its order has made."""

ACCEPTED = "accepted"
RELAYED = "relayed"
RECEIVED = "received"
SETTLED = "settled"
RESULT_RELAYED = "result_relayed"
UPDATED = "updated"

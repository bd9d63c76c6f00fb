"""The names of the hops of an order, in sequence.

The journey of an event lists the hops that its order has made.
"""

ACCEPTED = "accepted"
RELAYED = "relayed"
RECEIVED = "received"
SETTLED = "settled"
RESULT_RELAYED = "result_relayed"
UPDATED = "updated"

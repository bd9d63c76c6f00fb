"""What all services of this shop agree on: its queues, the hops of an order, its money. Lies above shopkit.

`python -m gozon` has the commands for operators.
"""

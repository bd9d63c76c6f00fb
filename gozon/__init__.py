"""The definitions that all services of this shop share: its queues, the hops of an order, and money.

The package builds on shopkit. `python -m gozon` runs the commands for operators.
"""

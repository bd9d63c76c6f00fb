"""The fault suite: injects faults into a shop under load and checks its guarantees.

`python -m loadtest.faults` starts its own shop, injects one fault after another and reports broken invariants.
`python -m loadtest.faults.mutations` tests the suite itself: it changes the code and reports whether the suite
notices.
"""

"""The fault suite: a shop under load to which everything happens that must not matter.

`python -m loadtest.faults` starts a shop of its own, breaks it again and again and says what did not hold;
`python -m loadtest.faults.mutations` breaks the code instead, and says whether the suite notices.
"""

"""Load tests of a whole shop through its public address. They measure it and check every order.

    make load RATE=200 SECONDS=30       python -m loadtest.load RATE=200 SECONDS=30

`command` runs one load and `run` coordinates it. `worker_processes` starts the processes of the load generator, and
`machine` measures all other processes. Each generator process is a `worker` with users of its own (`users`).
It sends requests (`traffic`) at the times of a plan (`schedule`) to the shop (`target`), keeps a `history` of each
user and checks it (`checks`). `summary` merges the results of the workers into a `report`. `self_checks` lists
reasons to distrust the report. `terminal`, `html_report` and `plots` show it. `scale`, `soak` and `footprint` run
such loads.
"""

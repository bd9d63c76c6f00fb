"""Load on a whole shop, through its entrance: figures, and a verdict on every single order.

    make load RATE=200 SECONDS=30       python -m loadtest.load RATE=200 SECONDS=30

`command` runs one load: `target` is the shop, `crew` starts the processes of the generator and `machine` watches
all others. A generator process is `worker`; it has users of its own (`users`), sends what `schedule` says when it
says so (`traffic`), keeps a `history` of each user and judges it (`checks`). What the processes found is put
together in `report`, drawn in `plots` and shown in `terminal` and `page`. `scale` and `soak` run such loads.
"""

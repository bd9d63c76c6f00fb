"""Other people's push servers, set up as their makers advise; `loadtest.bench.push` measures them too.

Both do only the last hop: what is published in Redis for a user goes to the sockets of that user. They keep
nothing, so unlike the notifier they lose what is published while Redis or a client is away.

    python -m loadtest.bench.push_rivals.channels --port 9101 --redis redis://127.0.0.1:6379/0

    npm --prefix loadtest/bench/push_rivals/socketio ci
    node loadtest/bench/push_rivals/socketio/server.mjs 9102 redis://127.0.0.1:6379/0

Each takes connections only when it listens to Redis, and ends on SIGTERM. What goes over the wire is in `wire`.
"""

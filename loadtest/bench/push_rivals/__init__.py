"""Two push servers made with libraries, set up as their documentation advises, for `loadtest.bench.push`.

Both do only the last hop: they send a message that is published in Redis to the sockets of its user. Unlike the
notifier they keep no messages. They lose a message that is published while Redis or a client is unavailable.

    python -m loadtest.bench.push_rivals.channels --port 9101 --redis redis://127.0.0.1:6379/0

    npm --prefix loadtest/bench/push_rivals/socketio ci
    node loadtest/bench/push_rivals/socketio/server.mjs 9102 redis://127.0.0.1:6379/0

Each accepts connections only after it has subscribed to Redis, and ends on SIGTERM. `wire` has their protocols.
"""

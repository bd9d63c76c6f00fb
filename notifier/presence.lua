-- Maintains the open sockets of a user on all replicas, and evicts the oldest if there are too many.
-- They are a sorted set of socket ids, scored by the time of their last report in seconds.
-- Ids are UUIDv7, so they sort by opening time, according to the clocks of their replicas.
-- The sockets of a killed replica are removed when they have not been reported for longer than the lease.
-- KEYS: sockets, meta hash.
-- ARGV: 'opened', 'heard' or 'left', socket id, allowed number of sockets, channel, lease in seconds.
-- Returns 0 if newer sockets have evicted this one, otherwise 1.
local KEEP_SECONDS = 86400

-- A socket that opens is removed first, so that it cannot evict itself, and counts once if its opening is repeated.
if ARGV[1] ~= 'heard' then
    redis.call('ZREM', KEYS[1], ARGV[2])
end
if ARGV[1] == 'left' then
    return 1
end

-- The acknowledged offset is kept as long as the user has an open socket, also if no messages come.
redis.call('EXPIRE', KEYS[2], KEEP_SECONDS)
local now = tonumber(redis.call('TIME')[1])
local lease = tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - lease - 1)
local room = tonumber(ARGV[3]) - redis.call('ZCARD', KEYS[1])
if ARGV[1] == 'heard' and room <= 0 and not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
    return 0
end
if ARGV[1] == 'opened' and room <= 0 then
    local oldest_first = redis.call('ZRANGE', KEYS[1], 0, -1)
    table.sort(oldest_first)
    for n = 1, 1 - room do
        redis.call('ZREM', KEYS[1], oldest_first[n])
        redis.call('PUBLISH', ARGV[4], 'replaced ' .. oldest_first[n])
    end
end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('EXPIRE', KEYS[1], lease)
return 1

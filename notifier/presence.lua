-- The open sockets of a user, on whichever replicas: a set of ids, scored by when they were last heard of.
-- Ids sort by when their sockets were opened, as the clocks of their replicas say.
-- What a killed replica leaves behind is forgotten after the lease.
-- KEYS: sockets, meta hash.
-- ARGV: 'opened', 'heard' or 'left', socket, how many are allowed, channel, lease in seconds.
-- Returns 0 for a socket that was replaced by newer ones.
local KEEP_SECONDS = 86400

-- Who opens is not among those that may have to go, whatever its id, nor when it says so again.
if ARGV[1] ~= 'heard' then
    redis.call('ZREM', KEYS[1], ARGV[2])
end
if ARGV[1] == 'left' then
    return 1
end

-- What was acknowledged is known for as long as somebody is here, whether there is news or not.
redis.call('EXPIRE', KEYS[2], KEEP_SECONDS)
local now = tonumber(redis.call('TIME')[1])
local lease = tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - lease - 1)
local room = tonumber(ARGV[3]) - redis.call('ZCARD', KEYS[1])
if ARGV[1] == 'heard' and room <= 0 and not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
    return 0
end
if ARGV[1] == 'opened' and room <= 0 then
    local others = redis.call('ZRANGE', KEYS[1], 0, -1)
    table.sort(others)
    for n = 1, 1 - room do
        redis.call('ZREM', KEYS[1], others[n])
        redis.call('PUBLISH', ARGV[4], 'replaced ' .. others[n])
    end
end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('EXPIRE', KEYS[1], lease)
return 1

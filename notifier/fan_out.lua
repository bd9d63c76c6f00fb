-- Hop 9, for one event: marks it as seen, gives it the user's next offset, appends it to the stream, publishes it.
-- For an event that is marked already, the script changes and publishes nothing.
-- KEYS: meta hash, stream, mark of this event.
-- ARGV: epoch to use if the user has none, start of the frame, rest of the frame, channel,
--   times to publish beside the frame, 'now' to publish or '' to leave that to the caller.
-- Returns 1 for a new event or 0, and '<previous offset> <own offset>', which is also the value of the mark.
local DEDUPE_SECONDS, KEEP_SECONDS, KEEP_MESSAGES = 3600, 86400, 100

-- The offset is at least the clock in ms, so that a Redis that lost its last second does not give an offset twice.
local time = redis.call('TIME')
local last = tonumber(redis.call('HGET', KEYS[1], 'offset') or '0')
local offset = math.max(last + 1, time[1] * 1000 + math.floor(time[2] / 1000))
local own = string.format('%.0f', offset)
local previous = string.format('%.0f', last)
local offsets = previous .. ' ' .. own

if not redis.call('SET', KEYS[3], offsets, 'NX', 'EX', DEDUPE_SECONDS) then
    return {0, redis.call('GET', KEYS[3])}
end

local frame = ARGV[2] .. own .. ',' .. ARGV[3]
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
redis.call('HSET', KEYS[1], 'offset', own)
redis.call('EXPIRE', KEYS[1], KEEP_SECONDS)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', KEEP_MESSAGES, own .. '-0',
    'previous', previous, 'frame', frame)
redis.call('EXPIRE', KEYS[2], KEEP_SECONDS)
-- The previous offset is published too, so that a replica that missed a message notices the gap.
if ARGV[6] == 'now' then
    redis.call('PUBLISH', ARGV[4], table.concat({offsets, ARGV[5], frame}, ' '))
end
return {1, offsets}

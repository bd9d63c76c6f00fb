-- Hop 9, for one event: remember its id, give it the user's next offset, keep it, publish it. All or nothing.
-- KEYS: meta hash, stream, mark of this event.
-- ARGV: a new epoch, start of the frame, rest of it, channel, times to publish beside it.
local DEDUPE_SECONDS, KEEP_SECONDS, KEEP_MESSAGES = 3600, 86400, 100

if not redis.call('SET', KEYS[3], '1', 'NX', 'EX', DEDUPE_SECONDS) then
    return 0
end

-- At least the clock, so that a Redis that lost its last second does not give an offset twice.
local time = redis.call('TIME')
local last = tonumber(redis.call('HGET', KEYS[1], 'offset') or '0')
local offset = math.max(last + 1, time[1] * 1000 + math.floor(time[2] / 1000))
local shown = string.format('%.0f', offset)
local before = string.format('%.0f', last)
local frame = ARGV[2] .. shown .. ',' .. ARGV[3]

redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
redis.call('HSET', KEYS[1], 'offset', shown)
redis.call('EXPIRE', KEYS[1], KEEP_SECONDS)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', KEEP_MESSAGES, shown .. '-0',
    'previous', before, 'frame', frame)
redis.call('EXPIRE', KEYS[2], KEEP_SECONDS)
-- With the offset before it, so that a replica that missed one sees the gap.
redis.call('PUBLISH', ARGV[4], table.concat({before, shown, ARGV[5], frame}, ' '))
return 1

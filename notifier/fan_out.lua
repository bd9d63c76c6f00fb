-- Hop 9, for one event: remember its id, give it the user's next offset, keep it, publish it. All or nothing.
-- KEYS: meta hash, stream, mark of this event.
-- ARGV: a new epoch, start of the frame, rest of it, channel, times to publish beside it, 'now' to publish it.
-- Returns whether it is new, and its place: the offset before it and its own.
local DEDUPE_SECONDS, KEEP_SECONDS, KEEP_MESSAGES = 3600, 86400, 100

-- At least the clock, so that a Redis that lost its last second does not give an offset twice.
local time = redis.call('TIME')
local last = tonumber(redis.call('HGET', KEYS[1], 'offset') or '0')
local offset = math.max(last + 1, time[1] * 1000 + math.floor(time[2] / 1000))
local shown = string.format('%.0f', offset)
local before = string.format('%.0f', last)
local place = before .. ' ' .. shown

if not redis.call('SET', KEYS[3], place, 'NX', 'EX', DEDUPE_SECONDS) then
    return {0, redis.call('GET', KEYS[3])}
end

local frame = ARGV[2] .. shown .. ',' .. ARGV[3]
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
redis.call('HSET', KEYS[1], 'offset', shown)
redis.call('EXPIRE', KEYS[1], KEEP_SECONDS)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', KEEP_MESSAGES, shown .. '-0',
    'previous', before, 'frame', frame)
redis.call('EXPIRE', KEYS[2], KEEP_SECONDS)
-- With the offset before it, so that a replica that missed one sees the gap.
if ARGV[6] == 'now' then
    redis.call('PUBLISH', ARGV[4], table.concat({place, ARGV[5], frame}, ' '))
end
return {1, place}

-- Reads a user's stream after an offset.
-- KEYS: meta hash, stream.
-- ARGV: epoch to use if the user has none, offset to read after or '' for the highest acknowledged one.
-- Returns the epoch, the last offset of the user, the offset that the read starts after, and the entries.
local KEEP_SECONDS = 86400

redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'acked')
local epoch, offset = meta[1], meta[2] or '0'
-- A first-time visitor has no acknowledged offset, and receives only messages from now on.
local after = ARGV[2] ~= '' and ARGV[2] or meta[3] or offset
-- Sets the acknowledged offset if there is none: on the first visit, and after Redis has lost its data. In the second
-- case the client's offset can be above the last offset of the new stream, hence the minimum.
redis.call('HSETNX', KEYS[1], 'acked', string.format('%.0f', math.min(after, offset)))
redis.call('EXPIRE', KEYS[1], KEEP_SECONDS)
return {epoch, offset, after, redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+')}

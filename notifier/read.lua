-- Where a user's stream stands, and what it holds after a position.
-- KEYS: meta hash, stream.  ARGV: a new epoch, offset to read after or '' for the one acknowledged last.
local KEEP_SECONDS = 86400

redis.call('HSETNX', KEYS[1], 'epoch', ARGV[1])
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'acked')
local epoch, offset = meta[1], meta[2] or '0'
-- Whoever comes for the first time is shown what happens from now on.
local after = ARGV[2] ~= '' and ARGV[2] or meta[3] or offset
-- Also when Redis lost what was acknowledged; then the reader may stand further than the new stream.
redis.call('HSETNX', KEYS[1], 'acked', string.format('%.0f', math.min(after, offset)))
redis.call('EXPIRE', KEYS[1], KEEP_SECONDS)
return {epoch, offset, after, redis.call('XRANGE', KEYS[2], '(' .. after .. '-0', '+')}

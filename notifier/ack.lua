-- Stores the highest acknowledged offset of a user. An acknowledgement from another epoch is ignored.
-- KEYS: meta hash.  ARGV: epoch, offset.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'acked')
if meta[1] == ARGV[1] and tonumber(ARGV[2]) > tonumber(meta[2] or '0') then
    redis.call('HSET', KEYS[1], 'acked', ARGV[2])
end
return 1

-- Forgets a session.
--
-- KEYS  1 sessions of the owner   2 deadlines
-- ARGV  1 id   2 peer   3 member of the deadlines
-- Returns the CSeq last sent, or -1 when there was none.

local id = ARGV[1]
redis.call('ZREM', KEYS[2], ARGV[3])
local number = redis.call('HGET', KEYS[1], 'q:' .. id)
if not number then return -1 end
redis.call('HDEL', KEYS[1], 's:' .. id, 'q:' .. id, 'r:' .. id)
if redis.call('HGET', KEYS[1], 'c:' .. ARGV[2]) == id then redis.call('HDEL', KEYS[1], 'c:' .. ARGV[2]) end
if redis.call('HINCRBY', KEYS[1], '#', -1) == 0 then redis.call('DEL', KEYS[1]) end
return tonumber(number)

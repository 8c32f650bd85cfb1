-- Keeps a new session, and makes it the one that messages of its peer go to.
--
-- KEYS  1 sessions of the owner   2 deadlines
-- ARGV  1 id   2 packed session   3 peer   4 CSeq last sent   5 CSeq last received   6 member of the deadlines
--       7 its time in ms   8 most sessions
-- Returns 1, or 0 when there are too many.

local count = tonumber(redis.call('HGET', KEYS[1], '#') or '0')
if count >= tonumber(ARGV[8]) then return 0 end
local id = ARGV[1]
redis.call('HSET', KEYS[1], 's:' .. id, ARGV[2], 'q:' .. id, ARGV[4], 'r:' .. id, ARGV[5], 'c:' .. ARGV[3], id, '#', count + 1)
redis.call('ZADD', KEYS[2], ARGV[7], ARGV[6])
return 1

-- Writes a session anew, unless it has ended.
--
-- KEYS  1 sessions of the owner
-- ARGV  1 id   2 packed session
-- Returns 1, or 0 when it has ended.

if redis.call('HEXISTS', KEYS[1], 's:' .. ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 's:' .. ARGV[1], ARGV[2])
return 1

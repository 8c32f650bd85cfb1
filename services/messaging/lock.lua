-- Keeps a lock for longer, or gives it back, if it is still ours.
--
-- KEYS  1 lock
-- ARGV  1 our name   2 for how long (ms); 0: give it back
-- Returns 1, or 0 when it is not ours any more.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])

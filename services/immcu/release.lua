-- Gives the relaying of a conference back, unless there is more to relay.
--
-- KEYS  1 lock   2 queue   3 conferences that wait
-- ARGV  1 name of the process   2 name of the conference
-- Returns 1 when it was given back (or lost before), 0 when there is more to do.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end
if redis.call('ZCARD', KEYS[2]) > 0 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[3], ARGV[2])
return 1

-- Keeps the relaying of a conference for longer.
--
-- KEYS  1 lock
-- ARGV  1 name of the process   2 milliseconds
-- Returns 1, or 0 when another process has it.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1

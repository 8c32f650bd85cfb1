-- Renews or ends a lease, for who holds it.
--
-- KEYS  1 lease
-- ARGV  1 token of the holder   2 milliseconds that it lasts from now (0: it ends)
-- Returns 1, or 0 when it is not held by that token.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1

-- Begins or renews the lease of a front end, and notes when it has been started again.
--
-- KEYS  1 leases   2 addresses   3 first connections   4 restarts
-- ARGV  1 edge uid   2 address   3 end of the lease (ms)   4 first connection of this run, "0" when not said   5 now (ms)

redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
if ARGV[4] ~= '0' then
  local before = redis.call('HGET', KEYS[3], ARGV[1])
  if before ~= ARGV[4] then
    redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
    if before then redis.call('ZADD', KEYS[4], ARGV[5], ARGV[1] .. '\n' .. ARGV[4]) end
  end
end
return 1

-- Forgets a subscription unless its client has renewed it meanwhile.
--
-- KEYS  1 subscriptions of the watcher   2 deadlines
-- ARGV  1 id   2 the subscription as it was read   3 member of the deadlines
-- Returns 1 when it is gone.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1], 'q:' .. ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[3])
return 1

-- The number of the next NOTIFY of a subscription.
--
-- KEYS  1 subscriptions of the watcher
-- ARGV  1 id
-- Returns the number, or 0 when there is no such subscription any more.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], 'q:' .. ARGV[1], 1)

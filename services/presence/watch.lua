-- Notes a subscription at somebody who is watched, or takes it off, and says so to who wants to know in the same step.
--
-- KEYS  1 subscriptions to the user   2 those to the user's watchers   3 outbox
-- ARGV  1 id   2 subscription ("": it ended)   3 event
-- Returns 1 when an event was written.

local new
if ARGV[2] == '' then
  new = redis.call('HDEL', KEYS[1], ARGV[1])
else
  new = redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
if new == 0 or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[3])
return 1

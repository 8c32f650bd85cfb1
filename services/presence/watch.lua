-- Notes a subscription at somebody who is watched, or takes it off, and says so to who wants to know in the same step.
--
-- KEYS  1 subscriptions to the user   2 those to the user's watchers   3 outbox
-- ARGV  1 id   2 subscription ("": it ended)   3 event ("": none)
--       4 the one that ended; another one of that id, which came since, stays ("": whichever it is)
-- Returns 1 when an event was written.

local known = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] == '' then
  if not known or (ARGV[4] ~= '' and known ~= ARGV[4]) then return 0 end
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  if known then return 0 end
end
if ARGV[3] == '' or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('RPUSH', KEYS[3], ARGV[3])
return 1

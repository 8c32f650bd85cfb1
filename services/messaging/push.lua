-- Keeps a message for a user.
--
-- KEYS  1 mailbox   2 its size   3 deadlines
-- ARGV  1 entry   2 most messages   3 most bytes   4 member of the deadlines   5 its time in ms
--       6 "1": all but keep it, and take as long: the sender is not to know
-- Returns 1, or 0 when there is no room.

local count, bytes = redis.call('LLEN', KEYS[1]), tonumber(redis.call('GET', KEYS[2]) or '0')
if count >= tonumber(ARGV[2]) or bytes + #ARGV[1] > tonumber(ARGV[3]) then return 0 end
if ARGV[6] == '1' then
  if count == 0 then redis.call('SET', KEYS[2], '0', 'PX', 1000) else redis.call('SET', KEYS[2], bytes) end
  return 1
end
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], bytes + #ARGV[1])
if not redis.call('ZSCORE', KEYS[3], ARGV[4]) then redis.call('ZADD', KEYS[3], ARGV[5], ARGV[4]) end
return 1

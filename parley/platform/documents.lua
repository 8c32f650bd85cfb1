-- Replaces a document if nobody changed it meanwhile, and writes the events of the change in the same step.
--
-- KEYS  1 document   2 outbox   3 deadlines
-- ARGV  1 version expected (0: there is none)   2 new content ("": it is deleted)   3 member of the deadlines ("": none)
--       4 its time in ms (0: none)   5... events
-- Returns the new version, or 0 when the expected one is not current.

local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version ~= tonumber(ARGV[1]) then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'v', version + 1, 'd', ARGV[2])
end
if ARGV[3] ~= '' then
  if ARGV[4] == '0' then
    redis.call('ZREM', KEYS[3], ARGV[3])
  else
    redis.call('ZADD', KEYS[3], ARGV[4], ARGV[3])
  end
end
for index = 5, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[index]) end
return version + 1

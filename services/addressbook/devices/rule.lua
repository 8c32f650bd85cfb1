-- Writes or removes a rule of device updates, if nobody changed it meanwhile, and names its files.
--
-- KEYS  1 rules   2 names of files   3 files   4 number of changes
-- ARGV  1 id of the rule   2 what it is now ("": there is none)   3 what it becomes ("": it is removed)
--       4 rules there may be   5... pairs: name of a file ("<rule>/<version>/<file>"), its checksum
-- Returns "OK", "CONFLICT", "FULL", or "FILE <checksum>" for a file that is not there.

local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return 'CONFLICT' end
if now == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 'FULL' end
for index = 6, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[3], ARGV[index]) == 0 then return 'FILE ' .. ARGV[index] end
end
redis.call('INCR', KEYS[4])
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return 'OK'
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
for index = 5, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1]) end
return 'OK'

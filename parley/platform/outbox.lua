-- One step of a relay: takes off what it has published, and reads what is next. Only the holder of the lock may.
--
-- KEYS  1 lock   2 list
-- ARGV  1 name of the relay   2 time limit of the lock (ms)   3 records published   4 most records to read
--       5 most records that may wait
-- Returns { 0 } when another relay holds the lock, or { 1, records dropped as too many waited, record, record, ... }.
-- The lock ends when the list is empty, so whoever pushes next may relay at once.

local holder = redis.call('GET', KEYS[1])
local published, wanted, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if holder ~= ARGV[1] and (holder or published > 0) then return {0} end
if published > 0 then redis.call('LTRIM', KEYS[2], published, -1) end
local waiting, dropped = redis.call('LLEN', KEYS[2]), 0
if waiting == 0 then
  redis.call('DEL', KEYS[1])
  return {1, 0}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if waiting > most then
  dropped = waiting - most
  redis.call('LTRIM', KEYS[2], dropped, -1)
end
local out = {1, dropped}
if wanted > 0 then
  for _, record in ipairs(redis.call('LRANGE', KEYS[2], 0, wanted - 1)) do out[#out + 1] = record end
end
return out

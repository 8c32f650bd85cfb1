-- A session for a request, and a new time at which it ends by itself.
--
-- KEYS  1 sessions of the owner   2 deadlines
-- ARGV  1 id; "": the current one with the peer   2 peer   3 CSeq of a request received; 0: we send one   4 owner
--       5 time in ms
-- Returns {} when there is none, { "" } when the CSeq is lower than one before, or { session, CSeq of our next request }.

local id = ARGV[1]
if id == '' then id = redis.call('HGET', KEYS[1], 'c:' .. ARGV[2]) end
local session = id and redis.call('HGET', KEYS[1], 's:' .. id)
if not session then return {} end
local received, number = tonumber(ARGV[3]), 0
if received > 0 then
  if received < tonumber(redis.call('HGET', KEYS[1], 'r:' .. id)) then return {''} end
  redis.call('HSET', KEYS[1], 'r:' .. id, received)
else
  number = redis.call('HINCRBY', KEYS[1], 'q:' .. id, 1)
end
redis.call('ZADD', KEYS[2], ARGV[5], 's|' .. ARGV[4] .. '|' .. id)
return {session, number}

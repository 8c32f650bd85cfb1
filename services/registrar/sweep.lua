-- Takes away bindings of one shard: those that have ended, those of a front end that is gone, or those whose flows a front
-- end has lost as it was started again.
--
-- KEYS  1 deadlines   2 outbox   3 set of the front end's bindings (modes "edge" and "flows")
-- ARGV  1 now (ms)   2 prefix of binding hashes   3 prefix of edge sets   4 most to look at
--       5 mode: "expired", "edge", "flows"   6 edge   then for "flows": 7 first connection that is not lost   8 cursor
-- Returns { looked at, taken, cursor }; the cursor is "0" when mode "flows" has seen the whole set.

local now, mode, first = tonumber(ARGV[1]), ARGV[5], ARGV[7]
local members, cursor = {}, '0'
if mode == 'expired' then
  members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[4])
elseif mode == 'edge' then
  members = redis.call('SRANDMEMBER', KEYS[3], ARGV[4])
else
  local page = redis.call('SSCAN', KEYS[3], ARGV[8], 'COUNT', ARGV[4])
  cursor, members = page[1], page[2]
end

-- Numbers of connections have up to 64 bits, more than a number of Lua holds, so their digits are compared.
local function is_lost(connection)
  return #connection < #first or (#connection == #first and connection < first)
end

local taken = 0
for _, member in ipairs(members) do
  local aor, id = string.match(member, '^([^\n]*)\n(.*)$')
  local hash = ARGV[2] .. aor
  local value = redis.call('HGET', hash, id)
  local deadline, edge, connection
  if value then deadline, edge, connection = string.match(value, '^(%d+)\n([^\n]*)\n([^\n]*)\n') end
  local ended = value and tonumber(deadline) <= now
  local held = value and edge == ARGV[6]
  if ended or (held and (mode == 'edge' or is_lost(connection))) then
    redis.call('HDEL', hash, id)
    redis.call('ZREM', KEYS[1], member)
    redis.call('SREM', ARGV[3] .. edge, member)
    local sequence = redis.call('HINCRBY', hash, '#', 1)
    local left = redis.call('HLEN', hash) - 1
    redis.call('RPUSH', KEYS[2], table.concat({ended and 3 or 4, sequence, left, now, aor, '', value}, '\n'))
    if left == 0 then redis.call('DEL', hash) end
    taken = taken + 1
  elseif mode ~= 'expired' then
    if not held then redis.call('SREM', KEYS[3], member) end
  elseif value then
    redis.call('ZADD', KEYS[1], deadline, member)
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return {#members, taken, cursor}

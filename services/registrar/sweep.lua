-- Takes away bindings of one shard: those that have ended, or those of a front end that is gone.
--
-- KEYS  1 deadlines   2 outbox   3 set of the front end's bindings (mode "edge")
-- ARGV  1 now (ms)   2 prefix of binding hashes   3 prefix of edge sets   4 most to take   5 "expired" or "edge"   6 edge
-- Returns { looked at, taken }.

local now, mode = tonumber(ARGV[1]), ARGV[5]
local members
if mode == 'expired' then
  members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[4])
else
  members = redis.call('SRANDMEMBER', KEYS[3], ARGV[4])
end
local taken = 0
for _, member in ipairs(members) do
  local aor, id = string.match(member, '^([^\n]*)\n(.*)$')
  local hash = ARGV[2] .. aor
  local value = redis.call('HGET', hash, id)
  local deadline, edge
  if value then deadline, edge = string.match(value, '^(%d+)\n([^\n]*)\n') end
  local ended = value and tonumber(deadline) <= now
  if value and (ended or (mode == 'edge' and edge == ARGV[6])) then
    redis.call('HDEL', hash, id)
    redis.call('ZREM', KEYS[1], member)
    redis.call('SREM', ARGV[3] .. edge, member)
    local sequence = redis.call('HINCRBY', hash, '#', 1)
    local left = redis.call('HLEN', hash) - 1
    redis.call('RPUSH', KEYS[2], table.concat({ended and 3 or 4, sequence, left, now, aor, '', value}, '\n'))
    if left == 0 then redis.call('DEL', hash) end
    taken = taken + 1
  elseif mode == 'edge' then
    redis.call('SREM', KEYS[3], member)
  elseif value then
    redis.call('ZADD', KEYS[1], deadline, member)
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return {#members, taken}

-- A page of the bindings of one shard, by the time they end.
--
-- KEYS  1 deadlines
-- ARGV  1 prefix of binding hashes   2 most members   3 deadline and 4 member that the page before ended with, or ""
-- Returns { member, deadline, field or "", ... }. A binding that is refreshed between two pages moves towards the end, so
-- it may be seen twice; none is missed.

local start = 0
if ARGV[4] ~= '' then
  local deadline = redis.call('ZSCORE', KEYS[1], ARGV[4])
  if deadline and tonumber(deadline) == tonumber(ARGV[3]) then
    start = redis.call('ZRANK', KEYS[1], ARGV[4]) + 1
  else
    start = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. ARGV[3])
  end
end
local members = redis.call('ZRANGE', KEYS[1], start, start + tonumber(ARGV[2]) - 1, 'WITHSCORES')
local out = {}
for i = 1, #members, 2 do
  local aor, id = string.match(members[i], '^([^\n]*)\n(.*)$')
  out[#out + 1] = members[i]
  out[#out + 1] = members[i + 1]
  out[#out + 1] = redis.call('HGET', ARGV[1] .. aor, id) or ''
end
return out

-- Applies one REGISTER to the bindings of one address of record, all or nothing.
--
-- KEYS  1 bindings hash   2 deadlines   3 outbox      (all of one shard)
-- ARGV  1 now (ms)   2 most bindings   3 Call-ID   4 CSeq   5 prefix of edge sets   6 address of record
--       7 mode: "set", "clear" (Contact: *), "flow" (its flow closed)   8 traceparent   9 edge   10 connection id
--       then for each contact: id, deadline in ms (0 removes), edge, packed binding
-- A field of the hash is  deadline \n edge \n connection \n cseq \n call-id \n packed binding;  "#" counts changes.
-- Returns { outcome, changed, field, field, ... }: 1 done, 3 too many, 4 out of order; changed: 1 when events were pushed.

local now, most, call_id, cseq = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local aor, mode = ARGV[6], ARGV[7]
local fields = redis.call('HGETALL', KEYS[1])
local held, order, count, sequence = {}, {}, 0, 0

local function read(id, value)
  local deadline, edge, connection, seq, call = string.match(value, '^(%d+)\n([^\n]*)\n([^\n]*)\n(%d+)\n([^\n]*)\n')
  return {id = id, deadline = tonumber(deadline), edge = edge, connection = connection, cseq = tonumber(seq),
          call_id = call, value = value}
end

for i = 1, #fields, 2 do
  if fields[i] == '#' then
    sequence = tonumber(fields[i + 1])
  else
    local b = read(fields[i], fields[i + 1])
    held[b.id] = b
    order[#order + 1] = b.id
    if b.deadline > now then count = count + 1 end
  end
end

local removed, added, changes = {}, {}, {}
if mode == 'set' then
  -- First everything is checked, then everything is done (RFC 3261 section 10.3).
  local after = count
  for i = 11, #ARGV, 4 do
    local b = held[ARGV[i]]
    local live = b and b.deadline > now
    if live and b.call_id == call_id and cseq <= b.cseq then
      if cseq < b.cseq then return {4, 0} end
      -- The same request again: its answer is what stands.
      local out = {1, 0}
      for _, id in ipairs(order) do
        if held[id].deadline > now then out[#out + 1] = held[id].value end
      end
      return out
    end
    if ARGV[i + 1] == '0' then
      if live then after = after - 1 end
    elseif not live then
      after = after + 1
    end
  end
  if after > most and after > count then return {3, 0} end
  for i = 11, #ARGV, 4 do
    local id, deadline, edge, packed = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local b = held[id]
    if deadline == '0' then
      if b then removed[#removed + 1] = {b, 2} end
    else
      local value = deadline .. '\n' .. edge .. '\n' .. ARGV[10] .. '\n' .. cseq .. '\n' .. call_id .. '\n' .. packed
      if b and b.edge ~= edge then redis.call('SREM', ARGV[5] .. b.edge, aor .. '\n' .. id) end
      if not b or b.edge ~= edge then redis.call('SADD', ARGV[5] .. edge, aor .. '\n' .. id) end
      redis.call('HSET', KEYS[1], id, value)
      redis.call('ZADD', KEYS[2], deadline, aor .. '\n' .. id)
      if not b or b.deadline <= now then changes[#changes + 1] = {1, value} end
      if not b then order[#order + 1] = id end
      held[id] = {id = id, deadline = tonumber(deadline), edge = edge, value = value}
    end
  end
elseif mode == 'clear' then
  for _, id in ipairs(order) do
    local b = held[id]
    if b.deadline > now and b.call_id == call_id and cseq <= b.cseq then return {4, 0} end
  end
  for _, id in ipairs(order) do removed[#removed + 1] = {held[id], 2} end
else
  for _, id in ipairs(order) do
    local b = held[id]
    if b.edge == ARGV[9] and b.connection == ARGV[10] then removed[#removed + 1] = {b, 4} end
  end
end

-- What has ended by itself is taken away on the way.
for _, id in ipairs(order) do
  if held[id] and held[id].deadline <= now then removed[#removed + 1] = {held[id], 3} end
end
for _, entry in ipairs(removed) do
  local b = entry[1]
  if held[b.id] then
    held[b.id] = nil
    redis.call('HDEL', KEYS[1], b.id)
    redis.call('ZREM', KEYS[2], aor .. '\n' .. b.id)
    redis.call('SREM', ARGV[5] .. b.edge, aor .. '\n' .. b.id)
    changes[#changes + 1] = {b.deadline <= now and 3 or entry[2], b.value}
  end
end

local out, left = {1, 0}, 0
for _, id in ipairs(order) do
  if held[id] then
    left = left + 1
    out[#out + 1] = held[id].value
  end
end
if #changes > 0 then
  for _, change in ipairs(changes) do
    sequence = sequence + 1
    redis.call('RPUSH', KEYS[3], table.concat({change[1], sequence, left, now, aor, ARGV[8], change[2]}, '\n'))
  end
  if left > 0 then redis.call('HSET', KEYS[1], '#', sequence) else redis.call('DEL', KEYS[1]) end
  out[2] = 1
end
return out

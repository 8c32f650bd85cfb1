-- Applies one REGISTER to the bindings of one address of record, all or nothing.
--
-- KEYS  1 bindings hash   2 deadlines   3 outbox      (all of one shard)
-- ARGV  1 now (ms)   2 most bindings   3 Call-ID   4 CSeq   5 prefix of edge sets   6 address of record
--       7 mode: "set", "clear" (Contact: *), "flow" (its flow closed)   8 traceparent   9 edge   10 connection id
--       then for each contact: id, deadline in ms (0 removes), mark of what was asked, packed binding
-- A field of the hash is
--       deadline \n edge \n connection \n cseq \n call-id \n first registered (ms) \n mark \n packed binding
-- by the id of the binding; the field "#" counts changes.
-- Returns { outcome, changed, field, field, ... }: 1 done, 3 too many, 4 out of order; changed: 1 when events were pushed.

local call = redis.call
local now, most, call_id, cseq = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local edges, aor, mode, edge, connection = ARGV[5], ARGV[6], ARGV[7], ARGV[9], ARGV[10]
local FIELD = '^(%d+)\n([^\n]*)\n([^\n]*)\n(%d+)\n([^\n]*)\n(%d+)\n([^\n]*)\n'
local SAFETY_MS = 86400000
local fields = call('HGETALL', KEYS[1])

local function make(deadline, registered, mark, packed)
  return deadline .. '\n' .. edge .. '\n' .. connection .. '\n' .. ARGV[4] .. '\n' .. call_id .. '\n' .. registered ..
    '\n' .. mark .. '\n' .. packed
end

-- Nearly every request refreshes the only binding of a user where it is; for that one the rest of this is not needed.
if #ARGV == 14 and #fields == 4 and mode == 'set' then
  local id, value = fields[1], fields[2]
  if id == '#' then id, value = fields[3], fields[4] end
  if id == ARGV[11] and ARGV[12] ~= '0' then
    local deadline, at, _, seq, held_call_id, registered, mark = string.match(value, FIELD)
    if at == edge and tonumber(deadline) > now then
      seq = tonumber(seq)
      if held_call_id == call_id and (cseq < seq or (cseq == seq and mark ~= ARGV[13])) then return {4, 0} end
      value = make(ARGV[12], registered, ARGV[13], ARGV[14])
      call('HSET', KEYS[1], id, value)
      call('ZADD', KEYS[2], ARGV[12], aor .. '\n' .. id)
      call('PEXPIRE', KEYS[1], tonumber(ARGV[12]) - now + SAFETY_MS)
      return {1, 0, value}
    end
  end
end

local held, order, count, sequence = {}, {}, 0, 0
for i = 1, #fields, 2 do
  local id, value = fields[i], fields[i + 1]
  if id == '#' then
    sequence = tonumber(value)
  else
    local deadline, at, held_connection, seq, held_call_id, registered, mark = string.match(value, FIELD)
    local b = {id = id, deadline = tonumber(deadline), edge = at, connection = held_connection, cseq = tonumber(seq),
               call_id = held_call_id, registered = registered, mark = mark, value = value}
    held[id] = b
    order[#order + 1] = id
    if b.deadline > now then count = count + 1 end
  end
end

-- Parameters that only one of two contact URIs has do not tell them apart, those of both must agree (RFC 3261 section
-- 19.1.4). An id is what must be the same, a tab, and such parameters; see binding_id in bindings.py.
local function agree(left, right)
  local known = {}
  for name, value in string.gmatch(left, '([^;=]+)=([^;]*)') do known[name] = value end
  for name, value in string.gmatch(right, '([^;=]+)=([^;]*)') do
    if known[name] and known[name] ~= value then return false end
  end
  return true
end

local function find(id)
  local b = held[id]
  if b or count == 0 or string.sub(id, 1, 2) ~= 'c:' then return b end
  local same, rest = string.match(id, '^([^\t]*)\t?(.*)$')
  for _, other in ipairs(order) do
    local other_same, other_rest = string.match(other, '^([^\t]*)\t?(.*)$')
    if other_same == same and agree(rest, other_rest) then return held[other] end
  end
  return nil
end

local removed, changes, latest = {}, {}, 0
if mode == 'set' then
  -- First everything is checked, then everything is done (RFC 3261 section 10.3).
  local after, found = count, {}
  for i = 11, #ARGV, 4 do
    local b = find(ARGV[i])
    local live = b and b.deadline > now
    -- The same request again is done again; another one with its CSeq, or a lower one, came too late.
    if live and b.call_id == call_id and (cseq < b.cseq or (cseq == b.cseq and b.mark ~= ARGV[i + 2])) then
      return {4, 0}
    end
    found[i] = b
    if ARGV[i + 1] == '0' then
      if live then after = after - 1 end
    elseif not live then
      after = after + 1
    end
  end
  if after > most and after > count then return {3, 0} end
  for i = 11, #ARGV, 4 do
    local id, deadline, b = ARGV[i], ARGV[i + 1], found[i]
    if deadline == '0' then
      if b then removed[#removed + 1] = {b, 2} end
    else
      local live, member = b and b.deadline > now, aor .. '\n' .. id
      local registered = live and b.registered or ARGV[1]
      local value = make(deadline, registered, ARGV[i + 2], ARGV[i + 3])
      local moved = b and (b.id ~= id or b.edge ~= edge)
      if moved then call('SREM', edges .. b.edge, aor .. '\n' .. b.id) end
      if moved and b.id ~= id then
        call('HDEL', KEYS[1], b.id)
        call('ZREM', KEYS[2], aor .. '\n' .. b.id)
        held[b.id] = nil
      end
      if moved or not b then call('SADD', edges .. edge, member) end
      call('HSET', KEYS[1], id, value)
      call('ZADD', KEYS[2], deadline, member)
      if b and not live then changes[#changes + 1] = {3, b.value} end
      -- Who comes by another front end may have been out of reach, which others have acted on.
      if not live or b.edge ~= edge then changes[#changes + 1] = {1, value} end
      if not held[id] then order[#order + 1] = id end
      held[id] = {id = id, deadline = tonumber(deadline), edge = edge, value = value}
      latest = math.max(latest, held[id].deadline)
    end
  end
elseif mode == 'clear' then
  for _, b in pairs(held) do
    if b.deadline > now and b.call_id == call_id and cseq <= b.cseq then return {4, 0} end
  end
  for _, id in ipairs(order) do removed[#removed + 1] = {held[id], 2} end
else
  for _, id in ipairs(order) do
    local b = held[id]
    if b.edge == edge and b.connection == connection then removed[#removed + 1] = {b, 4} end
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
    call('HDEL', KEYS[1], b.id)
    call('ZREM', KEYS[2], aor .. '\n' .. b.id)
    call('SREM', edges .. b.edge, aor .. '\n' .. b.id)
    changes[#changes + 1] = {b.deadline <= now and 3 or entry[2], b.value}
  end
end

local out, left = {1, 0}, 0
for _, id in ipairs(order) do
  local b = held[id]
  if b then
    left = left + 1
    out[#out + 1] = b.value
    latest = math.max(latest, b.deadline)
  end
end
if #changes > 0 then
  for _, change in ipairs(changes) do
    sequence = sequence + 1
    call('RPUSH', KEYS[3], table.concat({change[1], sequence, left, now, aor, ARGV[8], change[2]}, '\n'))
  end
  if left > 0 then call('HSET', KEYS[1], '#', sequence) else call('DEL', KEYS[1]) end
  out[2] = 1
end
-- Sweepers take bindings away when they end; should none run for a day, the key goes by itself.
if left > 0 and mode == 'set' and #ARGV > 10 then call('PEXPIRE', KEYS[1], latest - now + SAFETY_MS) end
return out

-- Changes an entry of the directory, users who sign in, or both, and the search index with them: all of it or nothing.
--
-- KEYS  1 outbox of users   2 outbox of entries
-- ARGV  1 prefix of all keys   2 what to do, as JSON   3... packed values that it names by their place, from 1
-- Returns "OK", "EXISTS", "ABSENT", "CONFLICT" or "LOGIN <name>" for users; for the entry "ENTRY CONFLICT", or
-- "TAKEN <lookup> <UUID of whose it is>".
--
-- entry  id, expect (version; "0": must not be there), value (place of the JSON; absent: removed), drop and take (pairs of
--        lookup and value), leave and join (sources), event (place), picture (place; 0: removed; absent: kept)
-- index  old, new (members), remove, add (family, value, grams)
-- users  address, expect ("0": must not be there, "*": any), since (of one who is made: the last version of a user of that
--        address who was removed, 0 for nobody), user (place; absent: removed), credentials (place; absent: kept), logins,
--        event (place), certificates (true: they end)
--
-- What was given to a user (tickets, sessions) names address and version. So that it is worth nothing to the next user of the
-- address, versions go on where those of the last one ended.

local prefix, doc = ARGV[1], cjson.decode(ARGV[2])
local entry, index, users = doc.entry, doc.index, doc.users or {}
local logins, gone = prefix .. 'logins', prefix .. 'gone'
local unique = {['by-address'] = true, ['by-mail'] = true, ['by-nickname'] = true}

local function packed(place) return ARGV[place + 2] end

-- What stands in the way.

local versions, leaving = {}, {}
for i, user in ipairs(users) do
  versions[i] = redis.call('HGET', prefix .. 'u:' .. user.address, 'version')
  if user.expect == '0' and versions[i] then return 'EXISTS' end
  if user.expect == '0' and (redis.call('HGET', gone, user.address) or '0') ~= user.since then return 'CONFLICT' end
  if user.expect ~= '0' and not versions[i] then return 'ABSENT' end
  if user.expect ~= '0' and user.expect ~= '*' and user.expect ~= versions[i] then return 'CONFLICT' end
  if not user.user then leaving[user.address] = true end
end
for _, user in ipairs(users) do
  for _, login in ipairs(user.logins or {}) do
    local owner = redis.call('HGET', logins, login)
    if owner and owner ~= user.address and not leaving[owner] then return 'LOGIN ' .. login end
  end
end
if entry then
  local kept = redis.call('GET', prefix .. 'e:' .. entry.id)
  local version = kept and string.match(kept, '^%d+') or '0'
  if version ~= entry.expect then return 'ENTRY CONFLICT' end
  for _, pair in ipairs(entry.take or {}) do
    if unique[pair[1]] then
      local owner = redis.call('HGET', prefix .. pair[1], pair[2])
      if owner and owner ~= entry.id then return 'TAKEN ' .. pair[1] .. ' ' .. owner end
    end
  end
end

-- The users.

for _, user in ipairs(users) do
  local before = redis.call('HGET', prefix .. 'u:' .. user.address, 'logins')
  for login in string.gmatch(before or '', '[^\n]+') do redis.call('HDEL', logins, login) end
end
for i, user in ipairs(users) do
  local key = prefix .. 'u:' .. user.address
  redis.call('RPUSH', KEYS[1], packed(user.event))
  if user.certificates then redis.call('DEL', prefix .. 'c:' .. user.address) end
  if user.user then
    for _, login in ipairs(user.logins) do redis.call('HSET', logins, login, user.address) end
    redis.call('HSET', key, 'user', packed(user.user), 'version', (versions[i] or user.since) + 1, 'logins',
      table.concat(user.logins, '\n'))
    redis.call('HDEL', gone, user.address)
    if user.credentials then redis.call('HSET', key, 'credentials', packed(user.credentials)) end
    redis.call('ZADD', prefix .. 'index', 0, user.address)
  else
    redis.call('DEL', key)
    redis.call('HSET', gone, user.address, math.max(versions[i] + 1, tonumber(redis.call('HGET', gone, user.address) or '0')))
    redis.call('ZREM', prefix .. 'index', user.address)
  end
end
if not entry then return 'OK' end

-- The entry.

local key = prefix .. 'e:' .. entry.id
for _, pair in ipairs(entry.drop or {}) do
  if redis.call('HGET', prefix .. pair[1], pair[2]) == entry.id then redis.call('HDEL', prefix .. pair[1], pair[2]) end
end
if entry.leave then redis.call('ZREM', prefix .. 'source:' .. entry.leave, entry.id) end
if entry.value then
  redis.call('SET', key, (tonumber(entry.expect) + 1) .. '\n' .. packed(entry.value))
  redis.call('ZADD', prefix .. 'ids', 0, entry.id)
  for _, pair in ipairs(entry.take or {}) do redis.call('HSET', prefix .. pair[1], pair[2], entry.id) end
  if entry.picture == 0 then redis.call('DEL', prefix .. 'photo:' .. entry.id)
  elseif entry.picture then redis.call('SET', prefix .. 'photo:' .. entry.id, packed(entry.picture)) end
  if entry.join then redis.call('ZADD', prefix .. 'source:' .. entry.join, 0, entry.id) end
else
  redis.call('DEL', key, prefix .. 'photo:' .. entry.id)
  redis.call('ZREM', prefix .. 'ids', entry.id)
end
if entry.event then redis.call('RPUSH', KEYS[2], packed(entry.event)) end
if not index then return 'OK' end

-- The index: the generation in use, and the one that is being made.

local function holders(at, value) return redis.call('ZLEXCOUNT', at, '[' .. value .. '\0', '(' .. value .. '\1') end

local function put(generation)
  local base = prefix .. 'i' .. generation .. ':'
  for _, item in ipairs(index.remove or {}) do
    local at = base .. item[1]
    redis.call('ZREM', at, item[2] .. '\0' .. index.old)
    if #item[3] > 0 and holders(at, item[2]) == 0 then
      for _, gram in ipairs(item[3]) do redis.call('SREM', at .. ':' .. gram, item[2]) end
    end
  end
  for _, item in ipairs(index.add or {}) do
    local at = base .. item[1]
    if #item[3] > 0 and holders(at, item[2]) == 0 then
      for _, gram in ipairs(item[3]) do redis.call('SADD', at .. ':' .. gram, item[2]) end
    end
    redis.call('ZADD', at, 0, item[2] .. '\0' .. index.new)
  end
  if index.old ~= index.new then
    if index.old ~= '' then redis.call('ZREM', base .. 'm', index.old) end
    if index.new ~= '' then redis.call('ZADD', base .. 'm', 0, index.new) end
  end
end

local generations = redis.call('HMGET', prefix .. 'generations', 'current', 'building')
put(generations[1] or '1')
if generations[2] and generations[2] ~= '0' then put(generations[2]) end
return 'OK'

-- Adds an entry to the generation of the index that is being made, unless the entry was changed since it was read.
--
-- KEYS  1 generations
-- ARGV  1 prefix of all keys   2 generation   3 UUID of the entry   4 version that was read   5 { new, add } as JSON
-- Returns "OK", "GONE" (the entry), "CHANGED", or "ANOTHER" when this generation is not being made.

local prefix, generation = ARGV[1], ARGV[2]
if redis.call('HGET', KEYS[1], 'building') ~= generation then return 'ANOTHER' end
local kept = redis.call('GET', prefix .. 'e:' .. ARGV[3])
if not kept then return 'GONE' end
if string.match(kept, '^%d+') ~= ARGV[4] then return 'CHANGED' end
local doc, base = cjson.decode(ARGV[5]), prefix .. 'i' .. generation .. ':'
for _, item in ipairs(doc.add) do
  local at = base .. item[1]
  for _, gram in ipairs(item[3]) do redis.call('SADD', at .. ':' .. gram, item[2]) end
  redis.call('ZADD', at, 0, item[2] .. '\0' .. doc.new)
end
redis.call('ZADD', base .. 'm', 0, doc.new)
return 'OK'

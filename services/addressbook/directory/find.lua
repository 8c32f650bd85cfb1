-- Members of the search index that may fit stages of a search, in no order. Changes nothing.
--
-- KEYS  1 generations
-- ARGV  1 prefix of all keys   2 what is looked for, as JSON: { most, few, enough, stages }
-- Returns for each stage in turn { "all" } when it would be more than `most`, and everybody has to be looked at;
-- { "whole", member, entry, ... } when they are at most `few`; { "part", member, entry, ... }, the first in their order, of
-- those whose names begin with a text; else { "members", member, ... }. Stages behind `enough` members are left out.
--
-- stage  a member has to have all lookups of any of these; a lookup is { family, match, values, grams (of each value) }.
-- Only the lookup of a few is read, and the others beside it as long as they are few as well: who asks looks at what is found.

local prefix, doc = ARGV[1], cjson.decode(ARGV[2])
local generation = redis.call('HGET', KEYS[1], 'current') or '1'
local base = prefix .. 'i' .. generation .. ':'
local WORDS = 2000

local function range(family, match, value)
  if family == 'n' then return {base .. 'm', value == '' and '-' or '[' .. value, value == '' and '+' or '[' .. value .. '\255'} end
  if match == 'equal' then return {base .. family, '[' .. value .. '\0', '(' .. value .. '\1'} end
  return {base .. family, '[' .. value, '[' .. value .. '\255'}
end

local function few(keys)
  local arguments = {#keys, unpack(keys)}
  arguments[#arguments + 1], arguments[#arguments + 2] = 'LIMIT', WORDS + 1
  return redis.call('SINTERCARD', unpack(arguments))
end

-- The ranges of a lookup and how many are in them at most; nil for too many.
local function ranges(lookup)
  local found, count = {}, 0
  local function add(at)
    local some = redis.call('ZLEXCOUNT', at[1], at[2], at[3])
    if some > 0 then
      count = count + some
      found[#found + 1] = at
    end
  end
  for i, value in ipairs(lookup.values) do
    local grams = lookup.grams[i] or {}
    if lookup.match ~= 'infix' or #grams == 0 then
      add(range(lookup.family, lookup.match == 'equal' and 'equal' or 'prefix', value))
    else
      local keys = {}
      for j, gram in ipairs(grams) do keys[j] = base .. lookup.family .. ':' .. gram end
      if few(keys) > WORDS then return nil end
      for _, word in ipairs(redis.call('SINTER', unpack(keys))) do
        if string.find(word, value, 1, true) then add(range(lookup.family, 'equal', word)) end
      end
    end
  end
  return found, count
end

local function members(found)
  local set = {}
  for _, at in ipairs(found) do
    for _, item in ipairs(redis.call('ZRANGE', at[1], at[2], at[3], 'BYLEX')) do
      local split = at[1] == base .. 'm' and 0 or string.find(item, '%z')
      set[string.sub(item, split + 1)] = true
    end
  end
  return set
end

-- Members with their entries.
local function with_entries(kind, found)
  local out, keys = {kind}, {}
  for i, member in ipairs(found) do keys[i] = prefix .. 'e:' .. string.sub(member, -32) end
  local entries = #keys > 0 and redis.call('MGET', unpack(keys)) or {}
  for i, member in ipairs(found) do
    out[#out + 1] = member
    out[#out + 1] = entries[i] or ''
  end
  return out
end

local function look(any_of)
  local only = #any_of == 1 and #any_of[1] == 1 and any_of[1][1]
  if only and only.family == 'n' and #only.values == 1 then
    local at = range('n', 'prefix', only.values[1])
    local found = redis.call('ZRANGE', at[1], at[2], at[3], 'BYLEX', 'LIMIT', 0, doc.few)
    return with_entries(#found < doc.few and 'whole' or 'part', found), #found
  end
  local all = {}
  for _, lookups in ipairs(any_of) do
    local found = {}
    for _, lookup in ipairs(lookups) do
      local some, count = ranges(lookup)
      if some then found[#found + 1] = {some, count} end
    end
    table.sort(found, function(a, b) return a[2] < b[2] end)
    if #found == 0 or found[1][2] > doc.most then return {'all'}, doc.most end
    local set = members(found[1][1])
    for i = 2, #found do
      if found[i][2] <= doc.most and found[i][2] <= 16 * found[1][2] + 256 then
        local other = members(found[i][1])
        for member in pairs(set) do if not other[member] then set[member] = nil end end
      end
    end
    for member in pairs(set) do all[member] = true end
  end
  local list = {}
  for member in pairs(all) do list[#list + 1] = member end
  if #list <= doc.few then return with_entries('whole', list), #list end
  table.insert(list, 1, 'members')
  return list, #list
end

local out, seen = {}, 0
for _, stage in ipairs(doc.stages) do
  if seen >= doc.enough then break end
  local reply, count = look(stage)
  out[#out + 1] = reply
  seen = seen + count
end
return out

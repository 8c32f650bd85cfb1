-- Which generation of the search index is made, and which is in use.
--
-- KEYS  1 generations
-- ARGV  1 "begin"   Returns the generation to make: one that was begun and is not in use, or else a new one.
-- ARGV  1 "use"   2 generation   3 form   Puts the generation that is made into use; what was in use is to be removed.
--       Returns 1, or 0 when another is made, or none: somebody else has done it.

local found = redis.call('HMGET', KEYS[1], 'current', 'building')
local current, building = tonumber(found[1] or '1'), tonumber(found[2] or '0')
if ARGV[1] == 'begin' then
  if building == 0 then
    building = current + 1
    redis.call('HSET', KEYS[1], 'building', building)
  end
  return building
end
if building == 0 or building ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'current', building, 'form', ARGV[3], 'building', 0, 'removing', current)
return 1

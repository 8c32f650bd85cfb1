-- Forgets names and files that no rule has any more, unless a rule was changed since they were looked at.
--
-- KEYS  1 names of files   2 files   3 number of changes
-- ARGV  1 number of changes then   2 how many names follow   3... names, then checksums
-- Returns 1, or 0 when a rule was changed.

if (redis.call('GET', KEYS[3]) or '0') ~= ARGV[1] then return 0 end
local names = tonumber(ARGV[2])
for index = 3, #ARGV do
  redis.call('HDEL', index <= 2 + names and KEYS[1] or KEYS[2], ARGV[index])
end
return 1

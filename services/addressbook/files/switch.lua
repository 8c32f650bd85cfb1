-- Switches from one set of files to another, for the process that holds the lease and read the set that is there.
--
-- KEYS  1 manifest   2 lease   3 registry of blobs
-- ARGV  1 token of the holder of the lease   2 version expected (0: there is no set)   3 packed manifest
--       4 now (ms)   5... blobs that are referred to no more
-- Returns the new version, 0 when the set is another by now, or -1 when the lease was lost.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or '0')
if version ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'v', version + 1, 'd', ARGV[3])
-- Who reads one of them goes on for a while.
for index = 5, #ARGV do redis.call('ZADD', KEYS[3], ARGV[4], ARGV[index]) end
return version + 1

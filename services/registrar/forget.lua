-- Removes a front end whose bindings were swept, unless its lease was renewed meanwhile.
--
-- KEYS  1 leases   2 addresses   3 first connections
-- ARGV  1 edge uid   2 latest end of lease (ms) that is long ago
-- Returns 1 when it was removed.

local ended = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not ended or tonumber(ended) > tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
return 1

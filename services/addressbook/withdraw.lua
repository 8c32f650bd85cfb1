-- Forgets certificates of a user. The user counts as changed, so that what was allowed before allows no new certificate.
--
-- KEYS  1 user   2 certificates   3 outbox
-- ARGV  1 beginning of the digests ("": all)   2 event
-- Returns how many were forgotten, or -1 when there is no such user.

if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
local count = 0
for _, digest in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.sub(digest, 1, #ARGV[1]) == ARGV[1] then
    redis.call('HDEL', KEYS[2], digest)
    count = count + 1
  end
end
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('RPUSH', KEYS[3], ARGV[2])
return count

-- Keeps a certificate of a user, in place of the one of the same device, of expired ones, and of the oldest when they are many.
--
-- KEYS  1 user   2 certificates: digest -> "<expires ms> <issued ms> <serial> <device>"
-- ARGV  1 version of the user   2 digest   3 expires ms   4 issued ms   5 serial   6 device   7 most certificates
-- Returns "OK", "ABSENT" or "CONFLICT".

local version = redis.call('HGET', KEYS[1], 'version')
if not version then return 'ABSENT' end
if version ~= ARGV[1] then return 'CONFLICT' end
local last, kept = tonumber(ARGV[3]), {}
local entries = redis.call('HGETALL', KEYS[2])
for i = 1, #entries, 2 do
  local expires, issued, device = string.match(entries[i + 1], '^(%d+) (%d+) %S+ (.*)$')
  if tonumber(expires) <= tonumber(ARGV[4]) or device == ARGV[6] then
    redis.call('HDEL', KEYS[2], entries[i])
  else
    last = math.max(last, tonumber(expires))
    kept[#kept + 1] = {tonumber(issued), entries[i]}
  end
end
table.sort(kept, function(a, b) return a[1] < b[1] end)
for i = 1, #kept + 1 - tonumber(ARGV[7]) do redis.call('HDEL', KEYS[2], kept[i][2]) end
redis.call('HSET', KEYS[2], ARGV[2], string.format('%s %s %s %s', ARGV[3], ARGV[4], ARGV[5], ARGV[6]))
redis.call('PEXPIRE', KEYS[2], string.format('%d', last - tonumber(ARGV[4])))
return 'OK'

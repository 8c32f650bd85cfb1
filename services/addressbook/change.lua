-- Creates, changes or deletes a user; logins are unique among all users.
--
-- KEYS  1 user   2 logins   3 index   4 outbox   5 certificates
-- ARGV  1 address   2 version expected ("0": must not exist, "*": any)   3 packed user ("" deletes)
--       4 sealed credentials ("=": keep)   5 event   6 logins of the user after the change, separated by \n
--       7 "1": certificates end
-- Returns "OK", "EXISTS", "ABSENT", "CONFLICT" or "LOGIN <name>".

local version = redis.call('HGET', KEYS[1], 'version')
if ARGV[2] == '0' and version then return 'EXISTS' end
if ARGV[2] ~= '0' and not version then return 'ABSENT' end
if ARGV[2] ~= '0' and ARGV[2] ~= '*' and ARGV[2] ~= version then return 'CONFLICT' end
local address = ARGV[1]
for login in string.gmatch(ARGV[6], '[^\n]+') do
  local owner = redis.call('HGET', KEYS[2], login)
  if owner and owner ~= address then return 'LOGIN ' .. login end
end
local before = redis.call('HGET', KEYS[1], 'logins')
if before then
  for login in string.gmatch(before, '[^\n]+') do redis.call('HDEL', KEYS[2], login) end
end
redis.call('RPUSH', KEYS[4], ARGV[5])
if ARGV[7] == '1' then redis.call('DEL', KEYS[5]) end
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[3], address)
  return 'OK'
end
for login in string.gmatch(ARGV[6], '[^\n]+') do redis.call('HSET', KEYS[2], login, address) end
redis.call('HSET', KEYS[1], 'user', ARGV[3], 'version', (version or 0) + 1, 'logins', ARGV[6])
if ARGV[4] ~= '=' then redis.call('HSET', KEYS[1], 'credentials', ARGV[4]) end
redis.call('ZADD', KEYS[3], 0, address)
return 'OK'

-- Puts a message at the end of a conference's queue.
--
-- KEYS  1 queue   2 numbers   3 conferences that wait
-- ARGV  1 message without its number   2 name of the conference   3 most that may wait   4 life of the keys in seconds
-- Returns the number of the message, or 0 when too many wait.

if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
local number = redis.call('HINCRBY', KEYS[2], 'message', 1)
redis.call('ZADD', KEYS[1], number, number .. '\n' .. ARGV[1])
redis.call('SADD', KEYS[3], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return number

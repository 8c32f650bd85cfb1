-- Takes a message out of a mailbox, and writes the event of that in the same step.
--
-- KEYS  1 mailbox   2 its size   3 deadlines   4 outbox
-- ARGV  1 id, with which the entry begins   2 member of the deadlines   3 event; "": none
-- Returns 1, or 0 when it was not there.

local id, found = ARGV[1], nil
local head = redis.call('LINDEX', KEYS[1], 0)
if head and string.sub(head, 1, #id) == id then
  found = head
  redis.call('LPOP', KEYS[1])
else
  for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 1, -1)) do
    if string.sub(entry, 1, #id) == id then
      found = entry
      redis.call('LREM', KEYS[1], 1, entry)
      break
    end
  end
end
if not found then return 0 end
if redis.call('LLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  redis.call('ZREM', KEYS[3], ARGV[2])
else
  redis.call('DECRBY', KEYS[2], #found)
end
if ARGV[3] ~= '' then redis.call('RPUSH', KEYS[4], ARGV[3]) end
return 1

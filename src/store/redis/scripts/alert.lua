-- Forgets a device's dead token for alerts, unless the device was registered since.
-- KEYS: the user's devices. ARGV: device id, alert token, since. Answers 1 where it was forgotten.
local value = redis.call('HGET', KEYS[1], ARGV[1])
local words = value and read(value)
if not words or words[9] ~= ARGV[2] or tonumber(words[2]) > tonumber(ARGV[3]) then return 0 end
words[8], words[9], words[10] = '', '', ''
redis.call('HSET', KEYS[1], ARGV[1], table.concat(words, ' '))
return 1

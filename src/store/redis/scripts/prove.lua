-- Keeps which environment a device's token was seen to work in.
-- KEYS: the user's devices. ARGV: device id, provider, token, environment. Answers 1 where it still has that token.
local value = redis.call('HGET', KEYS[1], ARGV[1])
local words = value and read(value)
if not words or not has_token(words, ARGV[2], ARGV[3]) then return 0 end
words[5] = words[5]:sub(1, 3) .. ARGV[4]
redis.call('HSET', KEYS[1], ARGV[1], table.concat(words, ' '))
return 1

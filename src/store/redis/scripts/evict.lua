-- Takes a token from a user, unless he registered it again after the stamp.
-- KEYS: the user's devices. ARGV: provider, token, stamp. Answers how many devices went.
local all, gone = redis.call('HGETALL', KEYS[1]), 0
for at = 1, #all, 2 do
  local words = read(all[at + 1])
  if words and has_token(words, ARGV[1], ARGV[2]) and tonumber(words[3]) <= tonumber(ARGV[3]) then
    gone = gone + redis.call('HDEL', KEYS[1], all[at])
  end
end
return gone

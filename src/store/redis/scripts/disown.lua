-- Takes users from a token's owners, unless they became that again after the stamp.
-- KEYS: the token's owners. ARGV: user, stamp, and so on. Answers how many went.
local gone = 0
for at = 1, #ARGV, 2 do
  local value = redis.call('HGET', KEYS[1], ARGV[at])
  if value and tonumber(value:match('^(%d+)')) <= tonumber(ARGV[at + 1]) then
    gone = gone + redis.call('HDEL', KEYS[1], ARGV[at])
  end
end
return gone

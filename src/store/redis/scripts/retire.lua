-- Forgets a user's device whose token is dead, unless he has registered since.
-- KEYS: the user's devices, the notes of his bucket. ARGV: user, provider, token, since.
-- Answers how many went, how many with this token stay, and the last stamp of those that went.
local all, gone, stay, last = redis.call('HGETALL', KEYS[1]), 0, 0, 0
for at = 1, #all, 2 do
  local words = read(all[at + 1])
  if words and has_token(words, ARGV[2], ARGV[3]) then
    if tonumber(words[2]) <= tonumber(ARGV[4]) then
      redis.call('HDEL', KEYS[1], all[at])
      to_drop(KEYS[2], ARGV[1], words)
      gone, last = gone + 1, math.max(last, tonumber(words[3]))
    else
      stay = stay + 1
    end
  end
end
return {gone, stay, string.format('%.0f', last)}

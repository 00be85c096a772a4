-- Forgets a user's device, or all.
-- KEYS: the user's devices, the notes of his bucket. ARGV: user, and the device id unless it is all.
-- Answers how many went, and of each: provider, token, stamp.
local all, answer = redis.call('HGETALL', KEYS[1]), {0}
for at = 1, #all, 2 do
  if not ARGV[2] or all[at] == ARGV[2] then
    redis.call('HDEL', KEYS[1], all[at])
    answer[1] = answer[1] + 1
    local words = read(all[at + 1])
    if words then
      to_drop(KEYS[2], ARGV[1], words)
      for _, word in ipairs({words[5]:sub(2, 2), words[6], words[3]}) do answer[#answer + 1] = word end
    end
  end
end
return answer

-- Takes phones that are due, so that nobody else takes them, and plans to ask them once more.
-- KEYS: phones by when they are due, what is known of them. ARGV: now, pause until they are asked again, at most so many, so often.
-- Answers of each: phone, when it was due, end of its registration, how often it was asked.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local answer = {}
for at = 1, #due, 2 do
  local known = redis.call('HGET', KEYS[2], due[at]) or '0 0'
  local ends, tries = known:match('^(%-?%d+) (%d+)$')
  local now = tonumber(ARGV[1])
  if tries + 1 >= tonumber(ARGV[4]) or tonumber(ends) <= now then
    redis.call('ZREM', KEYS[1], due[at])
    redis.call('HDEL', KEYS[2], due[at])
  else
    redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), due[at])
    redis.call('HSET', KEYS[2], due[at], ends .. ' ' .. string.format('%.0f', tries + 1))
  end
  for _, word in ipairs({due[at], due[at + 1], ends, tries}) do answer[#answer + 1] = word end
end
return answer

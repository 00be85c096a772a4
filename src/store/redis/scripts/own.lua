-- Makes a user an owner of a token.
-- KEYS: the token's owners, each with stamp, time of registration and its end (- is never).
-- ARGV: user, stamp, registered, expires, owners that the token may have, time left for the key (ms, '' is for good), now, 1 where
--   nobody may have registered it later.
-- Answers: 1 and of each owner who has expired or is one too many: user, stamp | 0 where something later was done already |
--   3 somebody has registered it later; nothing was changed then.
local function read(user, value)
  local stamp, registered, expires = value:match('^(%d+) (%-?%d+) (%S+)$')
  return {user, tonumber(stamp), tonumber(registered), tonumber(expires) or math.huge}
end
local all, others, answer = redis.call('HGETALL', KEYS[1]), {}, {1}
local function leaves(owner)
  answer[#answer + 1] = owner[1]
  answer[#answer + 1] = string.format('%.0f', owner[2])
end
local expired = {}
for at = 1, #all, 2 do
  local owner = read(all[at], all[at + 1])
  if owner[1] == ARGV[1] then
    if owner[2] > tonumber(ARGV[2]) then return {0} end
  elseif owner[4] <= tonumber(ARGV[7]) then
    expired[#expired + 1] = owner
  else
    others[#others + 1] = owner
  end
end
table.sort(others, function(a, b)
  if a[3] ~= b[3] then return a[3] > b[3] end
  return a[1] < b[1]
end)
if ARGV[8] == '1' and others[1] and others[1][3] > tonumber(ARGV[3]) then return {3} end
local left = redis.call('PTTL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
if ARGV[6] == '' then
  redis.call('PERSIST', KEYS[1])
elseif #others == 0 or (left >= 0 and left < tonumber(ARGV[6])) then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
end
for _, owner in ipairs(expired) do leaves(owner) end
for at = tonumber(ARGV[5]), #others do leaves(others[at]) end
return answer

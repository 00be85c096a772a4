-- Stores a device of a user, all of it or nothing.
-- KEYS: the user's devices, the notes of his bucket.
-- ARGV: user, device id, provider, token, platform, environment, registered, expires, app, alert provider, alert token, alert app,
--   now (what has expired by then is forgotten), clock, most devices, owners of a token, 1 where nothing later may be replaced.
-- Answers: 0 the user has too many devices | 3 something later is there | 1 new or 2 renewed; then stamp, registered, time left for
--   the token's key (ms, '' is for good), and of each token that has lost this user: provider, token, stamp.
local user, id, provider, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local registered, expires, now, clock = tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[13]), tonumber(ARGV[14])
local all, old, gone, count, newest, left = redis.call('HGETALL', KEYS[1]), nil, {}, 0, 0, 0
local function keep(until_ms)
  if until_ms == '' then left = math.huge else left = math.max(left, tonumber(until_ms) - clock) end
end
for at = 1, #all, 2 do
  local words = read(all[at + 1])
  if not words then
    if all[at] ~= id then count = count + 1; left = math.huge end
  else
    newest = math.max(newest, tonumber(words[3]))
    local same = has_token(words, provider, token)
    local later = ARGV[17] == '1' and (same or all[at] == id) and tonumber(words[2]) > registered
    if later then return {3} end
    local expired = words[4] ~= '' and tonumber(words[4]) <= now
    if all[at] == id and not expired then
      old = words
    elseif same or expired or all[at] == id then
      gone[#gone + 1] = {all[at], words, same}
    else
      count = count + 1
      keep(words[4])
    end
  end
end
if not old and count >= tonumber(ARGV[15]) then return {0} end
-- Stamps of a user only grow: what is done late in a token's slot knows by them that it is late.
local time = redis.call('TIME')
local stamp = string.format('%.0f', math.max(time[1] * 1000000 + time[2], newest + 1))
local proven = '-'
if old then
  registered = math.max(registered, tonumber(old[2]))
  if has_token(old, provider, token) then proven = old[5]:sub(4, 4) else gone[#gone + 1] = {nil, old, false} end
end
registered = string.format('%.0f', registered)
local kind = ARGV[5] .. provider .. ARGV[6] .. proven
local answer = {old and 2 or 1, stamp, registered, ''}
for _, lost in ipairs(gone) do
  if lost[1] then redis.call('HDEL', KEYS[1], lost[1]) end
  if not lost[3] then
    to_drop(KEYS[2], user, lost[2])
    for _, word in ipairs({lost[2][5]:sub(2, 2), lost[2][6], lost[2][3]}) do answer[#answer + 1] = word end
  end
end
local words = {'1', registered, stamp, expires, kind, token, ARGV[9], ARGV[10], ARGV[11], ARGV[12]}
redis.call('HSET', KEYS[1], id, table.concat(words, ' '))
redis.call('HSET', KEYS[2], note_field(user, provider, token), stamp .. ' ' .. ARGV[16] .. ' ' .. registered)
-- The engine forgets a user whose last device has expired, a day later: clocks differ.
local function a_day_after(ms) return string.format('%.0f', math.max(ms, 0) + 86400000) end
keep(expires)
if left == math.huge then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], a_day_after(left))
end
if expires ~= '' then answer[4] = a_day_after(tonumber(expires) - clock) end
return answer

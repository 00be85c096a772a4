-- Stands before every script that reads devices. A device's value is ten words with one space between them, an absent word is
-- empty: version, registered (ms), stamp (us), expires (ms), platform and provider and environment and proven environment (a
-- letter each), token, app, provider of the alert token, alert token, app of the alert token.
local function read(value)
  local words = {}
  for word in (value .. ' '):gmatch('([^ ]*) ') do words[#words + 1] = word end
  if words[1] ~= '1' then return nil end
  return words
end
local function has_token(words, provider, token)
  return words[6] == token and words[5]:sub(2, 2) == provider
end
-- What is to be done in the slot of a token is noted beside the user, until it is done.
local function note_field(user, provider, token) return user .. ' ' .. provider .. ' ' .. token end
local function to_drop(notes, user, words)
  redis.call('HSET', notes, note_field(user, words[5]:sub(2, 2), words[6]), words[3] .. ' 0 0')
end

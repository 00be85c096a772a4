-- Strikes out a note that is done, if it is still this one.
-- KEYS: the notes of a bucket. ARGV: field, value. Answers 1 where it was.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])

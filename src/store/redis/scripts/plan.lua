-- Plans when a phone is to be asked to register again.
-- KEYS: phones by when they are due, what is known of them. ARGV: phone, due, end of its registration.
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. ' 0')

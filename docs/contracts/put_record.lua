-- The versioned write of a route (docs/contracts/redis.md): nothing happens
-- when what is stored is not lower. KEYS: hash. ARGV: field, version, record, channel.
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  local ok, record = pcall(cjson.decode, old)
  if ok and type(record) == 'table' and (tonumber(record.version) or -1) >= tonumber(ARGV[2]) then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[3])
return 1

-- Every operation of the store, each atomic. ARGV: prefix, operation, its arguments. Nothing is written before all
-- that can fail has been checked: Redis does not roll a script back.
local P, op, at = ARGV[1], ARGV[2], 3
local function arg() at = at + 1; return ARGV[at - 1] end
local function call(...) return redis.call(...) end
local function nextver() return string.format('%.0f', call('INCR', P .. 'seq') + 1) end
local function get(dir, name)
	local raw = call('HGET', P .. 'h:' .. dir, name)
	if not raw then return nil end
	local kind, version, id, value = string.match(raw, '^([df])(%d+):(%d*):()')
	return {dir = kind == 'd', version = version, id = id, value = string.sub(raw, value), raw = raw}
end
local function above(path)
	local dir, rest = '1', string.sub(path, 2)
	while true do
		local i = string.find(rest, '/', 1, true)
		if not i then return dir, rest end
		local r = get(dir, string.sub(rest, 1, i - 1))
		if not r then return nil, 'noparent' end
		if not r.dir then return nil, 'notdir' end
		dir, rest = r.id, string.sub(rest, i + 1)
	end
end
local function look(path)
	local dir, name = above(path)
	if not dir then return nil end
	return get(dir, name), dir, name
end
local function put(dir, name, r)
	call('HSET', P .. 'h:' .. dir, name, (r.dir and 'd' or 'f') .. r.version .. ':' .. r.id .. ':' .. r.value)
	call('ZADD', P .. 'n:' .. dir, 0, name)
end
local function del(dir, name)
	call('ZREM', P .. 'n:' .. dir, name)
	return call('HDEL', P .. 'h:' .. dir, name)
end
local function drop(fid)
	local n = call('INCR', P .. 'dropseq')
	call('ZADD', P .. 'drops', n, string.format('%.0f', n) .. ':' .. fid)
end
local function free(id, i)
	local text = call('HGET', P .. 'claims', id)
	if not text then return nil end
	local c = cjson.decode(text)
	if i < 0 or i >= c.Count or call('GETBIT', P .. 'used:' .. id, i) == 1 then return nil end
	return c
end
local function fid(c, i) return i == 0 and c.FID or (c.FID .. '_' .. string.format('%.0f', i)) end
-- effects reads the effects and returns what applies them, nil if a claim is lost.
local function effects()
	local drops, uses, seen = {}, {}, {}
	for i = 1, tonumber(arg()) do drops[i] = arg() end
	for n = 1, tonumber(arg()) do
		local id, i = arg(), tonumber(arg())
		local key = i .. ':' .. id
		if seen[key] or not free(id, i) then return nil end
		seen[key] = true
		uses[n] = {id, i}
	end
	return function()
		for _, u in ipairs(uses) do call('SETBIT', P .. 'used:' .. u[1], u[2], 1) end
		for _, f in ipairs(drops) do drop(f) end
	end
end

if op == 'find' then
	local r = look(arg())
	if not r then return {'notfound'} end
	return {'', r.raw}
elseif op == 'list' then
	local path, min, max, limit = arg(), arg(), arg(), arg()
	local id = '1'
	if path ~= '/' then
		local r = look(path)
		if not r then return {'notfound'} end
		if not r.dir then return {'notdir'} end
		id = r.id
	end
	local out = {''}
	for _, name in ipairs(call('ZRANGEBYLEX', P .. 'n:' .. id, min, max, 'LIMIT', 0, limit)) do
		out[#out + 1] = name
		out[#out + 1] = call('HGET', P .. 'h:' .. id, name)
	end
	return out
elseif op == 'put' then
	local path, was, isdir, value = arg(), arg(), arg() == '1', arg()
	local dir, name = above(path)
	if not dir then return {name} end
	local old = get(dir, name)
	if (old and old.version or '0') ~= was then return {'conflict'} end
	if old and old.dir ~= isdir then return {'isdir'} end
	local apply = effects()
	if not apply then return {'lost'} end
	apply()
	local v = nextver()
	put(dir, name, {dir = isdir, version = v, id = isdir and (old and old.id or v) or '', value = value})
	return {'', v}
elseif op == 'remove' or op == 'tree' then
	local path, was = arg(), arg()
	local r, dir, name = look(path)
	if not r then return {'notfound'} end
	if op == 'tree' and not r.dir then return {'notdir'} end
	if r.version ~= was then return {'conflict'} end
	if op == 'remove' and r.dir and call('HLEN', P .. 'h:' .. r.id) > 0 then return {'notempty'} end
	local apply = effects()
	if not apply then return {'lost'} end
	apply()
	del(dir, name)
	if op == 'tree' then call('SADD', P .. 'removed', r.id) end
	return {''}
elseif op == 'rename' then
	local from, was, to, target, inside, keep, value = arg(), arg(), arg(), arg(), arg(), arg(), arg()
	local r, fromdir, fromname = look(from)
	if not r then return {'notfound'} end
	if r.version ~= was then return {'conflict'} end
	if r.dir and inside == '1' then return {'itself'} end
	local dir, name = above(to)
	if not dir then return {name} end
	local old = get(dir, name)
	if (old and old.version or '0') ~= target then return {'conflict'} end
	if old and (old.dir or r.dir) then return {'isdir'} end
	local apply = effects()
	if not apply then return {'lost'} end
	apply()
	call('INCR', P .. 'moves')
	if keep == '0' then r.value = value end
	r.version = nextver()
	del(fromdir, fromname)
	put(dir, name, r)
	return {'', r.version}
elseif op == 'peek' then
	local id = call('SRANDMEMBER', P .. 'removed')
	if not id then return {''} end
	local out = {'', id}
	for _, name in ipairs(call('ZRANGE', P .. 'n:' .. id, 0, tonumber(arg()) - 1)) do
		out[#out + 1] = name
		out[#out + 1] = call('HGET', P .. 'h:' .. id, name)
	end
	return out
elseif op == 'sweep' then
	local id, gone = arg(), 0
	while at <= #ARGV do
		local name, n, fids = arg(), tonumber(arg()), {}
		for i = 1, n do fids[i] = arg() end
		local r = get(id, name)
		if r then
			if r.dir then call('SADD', P .. 'removed', r.id) end
			for _, f in ipairs(fids) do drop(f) end
			gone = gone + del(id, name)
		end
	end
	if call('HLEN', P .. 'h:' .. id) == 0 then call('SREM', P .. 'removed', id) end
	return {'', gone, call('SCARD', P .. 'removed')}
elseif op == 'adddrops' then
	while at <= #ARGV do drop(arg()) end
	return {''}
elseif op == 'dropped' then
	while at <= #ARGV do
		local n = arg()
		call('ZREMRANGEBYSCORE', P .. 'drops', n, n)
	end
	return {''}
elseif op == 'addclaim' then
	if call('HSETNX', P .. 'claims', arg(), arg()) == 0 then return {'exists'} end
	return {''}
elseif op == 'renew' then
	local owner, until_ = arg(), arg()
	local all, new = call('HGETALL', P .. 'claims'), {}
	for i = 1, #all, 2 do
		local c = cjson.decode(all[i + 1])
		if c.Owner == owner then
			c.Until = until_
			new[all[i]] = cjson.encode(c)
		end
	end
	for id, text in pairs(new) do call('HSET', P .. 'claims', id, text) end
	return {''}
elseif op == 'abandon' then
	while at <= #ARGV do
		local id, i = arg(), tonumber(arg())
		local c = free(id, i)
		if c then
			call('SETBIT', P .. 'used:' .. id, i, 1)
			drop(fid(c, i))
		end
	end
	return {''}
elseif op == 'release' then
	local id, first = arg(), tonumber(arg())
	local text = call('HGET', P .. 'claims', id)
	if not text then return {''} end
	local c = cjson.decode(text)
	for i = 0, math.min(first, c.Count) - 1 do
		if call('GETBIT', P .. 'used:' .. id, i) == 0 then drop(fid(c, i)) end
	end
	call('HDEL', P .. 'claims', id)
	call('DEL', P .. 'used:' .. id)
	return {''}
elseif op == 'setting' then
	return {'', call('HGET', P .. 'settings', arg()) or ''}
elseif op == 'set' then
	local name, was, value = arg(), arg(), arg()
	local old = call('HGET', P .. 'settings', name)
	if (old and string.match(old, '^%d+') or '0') ~= was then return {'conflict'} end
	local v = nextver()
	call('HSET', P .. 'settings', name, v .. ':' .. value)
	return {'', v}
end
return redis.error_reply('unknown operation')

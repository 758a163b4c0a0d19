-- Everything that settled changes on a server, as one list of steps that are taken in their order.
--
-- A script runs alone, so the list is one transaction. Only a commit can be refused, and it stands first: a list is
-- done as a whole, or nothing of it is. That holds for a server that is out of memory too, because it refuses the
-- first write of a script or none.
--
-- KEYS begins with the keys of the partition: line, held, timers, timer, serial, nothing, and wakes in partition 0; then
-- come those of the instances that the steps name. The keys of instances that are found in the line bear the same hash
-- tag, so they are in the same slot. ARGV begins with the time (or -1: the server's own), the partition, how many acknowledged ids are
-- remembered, and how long a lease lasts. All times are in microseconds.
--
-- The state of a lane (the messages of one instance, `queue`) follows from where it is:
--
--   lane     queue   line   held                     through
--   idle     empty   -      -                        0
--   ready    +       yes    -                        0
--   parked   +       -      when it is ready again   0
--   leased   +       -      when the lease ends      the last leased place
--
-- A message's place grows by one with each message of its lane; that of the queue's first one is `head`. A message
-- that was acknowledged behind one that was not leaves a hole, an empty text, until all before it are gone.

local LINE, HELD, TIMERS, TIMER, SERIAL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PREFIX = string.sub(LINE, 1, -5)
local PARTITION, REMEMBER, LEASE = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local WAKE_AT_ONCE = 100

local call = redis.call
local now = tonumber(ARGV[1])
if now < 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local received, moment_is_new = false, false
local lost, due_elsewhere, handed_out = {}, {}, {}

local function number_of(text)
  return tonumber(text or 0)
end

local function join_line(key)
  call('RPUSH', LINE, key)
end

-- Whoever waits knows the next moment at which there may be something, unless it has become an earlier one.
local function note_moment(agenda, member)
  if call('ZRANGE', agenda, 0, 0)[1] == member then
    moment_is_new = true
  end
end

local function send(key, id, element)
  local queue = PREFIX .. 'queue:' .. key
  local length = call('LLEN', queue)
  local place = (call('HGET', PREFIX .. 'lane:' .. key, 'head') or 1) + length
  if call('ZADD', PREFIX .. 'known:' .. key, 'NX', place, id) == 0 then
    return
  end
  call('RPUSH', queue, element)
  if length == 0 then
    join_line(key)
  end
end

-- An element is ATTEMPTS, a space, the LENGTH of the id, a space, the id, the body.
local function id_of(element)
  local _, behind, length = string.find(element, '^%d+ (%d+) ')
  return string.sub(element, behind + 1, behind + length)
end

-- This hand-out has been one attempt. It is counted at its end: most messages are acknowledged, and never are.
local function end_lease(key, head, through)
  local queue = PREFIX .. 'queue:' .. key
  for index = 0, through - head do
    local element = call('LINDEX', queue, index)
    if element ~= '' then
      local space = string.find(element, ' ', 1, true)
      local attempts = string.format('%d', string.sub(element, 1, space - 1) + 1)
      call('LSET', queue, index, attempts .. string.sub(element, space))
    end
  end
  call('HSET', PREFIX .. 'lane:' .. key, 'through', 0)
end

-- The places that this hand-out still has the lease of; nothing if it was lost: at its deadline, taken over or not.
local function leased(key, token)
  local lane = call('HMGET', PREFIX .. 'lane:' .. key, 'token', 'through', 'head')
  local through = number_of(lane[2])
  if lane[1] ~= token or through == 0 or number_of(call('ZSCORE', HELD, key)) <= now then
    return nil
  end
  return tonumber(lane[3] or 1), through
end

local function forget_old_ids(key, places, head)
  local stride = math.max(1, math.floor(REMEMBER / 4))
  local last = 0
  local is_time = false
  for _, place in ipairs(places) do
    last = math.max(last, place)
    is_time = is_time or place % stride == 0
  end
  if is_time then
    call('ZREMRANGEBYSCORE', PREFIX .. 'known:' .. key, '-inf', math.min(last - REMEMBER, head - 1))
  end
end

local function acknowledge(key, token, places)
  local head, through = leased(key, token)
  if not head then
    return
  end
  local queue = PREFIX .. 'queue:' .. key
  local first = head
  for _, place in ipairs(places) do
    if place == head then
      call('LPOP', queue)
      head = head + 1
    elseif place > head and place <= through then
      call('LSET', queue, place - head, '')
    end
  end
  local next_one = call('LINDEX', queue, 0)
  while next_one == '' do
    call('LPOP', queue)
    head = head + 1
    next_one = call('LINDEX', queue, 0)
  end
  if not next_one or head > through then
    call('HSET', PREFIX .. 'lane:' .. key, 'head', head, 'through', 0)
    call('ZREM', HELD, key)
    if next_one then
      join_line(key)
    end
  elseif head > first then
    call('HSET', PREFIX .. 'lane:' .. key, 'head', head)
  end
  forget_old_ids(key, places, head)
end

local function cancel(id)
  local found = call('HGET', TIMER, id)
  if found then
    call('HDEL', TIMER, id)
    call('ZREM', TIMERS, string.sub(found, 1, 16) .. id)
  end
end

-- The serial number keeps those that are due at the same time in the order in which they were scheduled.
local function schedule(id, due, post)
  cancel(id)
  local serial = string.format('%016.0f', call('INCR', SERIAL))
  call('HSET', TIMER, id, serial .. post)
  call('ZADD', TIMERS, due, serial .. id)
  note_moment(TIMERS, serial .. id)
end

-- A post is the PARTITION of a key, a space, the LENGTH of the key's name, a space, the name, the element.
local function ring()
  for _, member in ipairs(call('ZRANGEBYSCORE', TIMERS, '-inf', now, 'LIMIT', 0, WAKE_AT_ONCE)) do
    local id = string.sub(member, 17)
    local post = string.sub(call('HGET', TIMER, id), 17)
    local _, behind, partition, length = string.find(post, '^(%d+) (%d+) ')
    if partition == PARTITION then
      call('ZREM', TIMERS, member)
      call('HDEL', TIMER, id)
      local element = string.sub(post, behind + length + 1)
      send(string.sub(post, behind + 1, behind + length), id_of(element), element)
    else
      due_elsewhere[#due_elsewhere + 1] = member
      due_elsewhere[#due_elsewhere + 1] = post
    end
  end
end

local function wake()
  for _, key in ipairs(call('ZRANGEBYSCORE', HELD, '-inf', now, 'LIMIT', 0, WAKE_AT_ONCE)) do
    local lane = call('HMGET', PREFIX .. 'lane:' .. key, 'head', 'through')
    call('ZREM', HELD, key)
    if number_of(lane[2]) > 0 then
      end_lease(key, tonumber(lane[1] or 1), tonumber(lane[2]))
    end
    join_line(key)
  end
  ring()
end

local function hand_out(limit)
  wake()
  while limit > 0 do
    local key = call('LPOP', LINE)
    if not key then
      return
    end
    local elements = call('LRANGE', PREFIX .. 'queue:' .. key, 0, limit - 1)
    local lane = PREFIX .. 'lane:' .. key
    local head = number_of(call('HGET', lane, 'head') or 1)
    local token = call('HINCRBY', lane, 'token', 1)
    call('HSET', lane, 'through', head + #elements - 1)
    call('ZADD', HELD, now + LEASE, key)
    for index, element in ipairs(elements) do
      if element ~= '' then
        handed_out[#handed_out + 1] = key
        handed_out[#handed_out + 1] = token
        handed_out[#handed_out + 1] = head + index - 1
        handed_out[#handed_out + 1] = element
      end
    end
    limit = limit - #elements
  end
end

-- A listing is the letter "s" and the status, or nothing for what is not to be listed.
local function list(name, before, after)
  if before ~= '' then
    call('ZREM', PREFIX .. 'status:' .. string.sub(before, 2), name)
  end
  if after ~= '' then
    local status = string.sub(after, 2)
    call('SADD', PREFIX .. 'statuses', status)
    call('ZADD', PREFIX .. 'status:' .. status, 0, name)
  end
end

-- The version that was found, if it is not the one that was expected.
local function commit(key, name, expected, version, listing, record)
  local lane = PREFIX .. 'lane:' .. key
  local found = call('HMGET', lane, 'version', 'listing')
  if (found[1] or '0') ~= expected then
    return found[1] or '0'
  end
  call('SET', PREFIX .. 'record:' .. key, record)
  call('HSET', lane, 'version', version, 'listing', listing)
  if (found[2] or '') ~= listing then
    list(name, found[2] or '', listing)
  end
  return nil
end

-- Each step is called with its place in ARGV, and answers with the place behind its words; a commit also with the
-- version that was found, if that ends everything.
local steps = {
  commit = function(at)
    return at + 7, commit(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
  end,
  delete = function(at)
    local key = ARGV[at + 1]
    local record = ARGV[at + 5] .. string.format('%.6f', now / 1000000) .. ']'
    local found = commit(key, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], '', record)
    if not found then
      call('DEL', PREFIX .. 'dead:' .. key)
    end
    return at + 6, found
  end,
  unbury = function(at)
    call('LTRIM', PREFIX .. 'dead:' .. ARGV[at + 1], ARGV[at + 2], -1)
    return at + 3
  end,
  bury = function(at)
    call('RPUSH', PREFIX .. 'dead:' .. ARGV[at + 1], ARGV[at + 2])
    return at + 3
  end,
  send = function(at)
    send(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    return at + 4
  end,
  schedule = function(at)
    schedule(ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3])
    return at + 4
  end,
  cancel = function(at)
    cancel(ARGV[at + 1])
    return at + 2
  end,
  -- Its message has been sent elsewhere. If it was scheduled anew meanwhile, that is another one.
  rung = function(at)
    local member = ARGV[at + 1]
    local found = call('HGET', TIMER, string.sub(member, 17))
    if found and string.sub(found, 1, 16) == string.sub(member, 1, 16) then
      cancel(string.sub(member, 17))
    end
    return at + 2
  end,
  ack = function(at)
    local places = {}
    for index = 1, ARGV[at + 3] do
      places[index] = tonumber(ARGV[at + 3 + index])
    end
    acknowledge(ARGV[at + 1], ARGV[at + 2], places)
    return at + 4 + #places
  end,
  release = function(at)
    local key, delay = ARGV[at + 1], tonumber(ARGV[at + 3])
    local head, through = leased(key, ARGV[at + 2])
    if head then
      end_lease(key, head, through)
      if delay > 0 then
        call('ZADD', HELD, now + delay, key)
        note_moment(HELD, key)
      else
        call('ZREM', HELD, key)
        join_line(key)
      end
    end
    return at + 4
  end,
  extend = function(at)
    local key = ARGV[at + 1]
    if leased(key, ARGV[at + 2]) then
      call('ZADD', HELD, now + tonumber(ARGV[at + 3]), key)
    else
      lost[#lost + 1] = key
    end
    return at + 4
  end,
  receive = function(at)
    received = true
    hand_out(tonumber(ARGV[at + 1]))
    return at + 2
  end,
}

local at, found = 5, nil
while ARGV[at] do
  at, found = steps[ARGV[at]](at)
  if found then
    return { 'conflict', found }
  end
end

-- Who waits has taken a word from `wakes`, in the slot of partition 0; for the others their caller puts it there.
local is_ready = call('LLEN', LINE) > 0
local must_wake = is_ready or moment_is_new
if PARTITION == '0' then
  if must_wake then
    call('ZADD', PREFIX .. 'wakes', 'NX', now, PARTITION)
  elseif received then
    call('ZREM', PREFIX .. 'wakes', PARTITION)
  end
  must_wake = false
end

local moment = -1
if received and #handed_out == 0 then
  local due = tonumber(call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')[2] or -1)
  local through = tonumber(call('ZRANGE', HELD, 0, 0, 'WITHSCORES')[2] or -1)
  moment = (due < 0 or (through >= 0 and through < due)) and through or due
end
return { 'done', now, moment, must_wake and 1 or 0, lost, due_elsewhere, handed_out }

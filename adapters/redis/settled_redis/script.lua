-- Everything that settled changes on a server, as one list of steps that are taken in their order.
--
-- A script runs alone, so the list is one transaction. Only a commit can be refused, for its version or for the lease
-- of its holder, and it stands first: a list is done as a whole, or nothing of it is. That holds for a server that is
-- out of memory too, because it refuses the first write of a script or none.
--
-- KEYS begins with the keys of the partition: line, held, timers, timer, serial, nothing, and wakes in partition 0; then
-- come those of the instances that the steps name. The keys of instances that are found in the line bear the same hash
-- tag, so they are in the same slot. ARGV begins with the time (or -1: the server's own), the partition, how many
-- acknowledged ids are remembered, and how long a lease lasts. All times are in microseconds.
--
-- The state of a lane (the messages of one instance, `queue`) follows from where it is:
--
--   lane     queue   line   held                     through
--   idle     empty   -      -                        0
--   ready    +       yes    -                        0
--   parked   +       -      when it is ready again   0
--   leased   +       -      when the lease ends      the last leased place
--
-- A message's place grows by one with each message of its lane; that of the queue's first one is `head`. Places never
-- begin again, so a lane is kept for good. A message that was acknowledged behind one that was not leaves a hole, an
-- empty text, until all before it are gone.
--
-- A command costs more than anything else here, so what several steps need of a lane is read once and written once, at
-- the end; and a lane that joins the line only to be handed out by the same script is never written to it. Numbers are
-- given to commands as they are, which is exact; Lua's own conversion to a text is not.

local LINE, HELD, TIMERS, TIMER, SERIAL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PREFIX = string.sub(LINE, 1, -5)
local PARTITION, REMEMBER, LEASE = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local WAKE_AT_ONCE = 100

local call = redis.call
local has_looked, line_is_empty, moment_is_new = false, false, false
local lost, due_elsewhere, handed_out = {}, {}, {}
local lanes, changed = {}, {}

-- Those that join the line, and how many of them were taken from it again.
local joining, taken = {}, 0

local this_moment
local function now()
  if not this_moment then
    this_moment = tonumber(ARGV[1])
    if this_moment < 0 then
      local time = call('TIME')
      this_moment = time[1] * 1000000 + time[2]
    end
  end
  return this_moment
end

local function lane_of(key)
  local lane = lanes[key]
  if not lane then
    local found = call('HMGET', PREFIX .. 'lane:' .. key, 'version', 'listing', 'head', 'token', 'through', 'ends')
    lane = {
      version = found[1] or '0',
      listing = found[2] or '',
      head = tonumber(found[3] or 1),
      token = tonumber(found[4] or 0),
      through = tonumber(found[5] or 0),
      ends = tonumber(found[6] or 0),
      queue = PREFIX .. 'queue:' .. key,
    }
    lanes[key] = lane
  end
  return lane
end

-- `lane` is to be written: its numbers, and what it was committed with. Where `held_until` is false it is taken out of
-- HELD, and where it is nil, HELD is left as it is.
local function change(key, lane)
  changed[key] = lane
end

-- Behind all that stand there. Where the last message that was handed out is acknowledged, nobody has looked whether
-- there are others: such a lane `may_be_empty`, and is looked at before it is written to the line.
local function join_line(key, lane)
  if not lane.joins then
    lane.joins = true
    joining[#joining + 1] = key
  end
end

-- Whoever waits knows when the next timer is due, unless there is an earlier one now.
local function note_timer(member)
  if call('ZRANGE', TIMERS, 0, 0)[1] == member then
    moment_is_new = true
  end
end

-- Take out the holes at the head of `lane`. Returns its first message, if there is one.
local function skip_holes(key, lane)
  local first = call('LINDEX', lane.queue, 0)
  while first == '' do
    call('LPOP', lane.queue)
    lane.head = lane.head + 1
    change(key, lane)
    first = call('LINDEX', lane.queue, 0)
  end
  return first
end

local function write_lanes()
  for key, lane in pairs(changed) do
    local name = PREFIX .. 'lane:' .. key
    if lane.is_committed then
      call('HSET', name, 'version', lane.version, 'listing', lane.listing, 'head', lane.head, 'token', lane.token,
        'through', lane.through, 'ends', lane.ends)
    else
      call('HSET', name, 'head', lane.head, 'token', lane.token, 'through', lane.through, 'ends', lane.ends)
    end
    if lane.held_until then
      call('ZADD', HELD, lane.held_until, key)
    elseif lane.held_until == false then
      call('ZREM', HELD, key)
    end
  end
end

-- Returns whether anybody stands in the line now.
local function write_line()
  local length = 0
  for index = taken + 1, #joining do
    local key = joining[index]
    local lane = lanes[key]
    if not lane.may_be_empty or skip_holes(key, lane) then
      length = call('RPUSH', LINE, key)
    end
  end
  return length > 0 or (has_looked and not line_is_empty and call('LLEN', LINE) > 0)
end

-- What a message is `known` by is its digest, of six characters, and its id.
local function send(key, known, element)
  local lane = lane_of(key)
  local length = call('RPUSH', lane.queue, element)
  if call('ZADD', PREFIX .. 'known:' .. key, 'NX', lane.head + length - 1, known) == 0 then
    call('RPOP', lane.queue)
  elseif length == 1 then
    lane.may_be_empty = false
    join_line(key, lane)
  end
end

-- An element is ATTEMPTS, a space, the LENGTH of the id, a space, the id, the body.
local function id_of(element)
  local _, behind, length = string.find(element, '^%d+ (%d+) ')
  return string.sub(element, behind + 1, behind + length)
end

-- This hand-out has been one attempt. It is counted at its end: most messages are acknowledged, and never are.
local function end_lease(key, lane)
  for index = 0, lane.through - lane.head do
    local element = call('LINDEX', lane.queue, index)
    if element ~= '' then
      local space = string.find(element, ' ', 1, true)
      local attempts = string.format('%d', string.sub(element, 1, space - 1) + 1)
      call('LSET', lane.queue, index, attempts .. string.sub(element, space))
    end
  end
  lane.through = 0
  change(key, lane)
end

-- Whether this hand-out still has the lease. It is lost at its deadline, taken over or not.
local function has_lease(lane, token)
  return lane.token == tonumber(token) and lane.through > 0 and lane.ends > now()
end

local function forget_old_ids(key, head, places)
  local stride = math.max(1, math.floor(REMEMBER / 4))
  local last, is_time = 0, false
  for _, place in ipairs(places) do
    last = math.max(last, place)
    is_time = is_time or place % stride == 0
  end
  if is_time then
    call('ZREMRANGEBYSCORE', PREFIX .. 'known:' .. key, '-inf', math.min(last - REMEMBER, head - 1))
  end
end

local function acknowledge(key, token, places)
  local lane = lane_of(key)
  if not has_lease(lane, token) then
    return
  end
  local count = 0
  while places[count + 1] == lane.head + count do
    count = count + 1
  end
  if count > 0 then
    call('LPOP', lane.queue, count)
    lane.head = lane.head + count
  end
  for _, place in ipairs(places) do
    if place >= lane.head and place <= lane.through then
      call('LSET', lane.queue, place - lane.head, '')
    end
  end
  if lane.head <= lane.through then
    skip_holes(key, lane)
  end
  if lane.head > lane.through then
    lane.through, lane.held_until, lane.may_be_empty = 0, false, true
    join_line(key, lane)
  end
  change(key, lane)
  forget_old_ids(key, lane.head, places)
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
  local serial = string.format('%016d', call('INCR', SERIAL))
  call('HSET', TIMER, id, serial .. post)
  call('ZADD', TIMERS, due, serial .. id)
  note_timer(serial .. id)
end

-- A post is the PARTITION of a key, the LENGTH of the key's name and the DIGEST of the message, with a space behind
-- each; then the name and the element.
local function ring(member)
  local id = string.sub(member, 17)
  local post = string.sub(call('HGET', TIMER, id), 17)
  local _, behind, partition, length, digest = string.find(post, '^(%d+) (%d+) (%x+) ')
  if partition ~= PARTITION then
    due_elsewhere[#due_elsewhere + 1] = member
    due_elsewhere[#due_elsewhere + 1] = post
    return
  end
  call('ZREM', TIMERS, member)
  call('HDEL', TIMER, id)
  local element = string.sub(post, behind + length + 1)
  send(string.sub(post, behind + 1, behind + length), digest .. id_of(element), element)
end

local function wake()
  for _, key in ipairs(call('ZRANGEBYSCORE', HELD, '-inf', now(), 'LIMIT', 0, WAKE_AT_ONCE)) do
    -- First, because a server that is out of memory lets a script go on that began by making room.
    call('ZREM', HELD, key)
    local lane = lane_of(key)
    if lane.through > 0 then
      end_lease(key, lane)
    end
    join_line(key, lane)
  end
  for _, member in ipairs(call('ZRANGEBYSCORE', TIMERS, '-inf', now(), 'LIMIT', 0, WAKE_AT_ONCE)) do
    ring(member)
  end
end

local function next_in_line()
  local key = not line_is_empty and call('LPOP', LINE)
  if key then
    return key
  end
  line_is_empty = true
  if taken < #joining then
    taken = taken + 1
    lanes[joining[taken]].joins = false
    return joining[taken]
  end
end

-- A delivery is the TOKEN of its hand-out, its PLACE and the LENGTH of its key's name, with a space behind each; then
-- the name and the element.
local function hand_out(limit)
  has_looked = true
  wake()
  while limit > 0 do
    local key = next_in_line()
    if not key then
      return
    end
    local lane = lane_of(key)
    local elements = call('LRANGE', lane.queue, 0, limit - 1)
    if elements[1] == '' then
      skip_holes(key, lane)
      elements = call('LRANGE', lane.queue, 0, limit - 1)
    end
    if #elements > 0 then
      lane.token = lane.token + 1
      lane.through = lane.head + #elements - 1
      lane.ends = now() + LEASE
      lane.held_until = lane.ends
      change(key, lane)
    end
    for index, element in ipairs(elements) do
      if element ~= '' then
        local receipt = string.format('%d %d %d ', lane.token, lane.head + index - 1, #key)
        handed_out[#handed_out + 1] = receipt .. key .. element
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

-- Returns why it is refused, if it is: for the version that was found, or for a lease that is not the holder's any
-- more. The `holder` is the token of a hand-out, or nothing.
local function commit(key, name, expected, version, listing, record, holder)
  local lane = lane_of(key)
  if lane.version ~= expected then
    return 'conflict ' .. lane.version
  elseif holder ~= '' and not has_lease(lane, holder) then
    return 'lost'
  end
  call('SET', PREFIX .. 'record:' .. key, record)
  if lane.listing ~= listing then
    list(name, lane.listing, listing)
  end
  lane.version, lane.listing, lane.is_committed = version, listing, true
  change(key, lane)
  return nil
end

-- Carry out the step at this place of ARGV. Returns the place behind its words; and why a commit is refused, which ends
-- everything.
local function take(at)
  local step, first, second, third = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if step == 'send' then
    send(first, second, third)
    return at + 4
  elseif step == 'commit' then
    return at + 8, commit(first, second, third, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7])
  elseif step == 'ack' then
    local places = {}
    for index = 1, third do
      places[index] = tonumber(ARGV[at + 3 + index])
    end
    acknowledge(first, second, places)
    return at + 4 + #places
  elseif step == 'receive' then
    hand_out(tonumber(first))
    return at + 2
  elseif step == 'schedule' then
    schedule(first, second, third)
    return at + 4
  elseif step == 'cancel' then
    cancel(first)
    return at + 2
  elseif step == 'rung' then
    -- Its message has been sent elsewhere. If it was scheduled anew meanwhile, that is another one.
    local found = call('HGET', TIMER, string.sub(first, 17))
    if found and string.sub(found, 1, 16) == string.sub(first, 1, 16) then
      cancel(string.sub(first, 17))
    end
    return at + 2
  elseif step == 'release' then
    local lane, delay = lane_of(first), tonumber(third)
    if has_lease(lane, second) then
      end_lease(first, lane)
      if delay > 0 then
        lane.held_until = now() + delay
        -- Who waits may not know of the leases that end before that, so it is no use to compare it with them.
        moment_is_new = true
      else
        lane.held_until = false
        join_line(first, lane)
      end
    end
    return at + 4
  elseif step == 'extend' then
    local lane = lane_of(first)
    if has_lease(lane, second) then
      lane.ends = now() + third
      lane.held_until = lane.ends
      change(first, lane)
    else
      lost[#lost + 1] = first
    end
    return at + 4
  elseif step == 'bury' then
    call('RPUSH', PREFIX .. 'dead:' .. first, second)
    return at + 3
  elseif step == 'unbury' then
    call('LTRIM', PREFIX .. 'dead:' .. first, second, -1)
    return at + 3
  elseif step == 'drop' then
    call('DEL', PREFIX .. 'dead:' .. first)
    return at + 2
  end
  error('no such step: ' .. step)
end

local at, refused = 5, nil
while ARGV[at] do
  at, refused = take(at)
  if refused then
    return string.format('%s %d', refused, now())
  end
end
local somebody_is_ready = write_line()
write_lanes()

-- Who waits has taken a word from `wakes`, in the slot of partition 0; for the others their caller puts it there.
local found_nothing = has_looked and #handed_out == 0
local must_wake = somebody_is_ready or moment_is_new
if PARTITION == '0' then
  if must_wake then
    call('ZADD', PREFIX .. 'wakes', 'NX', now(), PARTITION)
  elseif found_nothing then
    call('ZREM', PREFIX .. 'wakes', PARTITION)
  end
  must_wake = false
end

local moment = -1
if found_nothing then
  local due = tonumber(call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')[2] or -1)
  local through = tonumber(call('ZRANGE', HELD, 0, 0, 'WITHSCORES')[2] or -1)
  moment = (due < 0 or (through >= 0 and through < due)) and through or due
end

-- What was done in numbers, and then the texts that they count. The time is there for whoever wants to know it.
local done = string.format('done %d %d %d %d %d', now(), moment, must_wake and 1 or 0, #lost, #due_elsewhere)
if #lost + #due_elsewhere + #handed_out == 0 then
  return done
end
local answer = { done }
for _, texts in ipairs({ lost, due_elsewhere, handed_out }) do
  for _, text in ipairs(texts) do
    answer[#answer + 1] = text
  end
end
return answer

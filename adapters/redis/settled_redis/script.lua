-- All changes that settled makes on a server: a list of operations, which are carried out in their order.
--
-- Redis runs a script alone and as a whole, so the list is one transaction. There is no rollback: whatever can fail
-- must come before the first write. Only a commit can fail, for its version or for its holder's lease, so it has to be
-- the first operation. A server that is out of memory refuses the first write of a script, or none.
--
-- KEYS begins with the keys of the partition: ready_machines, blocked, timers, timer_payloads, timer_serial, epoch,
-- absent, and wakeups in partition 0. The keys of the instances that the operations name follow. `absent` is never used
-- here: it makes a server that is moving the slot refuse the script (see `settled_redis.cluster`). Keys of machines, and
-- of groups that are found in `ready:MACHINE`, `blocked` or a timer, are not in KEYS; they have the same hash tag, so
-- they are in the same slot.
--
-- ARGV begins with the time (-1: use the server's), the partition, how many ids of acknowledged messages to remember,
-- how long a lease lasts, and the epoch of the key space. All times are in microseconds.
--
-- The state of a message group (the messages of one instance, in its `queue`) follows from where it is:
--
--   group    queue   ready   blocked                  last_leased
--   idle     empty   -       -                        0
--   ready    +       yes     -                        0
--   parked   +       -       when the pause ends      0
--   leased   +       -       when the lease ends      number of the last leased message
--
-- A group that is ready is in the line of its machine, the list `ready:MACHINE`: a receive for some machines looks at no
-- other. A group must never be in it twice, or in it and in `blocked`: two receivers would get it, and the order of its
-- messages would be lost.
--
-- The messages of a group are numbered; `head` is the number of the first one in the queue. No number and no token of a
-- group is ever used twice (positions and fencing rely on it), so the hash of a group is never deleted. A message that
-- was acknowledged before one in front of it leaves a hole, an empty text, until all in front of it are gone: otherwise
-- the numbers of those behind it would shift.
--
-- Commands cost more than anything else here. So the state of a group is read once and written once for all operations,
-- at the end; and a group that becomes ready only to be leased by the same script is never written to `ready`. Numbers
-- are passed to commands as numbers, which is exact; Lua's own conversion to text keeps 14 digits.

local READY_MACHINES, BLOCKED, TIMERS, TIMER_PAYLOADS, TIMER_SERIAL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local PREFIX = string.sub(READY_MACHINES, 1, -1 - #'ready_machines')
local PARTITION, REMEMBER, LEASE = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

-- How many groups, and how many timers, one call wakes at most: the server does nothing else while a script runs.
local MAX_WAKEUPS = 100

local call = redis.call

-- A caller that has another epoch has opened other keys than these: the server was emptied, restored or replaced since.
-- What the caller knows of records, leases and numbers is void here.
if call('GET', KEYS[6]) ~= ARGV[5] then
  return redis.error_reply('REPLACED these keys have another epoch')
end

local has_received, receives_all = false, false
local lost_leases, other_partition, deliveries = {}, {}, {}
local groups, dirty = {}, {}

-- The lines that this script has to do with, by machine; and the machines of which a waiting receiver has to be woken.
local lines, to_wake = {}, {}

local current_time
local function now()
  if not current_time then
    current_time = tonumber(ARGV[1])
    if current_time < 0 then
      local time = call('TIME')
      current_time = time[1] * 1000000 + time[2]
    end
  end
  return current_time
end

local function group_of(key)
  local group = groups[key]
  if not group then
    local name = PREFIX .. 'group:' .. key
    local found = call('HMGET', name, 'version', 'listing', 'head', 'token', 'last_leased', 'lease_end')
    group = {
      version = found[1] or '0',
      listing = found[2] or '',
      head = tonumber(found[3] or 1),
      token = tonumber(found[4] or 0),
      last_leased = tonumber(found[5] or 0),
      lease_end = tonumber(found[6] or 0),
      queue = PREFIX .. 'queue:' .. key,
    }
    groups[key] = group
  end
  return group
end

-- Have `group` written at the end. Its `blocked_until` says what becomes of its entry in BLOCKED: a number sets it, false
-- removes it, and nil leaves it as it is.
local function mark_dirty(key, group)
  dirty[key] = group
end

-- The name of a key is that of its machine, a slash, and that of the instance.
local function machine_of(key)
  return string.match(key, '^[^/]*')
end

-- The line of a machine: `becoming` are the groups that become ready in this script, of which `taken` were leased again;
-- `is_empty` says that the list was found empty; `is_wanted` that a receive is for this machine; `is_served` that it got
-- some of its messages.
local function line_of(machine)
  local line = lines[machine]
  if not line then
    line = { list = PREFIX .. 'ready:' .. machine, becoming = {}, taken = 0 }
    lines[machine] = line
  end
  return line
end

-- Make the group the last ready one of its machine. After an acknowledgement its queue `may_be_empty`; that is only
-- checked if the group is still here when the line is written.
local function make_ready(key, group)
  if not group.is_becoming_ready then
    group.is_becoming_ready = true
    local line = line_of(machine_of(key))
    line.becoming[#line.becoming + 1] = key
  end
end

-- Remove the holes at the head of the queue. Returns its first message, or nothing if it is empty.
local function skip_holes(key, group)
  local first = call('LINDEX', group.queue, 0)
  while first == '' do
    call('LPOP', group.queue)
    group.head = group.head + 1
    mark_dirty(key, group)
    first = call('LINDEX', group.queue, 0)
  end
  return first
end

local function write_groups()
  for key, group in pairs(dirty) do
    local name = PREFIX .. 'group:' .. key
    if group.is_committed then
      call('HSET', name, 'version', group.version, 'listing', group.listing, 'head', group.head, 'token', group.token,
        'last_leased', group.last_leased, 'lease_end', group.lease_end)
    else
      call('HSET', name, 'head', group.head, 'token', group.token, 'last_leased', group.last_leased,
        'lease_end', group.lease_end)
    end
    if group.blocked_until then
      call('ZADD', BLOCKED, group.blocked_until, key)
    elseif group.blocked_until == false then
      call('ZREM', BLOCKED, key)
    end
  end
end

-- Notes the machines that have ready groups now, as far as this script knows. Before `write_groups`: skipping holes
-- changes heads.
local function write_line(machine, line)
  local length, pushed = 0, 0
  for index = line.taken + 1, #line.becoming do
    local key = line.becoming[index]
    local group = groups[key]
    if not group.may_be_empty or skip_holes(key, group) then
      length = call('RPUSH', line.list, key)
      pushed = pushed + 1
    end
  end
  local is_left = length > 0 or (line.is_wanted and not line.is_empty and call('LLEN', line.list) > 0)
  if is_left then
    to_wake[machine] = true
  end
  -- The score says since when none of the machine's messages was delivered, although some wait. A machine stays in the
  -- set until a receive for all finds its line empty: most are ready again soon.
  if (length > 0 and length == pushed) or (is_left and line.is_served) then
    call('ZADD', READY_MACHINES, now(), machine)
  elseif length == 0 and line.is_empty and receives_all then
    call('ZREM', READY_MACHINES, machine)
  end
end

-- A message is recognised by its digest, of six characters, and its id: `seen_id` is both.
local function send(key, seen_id, element)
  local group = group_of(key)
  -- The message is added before it is known whether it is new, because the new length gives its number without another
  -- command; repetitions are rare. Everything else that takes room follows this write, which a full server refuses.
  local length = call('RPUSH', group.queue, element)
  -- NX: the id keeps the number of its first message, which says when it may be forgotten.
  if call('ZADD', PREFIX .. 'seen_ids:' .. key, 'NX', group.head + length - 1, seen_id) == 0 then
    call('RPOP', group.queue)
  elseif length == 1 then
    -- The queue was empty, so the group was idle. With any other length it is ready, leased or parked already.
    group.may_be_empty = false
    make_ready(key, group)
  end
end

-- An element is ATTEMPTS, a space, the LENGTH of the id and perhaps that of the headers after a plus sign, a space, the
-- id, the headers, the body.
local function id_of(element)
  local _, before_id, length = string.find(element, '^%d+ (%d+)%+?%d* ')
  return string.sub(element, before_id + 1, before_id + length)
end

-- End the lease, which counts as one attempt at each message that was not acknowledged. Attempts are counted here and
-- not when the lease begins, because most messages are acknowledged and then cost no write.
local function end_lease(key, group)
  for index = 0, group.last_leased - group.head do
    local element = call('LINDEX', group.queue, index)
    if element ~= '' then
      local space = string.find(element, ' ', 1, true)
      local attempts = string.format('%d', string.sub(element, 1, space - 1) + 1)
      call('LSET', group.queue, index, attempts .. string.sub(element, space))
    end
  end
  group.last_leased = 0
  mark_dirty(key, group)
end

-- Fencing: the token differs once the group was leased again; last_leased is 0 while the group is parked, ready or idle;
-- and a lease is lost at its deadline even if no one has taken over.
local function has_lease(group, token)
  return group.token == tonumber(token) and group.last_leased > 0 and group.lease_end > now()
end

-- Once in a quarter of REMEMBER messages. The ids of messages that still wait, from `head` on, must stay, or a
-- repetition would be queued beside them.
local function forget_old_ids(key, head, numbers)
  local stride = math.max(1, math.floor(REMEMBER / 4))
  local last, is_time = 0, false
  for _, number in ipairs(numbers) do
    last = math.max(last, number)
    is_time = is_time or number % stride == 0
  end
  if is_time then
    call('ZREMRANGEBYSCORE', PREFIX .. 'seen_ids:' .. key, '-inf', math.min(last - REMEMBER, head - 1))
  end
end

local function acknowledge(key, token, numbers)
  local group = group_of(key)
  if not has_lease(group, token) then
    return
  end
  -- Nearly always the numbers are a run from the head, and one command removes all of them.
  local count = 0
  while numbers[count + 1] == group.head + count do
    count = count + 1
  end
  if count > 0 then
    call('LPOP', group.queue, count)
    group.head = group.head + count
  end
  for _, number in ipairs(numbers) do
    if number >= group.head and number <= group.last_leased then
      call('LSET', group.queue, number - group.head, '')
    end
  end
  if group.head <= group.last_leased then
    skip_holes(key, group)
  end
  -- The group stays leased until all that was leased is acknowledged, so that nothing overtakes the rest of a batch.
  if group.head > group.last_leased then
    group.last_leased, group.blocked_until, group.may_be_empty = 0, false, true
    make_ready(key, group)
  end
  mark_dirty(key, group)
  forget_old_ids(key, group.head, numbers)
end

-- A member of TIMERS is a serial number of 16 digits and the timer's id; the payload begins with the same serial.
local function cancel(id)
  local found = call('HGET', TIMER_PAYLOADS, id)
  if found then
    call('HDEL', TIMER_PAYLOADS, id)
    call('ZREM', TIMERS, string.sub(found, 1, 16) .. id)
  end
end

-- A payload is the PARTITION of the key, the LENGTH of the key's name and the DIGEST of the message, with a space after
-- each; then the name and the element.
local function parse(payload)
  local _, before_name, partition, length, digest = string.find(payload, '^(%d+) (%d+) (%x+) ')
  local name_end = before_name + length
  return partition, digest, string.sub(payload, before_name + 1, name_end), string.sub(payload, name_end + 1)
end

local function schedule(id, due, payload)
  -- A timer that is replaced must not fire at its old time too.
  cancel(id)
  -- Members with the same score are ordered by their bytes: the serial, of fixed width, keeps the order of scheduling.
  local serial = string.format('%016d', call('INCR', TIMER_SERIAL))
  call('HSET', TIMER_PAYLOADS, id, serial .. payload)
  call('ZADD', TIMERS, due, serial .. id)
  -- Waiting receivers sleep until the timer that was the next one: an earlier one has to wake one of them.
  if call('ZRANGE', TIMERS, 0, 0)[1] == serial .. id then
    local _, _, name = parse(payload)
    to_wake[machine_of(name)] = true
  end
end

local function fire(member)
  local id = string.sub(member, 17)
  local payload = string.sub(call('HGET', TIMER_PAYLOADS, id), 17)
  local partition, digest, name, element = parse(payload)
  if partition ~= PARTITION then
    -- Its group is in another slot, which no script can write together with this one. The caller sends it there, and
    -- only then has the timer forgotten here: until then it stays, so a crash in between repeats the message, and loses
    -- none.
    other_partition[#other_partition + 1] = member
    other_partition[#other_partition + 1] = payload
    return
  end
  call('ZREM', TIMERS, member)
  call('HDEL', TIMER_PAYLOADS, id)
  send(name, digest .. id_of(element), element)
end

-- Make the groups ready whose lease or pause has ended, and send the messages of the timers that are due.
local function wake()
  for _, key in ipairs(call('ZRANGEBYSCORE', BLOCKED, '-inf', now(), 'LIMIT', 0, MAX_WAKEUPS)) do
    -- The removal comes first: a server that is out of memory lets a script continue whose first write made room.
    call('ZREM', BLOCKED, key)
    local group = group_of(key)
    if group.last_leased > 0 then
      end_lease(key, group)
    end
    make_ready(key, group)
  end
  for _, member in ipairs(call('ZRANGEBYSCORE', TIMERS, '-inf', now(), 'LIMIT', 0, MAX_WAKEUPS)) do
    fire(member)
  end
end

-- Those in the list come before those that become ready in this script: that is what delays each other key of the
-- machine by one batch at most, however long a backlog is.
local function next_ready(line)
  local key = not line.is_empty and call('LPOP', line.list)
  if key then
    return key
  end
  line.is_empty = true
  if line.taken < #line.becoming then
    line.taken = line.taken + 1
    key = line.becoming[line.taken]
    groups[key].is_becoming_ready = false
    return key
  end
end

-- A delivery is the TOKEN of its lease, its NUMBER and the LENGTH of its key's name, with a space after each; then the
-- name and the element. Returns how many messages were leased.
local function lease_group(key, limit)
  local group = group_of(key)
  local elements = call('LRANGE', group.queue, 0, limit - 1)
  if elements[1] == '' then
    skip_holes(key, group)
    elements = call('LRANGE', group.queue, 0, limit - 1)
  end
  -- An empty queue: the group is idle now, as it is in neither a line nor BLOCKED.
  if #elements > 0 then
    -- The new token of each lease fences: receipts of all earlier leases of the group are void from now on.
    group.token = group.token + 1
    group.last_leased = group.head + #elements - 1
    group.lease_end = now() + LEASE
    group.blocked_until = group.lease_end
    mark_dirty(key, group)
  end
  for index, element in ipairs(elements) do
    if element ~= '' then
      local receipt = string.format('%d %d %d ', group.token, group.head + index - 1, #key)
      deliveries[#deliveries + 1] = receipt .. key .. element
    end
  end
  return #elements
end

-- Receive for `machines`; nil for all. A group of each machine is leased in turn, beginning with that at `first`, a number
-- from 0: with another one each time, no machine is starved by those before it.
local function receive(limit, first, machines)
  has_received, receives_all = true, not machines
  wake()
  if receives_all then
    machines = call('ZRANGE', READY_MACHINES, 0, -1)
    -- Those that become ready in this script may not be in the set yet. Twice in the list is no harm.
    for machine in pairs(lines) do
      machines[#machines + 1] = machine
    end
  end
  local waiting = {}
  for index = 1, #machines do
    local line = line_of(machines[(first + index - 1) % #machines + 1])
    line.is_wanted = true
    waiting[index] = line
  end
  while limit > 0 and #waiting > 0 do
    local still_waiting = {}
    for _, line in ipairs(waiting) do
      local key = limit > 0 and next_ready(line)
      if key then
        limit = limit - lease_group(key, limit)
        line.is_served = true
        still_waiting[#still_waiting + 1] = line
      end
    end
    waiting = still_waiting
  end
end

-- A listing is the letter "s" and the status, or empty for what is not listed.
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

-- Returns why the commit fails, if it does: "conflict" with the version that was found, or "lost" if the `holder`, the
-- token of a lease or empty, has lost the key. Both checks come before the first write.
local function commit(key, name, expected, version, listing, record, holder)
  local group = group_of(key)
  if group.version ~= expected then
    return 'conflict ' .. group.version
  elseif holder ~= '' and not has_lease(group, holder) then
    return 'lost'
  end
  call('SET', PREFIX .. 'record:' .. key, record)
  if group.listing ~= listing then
    list(name, group.listing, listing)
  end
  group.version, group.listing, group.is_committed = version, listing, true
  mark_dirty(key, group)
  return nil
end

-- Carry out the operation at this index of ARGV. Returns the index of the next operation; and why a commit failed,
-- which ends the script.
local function run_operation(at)
  local operation, first, second, third = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if operation == 'send' then
    send(first, second, third)
    return at + 4
  elseif operation == 'commit' then
    return at + 8, commit(first, second, third, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7])
  elseif operation == 'ack' then
    local numbers = {}
    for index = 1, third do
      numbers[index] = tonumber(ARGV[at + 3 + index])
    end
    acknowledge(first, second, numbers)
    return at + 4 + #numbers
  elseif operation == 'forget' then
    if has_lease(group_of(first), second) then
      call('ZREM', PREFIX .. 'seen_ids:' .. first, third)
    end
    return at + 4
  elseif operation == 'receive' then
    -- A COUNT of -1 stands for all machines.
    local count, machines = tonumber(third), {}
    for index = 1, count do
      machines[index] = ARGV[at + 3 + index]
    end
    receive(tonumber(first), tonumber(second), count >= 0 and machines or nil)
    return at + 4 + #machines
  elseif operation == 'schedule' then
    schedule(first, second, third)
    return at + 4
  elseif operation == 'cancel' then
    cancel(first)
    return at + 2
  elseif operation == 'forget_fired' then
    -- Only if it is still the same: the timer may have been scheduled anew while its message was on the way.
    local found = call('HGET', TIMER_PAYLOADS, string.sub(first, 17))
    if found and string.sub(found, 1, 16) == string.sub(first, 1, 16) then
      cancel(string.sub(first, 17))
    end
    return at + 2
  elseif operation == 'release' then
    local group, delay = group_of(first), tonumber(third)
    if has_lease(group, second) then
      end_lease(first, group)
      if delay > 0 then
        group.blocked_until = now() + delay
        -- Even if other leases end earlier: a waiting receiver may not know of them, and sleep for longer.
        to_wake[machine_of(first)] = true
      else
        group.blocked_until = false
        make_ready(first, group)
      end
    end
    return at + 4
  elseif operation == 'extend' then
    local group = group_of(first)
    local is_leased = has_lease(group, second)
    if is_leased then
      group.lease_end = now() + third
      group.blocked_until = group.lease_end
      mark_dirty(first, group)
    end
    -- The first of the messages was acknowledged, perhaps by this very worker, whose answer was lost.
    if not is_leased or tonumber(ARGV[at + 4]) < group.head then
      lost_leases[#lost_leases + 1] = first
    end
    return at + 5
  elseif operation == 'add_dead_letters' then
    call('RPUSH', PREFIX .. 'dead_letters:' .. first, second)
    return at + 3
  elseif operation == 'remove_dead_letters' then
    call('LTRIM', PREFIX .. 'dead_letters:' .. first, second, -1)
    return at + 3
  elseif operation == 'drop_dead_letters' then
    call('DEL', PREFIX .. 'dead_letters:' .. first)
    return at + 2
  end
  error('no such operation: ' .. operation)
end

local at, failure = 6, nil
while ARGV[at] do
  at, failure = run_operation(at)
  if failure then
    return string.format('%s %d', failure, now())
  end
end
for machine, line in pairs(lines) do
  write_line(machine, line)
end
write_groups()

-- A waiting receiver pops a partition from the `wakeups:MACHINE` of its machines, or from `wakeups` if it is for all;
-- they are in the slot of partition 0. In other partitions the caller adds it, because this script cannot. A receiver
-- that was woken and leaves ready groups behind adds the partition again; one that finds nothing removes it, so that the
-- others are not woken for nothing.
local found_nothing = has_received and #deliveries == 0
if PARTITION == '0' then
  local wakeups = PREFIX .. 'wakeups'
  if found_nothing then
    for machine, line in pairs(lines) do
      if line.is_wanted and not to_wake[machine] then
        call('ZREM', wakeups .. ':' .. machine, PARTITION)
      end
    end
    if receives_all then
      call('ZREM', wakeups, PARTITION)
    end
  end
  if next(to_wake) then
    call('ZADD', wakeups, 'NX', now(), PARTITION)
    for machine in pairs(to_wake) do
      call('ZADD', wakeups .. ':' .. machine, 'NX', now(), PARTITION)
    end
  end
  to_wake = {}
end
local machines_to_wake = {}
for machine in pairs(to_wake) do
  machines_to_wake[#machines_to_wake + 1] = machine
end

-- When something may be ready next, for a receiver that is about to wait; -1 if no time is known.
local next_due = -1
if found_nothing then
  local timer = tonumber(call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')[2] or -1)
  local lease = tonumber(call('ZRANGE', BLOCKED, 0, 0, 'WITHSCORES')[2] or -1)
  next_due = (timer < 0 or (lease >= 0 and lease < timer)) and lease or timer
end

-- The numbers, and then the texts that they count. Every answer has the time, from which callers derive their clock.
local done = string.format(
  'done %d %d %d %d %d', now(), next_due, #machines_to_wake, #lost_leases, #other_partition
)
if #machines_to_wake + #lost_leases + #other_partition + #deliveries == 0 then
  return done
end
local answer = { done }
for _, texts in ipairs({ machines_to_wake, lost_leases, other_partition, deliveries }) do
  for _, text in ipairs(texts) do
    answer[#answer + 1] = text
  end
end
return answer

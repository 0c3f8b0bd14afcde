-- Requests for wrk, one after the other from a file that the benchmarks wrote: whole requests, one after each
-- character 30. Arguments: the file, "once" or "again", and the pause of a connection before each request in ms.
--
-- "once" ends the thread after the last of them: no request is sent twice.

local requests, count, once = {}, 0, false
sent = 0

local threads = {}
function setup(thread) table.insert(threads, thread) end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for request in file:read("*a"):gmatch("[^\30]+") do
    count = count + 1
    requests[count] = request
  end
  file:close()
  once = args[2] == "once"
  local pause = tonumber(args[3])
  if pause > 0 then
    delay = function() return pause end
  end
end

local function tell(word)
  io.stderr:write(word, "\n")
  io.stderr:flush()
end

local at = 0
function request()
  sent = sent + 1
  if sent == 2 then tell("begun") end -- wrk itself calls it once before
  at = at + 1
  if at > count then
    if once then
      if at == count + 1 then
        tell("used up")
        wrk.thread:stop()
      end
      sent = sent - 1
      return requests[count]
    end
    at = 1
  end
  return requests[at]
end

function done(summary, latency, _)
  local n = 0
  for _, thread in ipairs(threads) do n = n + thread:get("sent") end
  local e = summary.errors
  io.write(string.format(
    '\n{"sent":%d,"answered":%d,"micros":%d,"p50":%d,"p99":%d,"max":%d,"refused":%d,"broken":%d}\n',
    n - 1, summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.status, e.connect + e.read + e.write + e.timeout))
end

-- Milliseconds between the requests of one connection: a rate, not as much as goes.
local pause = tonumber(os.getenv("PAUSE_MS"))

function delay()
  return pause
end

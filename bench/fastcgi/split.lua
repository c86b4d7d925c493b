-- One thread of wrk for each port in PORTS: every worker of nginx gets the same number of clients.
local ports, n = {}, 0
for port in os.getenv("PORTS"):gmatch("%d+") do ports[#ports + 1] = port end

function setup(thread)
    n = n + 1
    thread.addr = wrk.lookup("127.0.0.1", ports[n])[1]
end

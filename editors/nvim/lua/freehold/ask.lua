-- One request to the server, by curl. What is sent goes to its standard input, so that no key and no code is in the list of processes.
local M = {}

local SECONDS = 15
local LARGEST = 1048576 -- bytes of an answer

--- A value of curl's configuration file.
local function quoted(text)
  return '"' .. text:gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("\n", "\\n"):gsub("\r", "\\r"):gsub("\t", "\\t") .. '"'
end

local function decoded(text)
  local ok, value = pcall(vim.json.decode, text)
  return ok and type(value) == "table" and value or nil
end

--- Tells `done(value)` or `done(nil, kind, message)`, kind being "down", "refused" or "superseded". Returns what cancels it:
--- then nothing is told, and the server, which sees the connection go, ends the request.
function M.ask(options, path, body, done)
  local address = options.url:gsub("/+$", ""):gsub("/v1$", "") .. path
  local lines = {
    "url = " .. quoted(address),
    'header = "Content-Type: application/json"',
    'user-agent = "freehold-nvim"',
    'write-out = "\\n%{http_code}"',
    "max-time = " .. SECONDS,
    "max-filesize = " .. LARGEST,
    'noproxy = "*"',
    "silent",
  }
  if options.key and options.key ~= "" then
    table.insert(lines, "header = " .. quoted("Authorization: Bearer " .. options.key))
  end
  if body then
    table.insert(lines, "data-raw = " .. quoted(vim.json.encode(body)))
  end
  local output, cancelled = {}, false
  local job = vim.fn.jobstart({ "curl", "--disable", "--config", "-" }, {
    stdout_buffered = true,
    on_stdout = function(_, data)
      output = data
    end,
    on_exit = function()
      if cancelled then
        return
      end
      local text, status = table.concat(output, "\n"):match("^(.*)\n(%d+)%s*$")
      status = tonumber(status) or 0
      local value = decoded(text or "")
      if status == 0 then
        done(nil, "down", "No server answers at " .. options.url .. ".")
      elseif status >= 300 or not value then
        local failure = value and type(value.error) == "table" and value.error or {}
        local said = type(failure.message) == "string" and failure.message or ("The server answered with status " .. status .. ".")
        done(nil, failure.code == "superseded" and "superseded" or "refused", said)
      else
        done(value)
      end
    end,
  })
  if job <= 0 then
    done(nil, "down", "curl is not installed.")
    return function() end
  end
  vim.fn.chansend(job, table.concat(lines, "\n") .. "\n")
  vim.fn.chanclose(job, "stdin")
  return function()
    cancelled = true
    vim.fn.jobstop(job)
  end
end

return M

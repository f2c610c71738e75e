-- Freehold in Neovim: when the server is asked, and what of its answer is shown.
local ask = require("freehold.ask").ask
local context = require("freehold.context")
local ghost = require("freehold.ghost")

local M = {}

local settings = {
  url = vim.env.FREEHOLD_URL or "http://127.0.0.1:8080",
  key = vim.env.FREEHOLD_API_KEY, -- a text, or a function that gives one
  model = nil, -- the server's own choice
  enabled = true,
  debounce = 150, -- milliseconds without a key before the server is asked
  max_tokens = 96,
  buffers = 6, -- other buffers of which the model sees a piece
  filetypes = { text = false, gitcommit = false, help = false, TelescopePrompt = false, ["*"] = true },
  keys = { all = "<Tab>", line = "<C-Down>", word = "<C-Right>", dismiss = "<C-]>" },
}
local state = { name = "ready", text = "" }
local timer = vim.loop.new_timer()
local cancel -- ends the request that is running
local number = 0 -- of the last question: an answer to one before it is not shown
local settled = {} -- by buffer, its tick after a suggestion was taken or typed along: that change asks nothing

local function say(name, text)
  state = { name = name, text = text or "" }
  vim.cmd("redrawstatus")
end

local function forget()
  timer:stop()
  number = number + 1
  if cancel then
    cancel()
    cancel = nil
  end
end

local function wanted(buffer)
  local types, kind = settings.filetypes, vim.bo[buffer].filetype
  local on = types[kind]
  if on == nil then
    on = types["*"] ~= false
  end
  return settings.enabled and on and vim.bo[buffer].buftype == "" and not context.is_secret(vim.api.nvim_buf_get_name(buffer))
end

--- Whether code follows on the cursor's line: then a suggestion is one line. Closing brackets do not count.
local function mid_line(right)
  return right:match("[^%s%)%]}'\"`;,:]") ~= nil
end

local function options()
  local key = settings.key
  return { url = settings.url, key = type(key) == "function" and key() or key }
end

local function send(buffer, line, column, asked)
  local around = context.around(buffer, line, column)
  if not (around.lines .. around.left .. around.suffix):match("%S") then
    return
  end
  local body = {
    input_prefix = around.lines,
    prompt = around.left,
    input_suffix = around.suffix,
    n_predict = settings.max_tokens,
    stream = false,
    model = settings.model,
  }
  local extras = context.extras(buffer, settings.buffers)
  body.input_extra = #extras > 0 and extras or nil
  local one_line = mid_line(around.right)
  if one_line then
    body.stop = { "\n" }
  end
  say("asking")
  local began = vim.loop.now()
  cancel = ask(options(), "/infill", body, function(value, kind, message)
    if asked ~= number then
      return
    end
    cancel = nil
    if not value then
      say(kind == "superseded" and "ready" or kind, kind ~= "superseded" and message or "")
      return
    end
    say("ready", (vim.loop.now() - began) .. " ms")
    local text = type(value.content) == "string" and value.content:gsub("[%z\r]", "") or ""
    text = one_line and text:match("^[^\n]*") or text:gsub("%s+$", "")
    local place = vim.api.nvim_win_get_cursor(0)
    local here = vim.api.nvim_get_current_buf() == buffer and place[1] == line and place[2] == column
    if here and vim.fn.mode():sub(1, 1) == "i" and text:match("%S") then
      ghost.show(buffer, line, column, text)
    end
  end)
end

--- Asks for a suggestion at the cursor, after the pause of `debounce` or after that which is given.
function M.suggest(pause)
  forget()
  ghost.clear()
  local buffer = vim.api.nvim_get_current_buf()
  if not wanted(buffer) then
    return
  end
  local asked, place = number, vim.api.nvim_win_get_cursor(0)
  timer:start(pause or settings.debounce, 0, vim.schedule_wrap(function()
    if asked == number and vim.api.nvim_buf_is_valid(buffer) then
      send(buffer, place[1], place[2], asked)
    end
  end))
end

--- What is typed along a suggestion needs no server: the rest of it stays.
local function typed_along()
  local shown = ghost.current()
  local line, column = unpack(vim.api.nvim_win_get_cursor(0))
  if not shown or shown.buffer ~= vim.api.nvim_get_current_buf() or shown.line ~= line or column <= shown.column then
    return false
  end
  local typed = vim.api.nvim_get_current_line():sub(shown.column + 1, column)
  local rest = shown.text:sub(#typed + 1)
  if shown.text:sub(1, #typed) ~= typed or not rest:match("%S") then
    return false
  end
  ghost.show(shown.buffer, line, column, rest)
  settled[vim.api.nvim_get_current_buf()] = vim.b.changedtick
  return true
end

local function changed()
  if settled[vim.api.nvim_get_current_buf()] == vim.b.changedtick then
    return
  end
  if not typed_along() then
    M.suggest()
  end
end

local function moved()
  local shown = ghost.current()
  local line, column = unpack(vim.api.nvim_win_get_cursor(0))
  if shown and (shown.line ~= line or shown.column ~= column) and not typed_along() then
    ghost.clear()
  end
end

--- Takes the suggestion, or its next "line" or "word". False when none is shown.
function M.accept(what)
  if not ghost.take(what or "all") then
    return false
  end
  forget()
  settled[vim.api.nvim_get_current_buf()] = vim.b.changedtick
  return true
end

function M.dismiss()
  forget()
  ghost.clear()
end

--- What is shown, nil when nothing is.
function M.shown()
  local shown = ghost.current()
  return shown and shown.text or nil
end

--- A few words for a status line.
function M.status()
  local name = settings.enabled and state.name or "off"
  return "Freehold: " .. name .. (state.text ~= "" and settings.enabled and (" (" .. state.text .. ")") or "")
end

--- Asks the server who it is and which models fill in; tells it as a message.
function M.check()
  ask(options(), "/v1/models", nil, function(value, kind, message)
    if not value then
      say(kind, message)
      vim.notify("Freehold: " .. message, vim.log.levels.WARN)
      return
    end
    local fills = {}
    for _, model in ipairs(type(value.data) == "table" and value.data or {}) do
      if type(model.capabilities) == "table" and model.capabilities.fim == true then
        table.insert(fills, model.id)
      end
    end
    local what = #fills > 0 and ("fills in with " .. (settings.model or table.concat(fills, ", ")))
      or "has no model that fills in: freehold pull qwen2.5-coder:1.5b"
    say(#fills > 0 and "ready" or "refused", what)
    vim.notify("Freehold at " .. settings.url .. " " .. what .. ".")
  end)
end

local function map(what, key)
  if not key or key == "" then
    return
  end
  vim.keymap.set("i", key, function()
    if not ghost.current() then
      return key
    end
    vim.schedule(function()
      if what == "dismiss" then
        M.dismiss()
      else
        M.accept(what)
      end
    end)
    return ""
  end, { expr = true, replace_keycodes = true, desc = "Freehold: " .. what, silent = true })
end

--- Changes settings, and begins. May be called again.
function M.setup(given)
  settings = vim.tbl_deep_extend("force", settings, given or {})
  local group = vim.api.nvim_create_augroup("freehold", { clear = true })
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = group, callback = callback })
  end
  on({ "TextChangedI" }, changed)
  on({ "CursorMovedI" }, moved)
  on({ "InsertLeave", "BufLeave" }, M.dismiss)
  on({ "BufWipeout" }, function(event)
    settled[event.buf] = nil
  end)
  on({ "ColorScheme" }, function()
    vim.api.nvim_set_hl(0, "FreeholdGhost", { default = true, link = "Comment" })
  end)
  vim.api.nvim_set_hl(0, "FreeholdGhost", { default = true, link = "Comment" })
  for what, key in pairs(settings.keys) do
    map(what, key)
  end
  vim.api.nvim_create_user_command("Freehold", function(command)
    if command.args == "toggle" then
      settings.enabled = not settings.enabled
      M.dismiss()
    elseif command.args ~= "" then
      vim.notify("Freehold: toggle, or nothing to ask the server.", vim.log.levels.ERROR)
      return
    end
    if settings.enabled then
      M.check()
    end
  end, {
    nargs = "?",
    force = true,
    complete = function()
      return { "toggle" }
    end,
  })
end

return M

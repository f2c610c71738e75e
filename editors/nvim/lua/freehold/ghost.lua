-- A suggestion as grey text behind the cursor, and what taking it puts into the buffer.
local M = {}

local space = vim.api.nvim_create_namespace("freehold")
local current -- {buffer, line, column, text}: line from 1, column in bytes from 0

function M.clear()
  if current and vim.api.nvim_buf_is_valid(current.buffer) then
    vim.api.nvim_buf_clear_namespace(current.buffer, space, 0, -1)
  end
  current = nil
end

function M.current()
  return current
end

--- Shows a text at a place of a buffer.
function M.show(buffer, line, column, text)
  M.clear()
  local lines = vim.split(text, "\n", { plain = true })
  local right = (vim.api.nvim_buf_get_lines(buffer, line - 1, line, false)[1] or ""):sub(column + 1)
  local mark = { virt_text_pos = "overlay", hl_mode = "combine" }
  if vim.fn.has("nvim-0.10") == 1 and #lines == 1 then
    mark.virt_text_pos = "inline"
    mark.virt_text = { { lines[1], "FreeholdGhost" } }
  elseif #lines == 1 then -- what stands behind the cursor is drawn again behind the suggestion
    mark.virt_text = { { lines[1], "FreeholdGhost" }, { right, "Normal" } }
  else
    local hidden = math.max(0, vim.fn.strdisplaywidth(right) - vim.fn.strdisplaywidth(lines[1]))
    mark.virt_text = { { lines[1] .. (" "):rep(hidden), "FreeholdGhost" } }
    mark.virt_lines = {}
    for index = 2, #lines do
      table.insert(mark.virt_lines, { { lines[index], "FreeholdGhost" } })
    end
    table.insert(mark.virt_lines[#mark.virt_lines], { right, "Normal" })
  end
  vim.api.nvim_buf_set_extmark(buffer, space, line - 1, column, mark)
  current = { buffer = buffer, line = line, column = column, text = text }
end

--- The part of a text that is taken: "all", "line" or "word".
function M.part(text, what)
  if what == "word" then
    return text:match("^%s*[%w_\128-\255]+") or text:match("^%s*[^%w%s_\128-\255]+") or text
  elseif what == "line" then
    return text:match("^\n?[^\n]*")
  end
  return text
end

--- Puts a part of the suggestion into the buffer; the rest stays shown. False when there is none at the cursor.
function M.take(what)
  local shown = current
  if not shown then
    return false
  end
  local part = M.part(shown.text, what)
  local lines = vim.split(part, "\n", { plain = true })
  M.clear()
  vim.api.nvim_buf_set_text(shown.buffer, shown.line - 1, shown.column, shown.line - 1, shown.column, lines)
  local line = shown.line + #lines - 1
  local column = #lines == 1 and shown.column + #part or #lines[#lines]
  vim.api.nvim_win_set_cursor(0, { line, column })
  local rest = shown.text:sub(#part + 1)
  if rest:match("%S") then
    M.show(shown.buffer, line, column, rest)
  end
  return true
end

return M

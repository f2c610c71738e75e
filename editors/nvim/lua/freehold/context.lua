-- What the model is shown: the text around the cursor, and pieces of other buffers.
local M = {}

local BEFORE, AFTER = 12000, 4000 -- bytes; the server keeps what stands next to the cursor where that is too many
local PIECE = 2000 -- bytes of another buffer
local MOST_LINES = 2000 -- of the own buffer on each side: more would not fit

local SECRETS = {
  "^%.env$", "^%.env%.", "^%.netrc$", "^%.npmrc$", "^%.pypirc$", "^id_[a-z0-9]+$", "^credentials$",
  "%.pem$", "%.key$", "%.p12$", "%.pfx$", "%.kdbx$",
}

--- Whether a file is one that people keep secrets in: it is neither completed nor shown to the model.
function M.is_secret(path)
  local name = vim.fn.fnamemodify(path, ":t"):lower()
  for _, pattern in ipairs(SECRETS) do
    if name:match(pattern) then
      return true
    end
  end
  return false
end

--- The text on both sides of a place (line from 1, column in bytes from 0): whole lines at its far ends.
function M.around(buffer, line, column)
  local count = vim.api.nvim_buf_line_count(buffer)
  local current = vim.api.nvim_buf_get_lines(buffer, line - 1, line, false)[1] or ""
  local before = vim.api.nvim_buf_get_lines(buffer, math.max(0, line - 1 - MOST_LINES), line - 1, false)
  local after = vim.api.nvim_buf_get_lines(buffer, line, math.min(count, line + MOST_LINES), false)
  local kept, size = {}, 0
  for index = #before, 1, -1 do
    size = size + #before[index] + 1
    if size > BEFORE then
      break
    end
    table.insert(kept, 1, before[index] .. "\n")
  end
  local left, right = current:sub(1, column), current:sub(column + 1)
  local suffix = { right }
  size = #right
  for _, text in ipairs(after) do
    size = size + #text + 1
    if size > AFTER then
      break
    end
    table.insert(suffix, "\n" .. text)
  end
  return { lines = table.concat(kept), left = left, suffix = table.concat(suffix), right = right }
end

--- A piece of a buffer around a line: whole lines, as many as fit.
local function piece(buffer, line)
  local count = vim.api.nvim_buf_line_count(buffer)
  local lines = vim.api.nvim_buf_get_lines(buffer, math.max(0, line - 60), math.min(count, line + 60), false)
  local middle = math.min(line, 60) + (line <= 60 and 0 or 1)
  local first = math.max(1, math.min(middle, #lines))
  local last, size = first, #(lines[first] or "") + 1
  if size > PIECE then
    return ""
  end
  local grew = true
  while grew do
    grew = false
    if first > 1 and size + #lines[first - 1] + 1 <= PIECE then
      first, size, grew = first - 1, size + #lines[first - 1] + 1, true
    end
    if last < #lines and size + #lines[last + 1] + 1 <= PIECE then
      last, size, grew = last + 1, size + #lines[last + 1] + 1, true
    end
  end
  return table.concat(vim.list_slice(lines, first, last), "\n")
end

--- Pieces of other buffers for `input_extra`: those used last come last, for they count most.
function M.extras(buffer, count)
  local others = {}
  for _, info in ipairs(vim.fn.getbufinfo({ buflisted = 1 })) do
    local usual = info.loaded == 1 and info.name ~= "" and vim.bo[info.bufnr].buftype == ""
    if info.bufnr ~= buffer and usual and not M.is_secret(info.name) then
      table.insert(others, info)
    end
  end
  table.sort(others, function(one, other)
    if one.lastused == other.lastused then
      return one.bufnr < other.bufnr
    end
    return one.lastused < other.lastused
  end)
  local pieces = {}
  for index = math.max(1, #others - count + 1), #others do
    local info = others[index]
    local text = piece(info.bufnr, info.lnum)
    if text:match("%S") then
      table.insert(pieces, { filename = vim.fn.fnamemodify(info.name, ":."), text = text })
    end
  end
  return pieces
end

return M

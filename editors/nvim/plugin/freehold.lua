-- Suggestions as you type, from a Freehold server of your own. `require("freehold").setup{}` changes the settings.
if vim.g.loaded_freehold or vim.fn.has("nvim-0.7") == 0 then
  return
end
vim.g.loaded_freehold = true
if vim.g.freehold_no_setup == nil then
  require("freehold").setup({})
end

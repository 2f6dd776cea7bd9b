-- Tables, sorting, recursion, strings, floating point, metatables. The argument is the number of rounds.
local n = tonumber(arg[1])
local t = 0

local function fib(x)
  if x < 2 then return x end
  return fib(x - 1) + fib(x - 2)
end

for k = 1, n do
  local a = {}
  for i = 1, 3000 do a[i] = (i * 7919) % 10007 end
  table.sort(a)
  t = t + a[100] + fib(17)
  local s = {}
  for i = 1, 500 do s[#s + 1] = string.format("%d:%x", i, i * k) end
  local c = 0
  for w in table.concat(s, ","):gmatch("%x+:") do c = c + #w end
  t = t + c
  local x = 0.5
  for i = 1, 5000 do x = x * 3.7 * (1 - x) end
  t = t + math.floor(x * 100)
  local m = setmetatable({}, {__index = function(_, q) return q * 2 end})
  for i = 1, 2000 do t = t + m[i] end
end
print(t)

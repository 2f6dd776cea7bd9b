//! Lua: a compact interpreter; its loop is one indirect jump, and it leaves errors through `longjmp`.

// tidy: table
use super::Case;

const fn lua(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "lua5.4", &["-e"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    lua("nothing", ""),
    lua(
        "arithmetic",
        "print(7 // 2, -7 // 2, 7 % -3, 7 / 2, 2^53, 1 << 62, ~0, 5 // 0.0, -5 % math.huge, 0x7fffffffffffffff + 1, 3 | 4.0)",
    ),
    lua(
        "floats",
        "print(0.1 + 0.2, 1/3, 1e308 * 10, -0.0, 0/0 ~= 0/0, 1e15, 2^63, math.pi, 3.0, 100 // 1e-3, string.format('%.14g %a', 0.1, 0.1))",
    ),
    lua(
        "math",
        "for x = -3, 3, 0.37 do print(math.sin(x), math.cos(x), math.exp(x), math.floor(x), math.fmod(x, 1.1), math.abs(x), math.tointeger(math.ceil(x))) end",
    ),
    lua(
        "log_and_sqrt",
        "for i = 1, 20 do print(math.sqrt(i), math.log(i), math.log(i, 2), math.log(i, 10), i ^ 0.3) end",
    ),
    lua(
        "integers",
        "print(math.maxinteger, math.mininteger, math.maxinteger // -1, math.mininteger // -1, math.ult(1, -1), 1 << 64, -1 >> 1, 10 // 3, 3 == 3.0)",
    ),
    lua(
        "strings",
        "local s = 'The quick brown fox'; print(#s, s:upper(), s:reverse(), s:sub(5, 9), s:find('quick'), s:rep(2, '-'), s:byte(1, 3), ('x'):rep(5))",
    ),
    lua(
        "format",
        "print(string.format('%5d|%-5s|%05.2f|%x|%e|%g|%q|%c|%i', 42, 'ab', 3.14159, 255, 12345.678, 1e-5, 'a\\nb', 65, 7))",
    ),
    lua(
        "patterns",
        "local n = 0; local t = {}; for i = 1, 300 do t[#t + 1] = 'item' .. i end; for w in table.concat(t, ' '):gmatch('m(%d+)5') do n = n + w end; print(n, ('hello world'):gsub('o', '0'), ('k=v, a=b'):gsub('(%w+)=(%w+)', '%2=%1'), ('f(a(b)c)d'):match('%b()'))",
    ),
    lua(
        "tables",
        "local a = {}; for i = 1, 1000 do a[i] = (i * 7919) % 1009 end; table.sort(a); print(a[1], a[500], a[1000], #a); table.insert(a, 1, -1); print(table.remove(a), a[1], table.concat({1, 2, 3}, '+'), table.unpack({4, 5, 6}))",
    ),
    lua(
        "sort_with_function",
        "local a = {}; for i = 1, 200 do a[i] = {k = i * 31 % 97, v = i} end; table.sort(a, function(x, y) if x.k ~= y.k then return x.k > y.k end return x.v < y.v end); print(a[1].k, a[1].v, a[100].k, a[200].v)",
    ),
    lua(
        "metatables",
        "local V = {}; V.__index = V; V.__add = function(a, b) return setmetatable({x = a.x + b.x}, V) end; V.__tostring = function(a) return 'V' .. a.x end; V.__call = function(a, y) return a.x * y end; V.__len = function() return 42 end; V.__eq = function() return true end; local a, b = setmetatable({x = 1}, V), setmetatable({x = 2}, V); print(tostring(a + b), a(10), #a, a == b)",
    ),
    lua(
        "closures",
        "local function c() local n = 0; return function() n = n + 1; return n end end; local a, b = c(), c(); a(); a(); print(a(), b())",
    ),
    lua(
        "recursion",
        "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end; print(fib(18))",
    ),
    lua(
        "tail_calls",
        "local function f(n, s) if n == 0 then return s end return f(n - 1, s + n) end; print(f(20000, 0))",
    ),
    lua(
        "stack_overflow",
        "local function f() return 1 + f() end; local ok, e = pcall(f); print(ok, e:match('stack overflow'))",
    ),
    lua(
        "errors",
        "print(pcall(error, 'x')); print(select(2, pcall(error, {code = 5})).code); print(select(2, pcall(function() local x = nil; return x.y end))); print(xpcall(function() error('deep', 0) end, function(m) return 'handled ' .. m end))",
    ),
    lua("exit", "os.exit(9)"),
    lua("uncaught", "error('boom')"),
    lua(
        "coroutines",
        "local function gen(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i * i) end end) end; local s = 0; for v in gen(100) do s = s + v end; print(s); local co = coroutine.create(function(a) local b = coroutine.yield(a * 2); error('in ' .. b) end); print(coroutine.resume(co, 5)); print(coroutine.resume(co, 'co')); print(coroutine.status(co))",
    ),
    lua("goto", "for i = 1, 5 do if i % 2 == 0 then goto continue end; io.write(i, ' ') ::continue:: end print()"),
    lua(
        "varargs",
        "local function f(...) return select('#', ...), select(-1, ...), ... end; print(f(1, nil, 3)); print((f(1, 2)))",
    ),
    lua(
        "load",
        "local f = load('local a, b = ... return a * b + 1'); print(f(6, 7)); print(load('return +')); print(#string.dump(function() return 1 end) > 10)",
    ),
    lua(
        "pack",
        "local s = string.pack('<i4 I2 d s2 z', -5, 65535, 3.25, 'abc', 'zz'); print(#s, s:byte(1, -1)); print(string.unpack('<i4 I2 d s2 z', s)); print(string.packsize('!8 i1 i8'))",
    ),
    lua(
        "utf8",
        "print(utf8.len('häß€'), utf8.char(228, 8364), utf8.codepoint('€', 1)); for p, c in utf8.codes('aä') do print(p, c) end",
    ),
    lua(
        "garbage",
        "local w = setmetatable({}, {__mode = 'v'}); w[1] = {}; collectgarbage(); print(w[1]); local n = 0; do local x <close> = setmetatable({}, {__close = function() n = n + 1 end}) end; for i = 1, 5000 do local t = {i} end; collectgarbage('generational'); collectgarbage(); print(n, collectgarbage('count') < 1000)",
    ),
    lua(
        "io",
        "local f = io.open('o', 'w'); for i = 1, 100 do f:write(i, ' ', i / 4, '\\n') end; f:close(); local n, s = 0, 0; for a, b in io.lines('o', 'n', 'n') do n = n + 1; s = s + b end; print(n, s); f = io.open('o', 'rb'); print(f:seek('end'), f:seek('set', 3), f:read('l'), f:read(5)); f:close(); print(os.remove('o'), io.open('o'))",
    ),
    lua(
        "words",
        "local c = {}; for l in io.lines('words.txt') do for w in l:gmatch('%a+') do c[w] = (c[w] or 0) + 1 end end; local k = {}; for w in pairs(c) do k[#k + 1] = w end; table.sort(k, function(a, b) if c[a] ~= c[b] then return c[a] > c[b] end return a < b end); for i = 1, 10 do print(k[i], c[k[i]]) end",
    ),
    lua(
        "popen",
        "local p = io.popen('seq 4'); print(p:read('a')); print(p:close()); print(os.execute('exit 3')); print(os.getenv('LC_ALL'))",
    ),
    lua(
        "dates",
        "print(os.date('!%Y-%m-%d %H:%M:%S', 1234567890), os.time({year = 2024, month = 2, day = 29, hour = 12}), os.date('!*t', 0).yday)",
    ),
    lua("random", "math.randomseed(42); print(math.random(1, 1000000), math.random(1, 1000000), math.random())"),
    lua(
        "sieve",
        "local n, c, p = 5000, {}, 0; for i = 2, n do if not c[i] then p = p + 1; for j = i * i, n, i do c[j] = true end end end; print(p)",
    ),
    lua(
        "queens",
        "local n, s = 6, 0; local function q(r, c, l, d) if r == n then s = s + 1 return end for i = 0, n - 1 do local a, b = r + i, r - i + n; if not (c[i] or l[a] or d[b]) then c[i], l[a], d[b] = true, true, true; q(r + 1, c, l, d); c[i], l[a], d[b] = nil end end end; q(0, {}, {}, {}); print(s)",
    ),
    lua(
        "logistic_map",
        "local x = 0.5; for i = 1, 5000 do x = x * 3.7 * (1 - x) end; print(string.format('%.17g', x))",
    ),
];

//! SQLite: B-trees, a virtual machine, and double-precision output.

// tidy: table
use super::Case;

const fn sqlite(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "sqlite3", &[":memory:"], text)
}

const fn bash(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "bash", &["-c"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    sqlite("select", "select 1 + 1, 'a' || 'b', 7 / 2, 7 / 2.0, 7 % 3, -7 / 2, 1 << 40, ~5, null is null;"),
    sqlite(
        "numbers",
        "select 9223372036854775807, 9223372036854775807 + 1, 0.1 + 0.2, 1e300 * 1e10, 1 / 3.0, round(2.675, 2), abs(-5), 1e15, 123456789.123456789, cast('12abc' as int);",
    ),
    sqlite(
        "functions",
        "select upper('abc'), length('häß'), substr('hello', 2, 3), replace('aXbX', 'X', '-'), trim('  x '), hex('AB'), instr('hello', 'l'), printf('%05d %.3f %s', 42, 3.14159, 'x'), coalesce(null, 5), typeof(1.0);",
    ),
    sqlite(
        "dates",
        "select date(0, 'unixepoch'), datetime(1e9, 'unixepoch'), strftime('%j %w', '2024-03-01'), julianday('2000-01-01'), date('2024-01-31', '+1 month');",
    ),
    sqlite(
        "recursive",
        "with recursive f(a, b, n) as (select 0, 1, 0 union all select b, a + b, n + 1 from f where n < 60) select a from f;",
    ),
    sqlite(
        "insert",
        "create table t(id integer primary key, k int, s text, f real); with recursive c(x) as (select 1 union all select x + 1 from c where x < 2000) insert into t select x, x * 7919 % 1009, 'name' || (x * 31 % 977), x * 0.25 from c; select count(*), sum(k), avg(f), min(s), max(s) from t;",
    ),
    sqlite(
        "group",
        "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 1000) insert into t select x % 13, x * x % 101 from c; select a, count(*), sum(b), avg(b), group_concat(distinct b % 3) from t group by a having count(*) > 70 order by 3 desc;",
    ),
    sqlite(
        "index",
        "create table t(k int, s text); with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000) insert into t select x * 7919 % 1009, 's' || x from c; create index i on t(k); create unique index j on t(s); select count(*) from t where k between 100 and 300; select s from t where k = 500 order by s; explain query plan select * from t where k = 5;",
    ),
    sqlite(
        "join",
        "create table a(x, y); create table b(x, z); with recursive c(n) as (select 1 union all select n + 1 from c where n < 300) insert into a select n, n % 17 from c; insert into b select y, x from a where x % 3 = 0; select count(*), sum(a.x * b.z) from a join b on a.y = b.x; select count(*) from a left join b on a.x = b.z where b.x is null;",
    ),
    sqlite(
        "window",
        "create table t(v); insert into t values (3), (1), (4), (1), (5), (9), (2), (6); select v, row_number() over w, rank() over w, sum(v) over (order by v rows 2 preceding), lag(v) over w from t window w as (order by v);",
    ),
    sqlite(
        "update_delete",
        "create table t(a, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 500) insert into t select x, x % 10 from c; update t set b = b * 2 where a % 7 = 3; delete from t where b > 10; select count(*), sum(a), total(b), changes() from t;",
    ),
    sqlite(
        "transaction",
        "create table t(a); begin; insert into t values (1), (2); rollback; select count(*) from t; begin; insert into t values (3); savepoint s; insert into t values (4); rollback to s; commit; select * from t;",
    ),
    sqlite(
        "constraint",
        "create table t(a unique, check (a > 0)); insert into t values (1); insert or ignore into t values (1); insert into t values (-1);",
    ),
    sqlite(
        "like_and_glob",
        "create table t(s); with recursive c(x) as (select 1 union all select x + 1 from c where x < 500) insert into t select 'name' || (x * 31 % 977) from c; select count(*) from t where s like '%e1_5%'; select count(*) from t where s glob 'name[1-4]*'; select 'a' like 'A', 'ä' like 'Ä';",
    ),
    sqlite(
        "json",
        "select json_extract('{\"a\": [1, 2.5, {\"b\": \"x\"}]}', '$.a[2].b'), json_array(1, 'a', null), json_group_array(value) from json_each('[3, 1, 2]');",
    ),
    sqlite(
        "triggers_and_views",
        "create table t(a); create table log(m); create trigger r after insert on t begin insert into log values ('got ' || new.a); end; insert into t values (1), (2); create view v as select a * 10 as x from t; select * from v; select * from log;",
    ),
    sqlite("math", "select sqrt(2), exp(1), ln(10), pow(2, 0.5), sin(1), atan2(1, 2), floor(-2.5), pi();"),
    sqlite("blobs", "select hex(zeroblob(4)), length(randomblob(100)), quote(x'0102ff'), hex(cast(3.5 as blob));"),
    sqlite(
        "full_text",
        "create virtual table d using fts5(t); insert into d values ('the quick brown fox'), ('lazy dogs'), ('quick dogs'); select rowid, highlight(d, 0, '<', '>') from d where d match 'quick' order by rank;",
    ),
    Case::new("modes", "sqlite3", &[":memory:"])
        .reading(".mode column\n.headers on\nselect 1 as one, 'x' as two;\n.mode quote\nselect 1.5, 'it''s', null;\n"),
    sqlite("error", "select no_such_column;"),
    Case::new("script", "sqlite3", &[":memory:"])
        .reading(".mode csv\n.import table.csv t\n.schema\nselect count(*) from t;\n.mode json\nselect 1 a, 2.5 b;\n"),
    bash(
        "on_disk",
        "sqlite3 x.db 'create table t(a primary key, b); with recursive c(x) as (select 1 union all select x + 1 from c where x < 800) insert into t select x, hex(x * x) from c'; sqlite3 x.db 'select count(*), max(b) from t; pragma integrity_check; vacuum'; sqlite3 x.db .dump | md5sum",
    ),
    bash(
        "write_ahead_log",
        "sqlite3 x.db 'pragma journal_mode = wal; create table t(a); insert into t values (1), (2)'; sqlite3 x.db 'insert into t select a + 10 from t; select sum(a) from t; pragma wal_checkpoint'",
    ),
    bash(
        "two_processes",
        "sqlite3 x.db 'create table t(a)'; for i in 1 2 3; do sqlite3 -cmd '.timeout 20000' x.db \"insert into t values ($i)\" & done; wait; sqlite3 x.db 'select sum(a) from t'",
    ),
];

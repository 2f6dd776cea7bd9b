//! A program with much code that runs once: what it costs to translate code that is not worth it.

use std::fmt::Write as _;

const FUNCTIONS: usize = 2000;

const HEAD: &str = r#"#include "bench.h"
static uint32_t g[256];
typedef struct { uint32_t a, b; int64_t q; double d; char s[16]; } T;
static T t[64];
"#;

const TAIL: &str = r#"int main(int argc, char **argv) {
    int passes = argc > 1 ? atoi(argv[1]) : 1;
    uint32_t h = 1;
    for (int i = 0; i < 256; i++) g[i] = rng();
    for (int p = 0; p < passes; p++) h = all(h);
    printf("cold %08x\n", h);
    return 0;
}
"#;

/// The program's C source; always the same.
pub fn program() -> String {
    let mut random = Random(20240607);
    let mut text = HEAD.to_owned();
    for index in 0..FUNCTIONS {
        function(&mut text, index, &mut random);
    }
    text += "static uint32_t all(uint32_t h) {\n";
    for index in 0..FUNCTIONS {
        let _ = writeln!(text, "    h = f{index}(h, {index}u);");
    }
    text + "    return h;\n}\n" + TAIL
}

/// A linear congruential generator with the constants of Knuth's MMIX.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    fn between(&mut self, first: usize, end: usize) -> usize {
        first + self.below(end - first)
    }

    fn pick(&mut self, variables: &[String]) -> String {
        variables[self.below(variables.len())].clone()
    }
}

fn function(text: &mut String, index: usize, random: &mut Random) {
    let mut variables = vec!["x".to_owned(), "y".to_owned()];
    let _ = writeln!(text, "static NOINLINE uint32_t f{index}(uint32_t x, uint32_t y) {{");
    for number in 0..random.between(5, 10) {
        let new = format!("v{number}");
        let value = expression(&variables, random);
        let _ = writeln!(text, "    uint32_t {new} = {value};");
        variables.push(new);
        let _ = writeln!(text, "    {}", statement(&variables, random));
    }
    let last = variables[variables.len() - 4..].join(" ^ ");
    let _ = writeln!(text, "    return {last};\n}}");
}

fn expression(variables: &[String], random: &mut Random) -> String {
    let (a, b) = (random.pick(variables), random.pick(variables));
    let (constant, count) = (random.between(1, 1 << 16), random.between(1, 31));
    match random.below(11) {
        0 => format!("{a} + {b}"),
        1 => format!("{a} ^ ({b} << {count})"),
        2 => format!("{a} * {constant}u"),
        3 => format!("({a} >> {count}) - {b}"),
        4 => format!("g[{a} & 255] + {constant}u"),
        5 => format!("{a} & ~{b}"),
        6 => format!("({a} << {}) | ({b} & {constant}u)", count % 7 + 1),
        7 => format!("(uint32_t)(uint8_t){a} + {b}"),
        8 => format!("(uint32_t)(int16_t){a} * 3u"),
        9 => format!("t[{a} & 63].a - {b}"),
        _ => format!("(uint32_t)t[{a} & 63].q ^ {b}"),
    }
}

fn statement(variables: &[String], random: &mut Random) -> String {
    let (a, b, c) = (random.pick(variables), random.pick(variables), random.pick(variables));
    let number = random.between(1, 99);
    match random.below(8) {
        0 => format!("if ({a} < {b}) {{ {b} += {number}u; g[{a} & 255] ^= {c}; }} else {c} ^= {a};"),
        1 => format!("for (int i = 0; i < 2; i++) {a} += g[({b} + (uint32_t)i) & 255];"),
        2 => format!("t[{a} & 63].q += (int64_t){b} * {number};"),
        3 => format!("t[{number} & 63].d += (double)(int){a} * {number}.5;"),
        4 => format!("switch ({a} & 3) {{ case 0: x += y; break; case 1: y ^= {number}u; break; default: {b}--; }}"),
        5 if number < 30 => format!("if ({a} & {}u) return {b} + {c};", 1 << (number % 20)),
        5 => format!("t[{a} & 63].s[{}] = (char){b};", number % 16),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_is_complete_and_always_the_same() {
        let text = super::program();
        assert_eq!(text.matches("static NOINLINE").count(), super::FUNCTIONS);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert_eq!(text, super::program());
    }
}

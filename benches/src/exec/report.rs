//! Tables of ratios.

use super::{CLASSES, Contender, Row};
use std::fmt::Write as _;

/// Groups of classes with a common mean.
const SUMMARIES: &[(&str, &str)] = &[("all kernels, a to i", "abcdefghi"), ("all programs, r p o", "rpo")];

/// The results as Markdown: for every benchmark and every class the ratio of processor times to the native run, and
/// with two emulators the ratio of the first to the second.
pub fn report(rows: &[Row], contenders: &[Contender]) -> String {
    let emulators = &contenders[1..];
    let mut text = String::from("Ratios of processor time, lower is better; `*`: wrong output or failure.\n");
    if let [native, emulator, ..] = contenders
        && native.arch != emulator.arch
    {
        let (native, guest) = (native.arch.debian, emulator.arch.debian);
        let _ = writeln!(text, "Programs are for {guest}; natively, the same ones for {native} are run.");
    }
    text.push('\n');
    let mut header = vec!["class".to_owned(), "benchmark".to_owned(), "native s".to_owned()];
    for emulator in emulators {
        header.push(format!("{} s", emulator.name));
        header.push(format!("{} ×", emulator.name));
    }
    header.extend(versus(contenders));
    table_head(&mut text, &header, 2);
    for (class, description) in CLASSES {
        for row in rows.iter().filter(|row| row.class == *class) {
            let _ = writeln!(text, "| {class} {description} | {} |{}", row.name, cells(row));
        }
    }
    text += "\nGeometric means\n\n";
    let mut header = vec!["class".to_owned()];
    header.extend(emulators.iter().map(|emulator| format!("{} ×", emulator.name)));
    header.extend(versus(contenders));
    table_head(&mut text, &header, 1);
    let classes = CLASSES.iter().map(|(class, description)| (format!("{class} {description}"), class.to_string()));
    let summaries = SUMMARIES.iter().map(|(name, classes)| (format!("**{name}**"), classes.to_string()));
    for (name, classes) in classes.chain(summaries) {
        let members: Vec<&Row> = rows.iter().filter(|row| classes.contains(row.class)).collect();
        if !members.is_empty() {
            let means = (1..contenders.len()).map(|index| mean(&members, index, 0));
            let versus = (contenders.len() > 2).then(|| mean(&members, 1, 2));
            let cells: String = means.chain(versus).map(|mean| format!(" {} |", show(mean))).collect();
            let _ = writeln!(text, "| {name} |{cells}");
        }
    }
    text
}

/// The column that compares the two emulators.
fn versus(contenders: &[Contender]) -> Option<String> {
    (contenders.len() > 2).then(|| format!("{} / {}", contenders[1].name, contenders[2].name))
}

fn table_head(text: &mut String, header: &[String], left: usize) {
    let _ = writeln!(text, "| {} |", header.join(" | "));
    let _ = writeln!(text, "|{}{}", "---|".repeat(left), "--:|".repeat(header.len() - left));
}

fn cells(row: &Row) -> String {
    let digits = if row.class == 's' { 4 } else { 2 };
    let mut text = format!(" {:.digits$} |", row.samples[0].seconds);
    for (index, sample) in row.samples.iter().enumerate().skip(1) {
        let mark = if sample.is_right { "" } else { " *" };
        let _ = write!(text, " {:.digits$} | {}{mark} |", sample.seconds, show(ratio(row, index, 0)));
    }
    if row.samples.len() > 2 {
        let _ = write!(text, " {} |", show(ratio(row, 1, 2)));
    }
    text
}

/// The ratio of two contenders' times; none if a run failed or was too short to be timed.
fn ratio(row: &Row, one: usize, other: usize) -> Option<f64> {
    let (one, other) = (row.samples.get(one)?, row.samples.get(other)?);
    (one.is_right && other.is_right && one.seconds > 0.0 && other.seconds > 0.0).then(|| one.seconds / other.seconds)
}

fn mean(rows: &[&Row], one: usize, other: usize) -> Option<f64> {
    let logarithms: Vec<f64> = rows.iter().filter_map(|row| ratio(row, one, other)).map(f64::ln).collect();
    (!logarithms.is_empty()).then(|| (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp())
}

fn show(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::exec::Sample;

    fn row(name: &str, class: char, seconds: [f64; 3], is_right: bool) -> Row {
        let samples = seconds.map(|seconds| Sample { seconds, is_right: true }).to_vec();
        let mut row = Row { name: name.to_owned(), class, samples };
        row.samples[1].is_right = is_right;
        row
    }

    #[test]
    fn ratios_and_means() {
        let native = Contender::native(Arch::find("i386").expect("an architecture"));
        let named = |name: &str| Contender { name: name.to_owned(), ..native.clone() };
        let contenders = [native.clone(), named("ours"), named("theirs")];
        let rows = [
            row("a_x", 'a', [1.0, 2.0, 4.0], true),
            row("a_y", 'a', [1.0, 8.0, 4.0], true),
            row("b_z", 'b', [1.0, 9.0, 3.0], false),
        ];
        let text = report(&rows, &contenders);
        assert!(text.contains("| a integers, branches | a_x | 1.00 | 2.00 | 2.00 | 4.00 | 4.00 | 0.50 |"), "{text}");
        assert!(text.contains("| b calls, returns | b_z | 1.00 | 9.00 | - * | 3.00 | 3.00 | - |"), "{text}");
        assert!(text.contains("| a integers, branches | 4.00 | 4.00 | 1.00 |"), "{text}");
        assert!(text.contains("| b calls, returns | - | 3.00 | - |"), "{text}");
    }
}

//! What the engine tells, made into log text, statistics and the map for `perf`.

use crate::listing;
use crate::log::Log;
use crate::log_items::LogItems;
use crate::perf_map::PerfMap;
use crate::statistics::Statistics;
use crate::symbols::Symbols;
use isamorph_engine::{HostCode, Trace, TraceSink};
use std::ops::RangeInclusive;
use std::sync::OnceLock;

/// Receives what the engine tells.
#[derive(Debug)]
pub struct Sink {
    /// Where text goes.
    pub log: Log,
    /// What is wanted as text.
    pub items: LogItems,
    /// Guest addresses of what is wanted; empty for all.
    pub filter: Vec<RangeInclusive<u64>>,
    /// Set when the program has been loaded.
    pub symbols: OnceLock<Symbols>,
    /// Names host code for `perf`.
    pub perf_map: Option<PerfMap>,
    /// Sums up.
    pub statistics: Option<Statistics>,
}

impl Sink {
    /// Whether log text about the region at an address passes the filter.
    fn shows(&self, pc: u64) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|range| range.contains(&pc))
    }
    /// Whether something else than the log wants host code.
    fn wants_code(&self) -> bool {
        self.perf_map.is_some() || self.statistics.is_some()
    }
    /// Whether the engine has anything to tell.
    pub fn is_idle(&self) -> bool {
        self.wanted().is_empty()
    }
}

impl TraceSink for Sink {
    fn wanted(&self) -> Trace {
        let code = if self.wants_code() { Trace::OUT_ASM } else { Trace::empty() };
        self.items.trace() | code
    }
    fn selects(&self, kind: Trace, pc: u64) -> bool {
        kind == Trace::OUT_ASM && self.wants_code() || self.shows(pc)
    }
    fn symbol(&self, pc: u64) -> Option<&str> {
        self.symbols.get()?.find(pc)
    }
    fn text(&self, kind: Trace, text: &str) {
        self.log.write(&match kind {
            Trace::IN_ASM => format!("----------------\n{text}\n"),
            Trace::OP => format!("OP:\n{text}\n"),
            Trace::OP_OPT => format!("OP after optimization and liveness analysis:\n{text}\n"),
            _ => return self.log.write(text),
        });
    }
    fn host_code(&self, code: &HostCode<'_>) {
        if let Some(statistics) = &self.statistics {
            statistics.count(code);
        }
        if let Some(map) = &self.perf_map {
            map.add(code, self.symbol(code.pc));
        }
        if self.items.contains(LogItems::OUT_ASM) && self.shows(code.pc) {
            self.log.write(&listing::host(code));
        }
    }
}

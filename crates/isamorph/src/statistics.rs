//! `-stats`: what was translated.

use isamorph_engine::{Engine, HostCode};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums over all regions that were compiled, in this process and before the `fork` that made it.
#[derive(Debug, Default)]
pub struct Statistics {
    regions: AtomicU64,
    insns: AtomicU64,
    guest_bytes: AtomicU64,
    host_bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Statistics {
    /// Counts a region.
    pub fn count(&self, code: &HostCode<'_>) {
        let guest_bytes = code.insns.iter().map(|(_, len, _)| u64::from(*len)).sum();
        let terms = [
            (&self.regions, 1),
            (&self.insns, code.insns.len() as u64),
            (&self.guest_bytes, guest_bytes),
            (&self.host_bytes, code.bytes.len() as u64),
            (&self.nanoseconds, code.took.as_nanos() as u64),
        ];
        for (sum, term) in terms {
            sum.fetch_add(term, Ordering::Relaxed);
        }
    }

    /// The sums as text.
    pub fn report(&self, engine: &Engine) -> String {
        let Statistics { regions, insns, guest_bytes, host_bytes, nanoseconds } = self;
        let sums = [regions, insns, guest_bytes, host_bytes, nanoseconds].map(|sum| sum.load(Ordering::Relaxed));
        let [regions, insns, guest_bytes, host_bytes, nanoseconds] = sums;
        if regions == 0 {
            return "translated    nothing: everything was interpreted\n".to_owned();
        }
        let per = |a: u64, b: u64| a as f64 / b as f64;
        let mut text = format!(
            "translated    {regions} regions, {insns} guest instructions\n\
             guest code    {guest_bytes} bytes\n\
             host code     {host_bytes} bytes, {:.1} times the guest's, {:.1} per guest instruction\n\
             time          {:.3} ms, {:.0} ns per guest instruction\n",
            per(host_bytes, guest_bytes),
            per(host_bytes, insns),
            nanoseconds as f64 / 1e6,
            per(nanoseconds, insns),
        );
        if let Some(cache) = engine.cache_stats() {
            let _ = writeln!(
                text,
                "code cache    {} exits linked, {} unlinked, {} regions invalidated, {} evicted",
                cache.links, cache.unlinks, cache.invalidated, cache.evicted
            );
        }
        for (what, count) in engine.lacking() {
            let _ = writeln!(text, "interpreted   {count} regions with {what}");
        }
        text
    }
}

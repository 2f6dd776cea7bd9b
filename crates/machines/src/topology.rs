//! How many processors there are, and how they are grouped (`-smp`).

/// Processors and their grouping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    /// Processors.
    pub count: u32,
    /// Packages.
    pub sockets: u32,
    /// Dies of a package.
    pub dies: u32,
    /// Cores of a die.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Topology { count: 1, sockets: 1, dies: 1, cores: 1, threads: 1 }
    }
}

impl Topology {
    /// The grouping with those numbers; what is not given follows from the rest: cores first, then sockets, then
    /// threads, as QEMU has it since 6.2.
    ///
    /// # Errors
    /// The numbers contradict each other.
    pub fn new(
        count: Option<u32>,
        most: Option<u32>,
        sockets: Option<u32>,
        dies: Option<u32>,
        cores: Option<u32>,
        threads: Option<u32>,
    ) -> Result<Self, String> {
        let given = [sockets, dies, cores, threads].into_iter().flatten();
        let product = given.fold(1u64, |product, n| product.saturating_mul(n.into()));
        let product = u32::try_from(product).map_err(|_| "Invalid CPU topology: too many processors")?;
        let all = most.or(count).unwrap_or(product);
        let share = |of: u32| (all / of.max(1)).max(1);
        let (dies, mut sockets, mut cores, mut threads) = (dies.unwrap_or(1), sockets, cores, threads);
        if cores.is_none() {
            cores = Some(share(sockets.unwrap_or(1) * dies * threads.unwrap_or(1)));
        } else if sockets.is_none() {
            sockets = Some(share(dies * cores.unwrap_or(1) * threads.unwrap_or(1)));
        } else if threads.is_none() {
            threads = Some(share(sockets.unwrap_or(1) * dies * cores.unwrap_or(1)));
        }
        let (sockets, cores, threads) = (sockets.unwrap_or(1), cores.unwrap_or(1), threads.unwrap_or(1));
        let topology = Topology { count: count.unwrap_or(all), sockets, dies, cores, threads };
        if topology.most() != all {
            let parts = format!("sockets ({sockets}) * dies ({dies}) * cores ({cores}) * threads ({threads})");
            return Err(format!(
                "Invalid CPU topology: product of the hierarchy must match maxcpus: {parts} != maxcpus ({all})"
            ));
        }
        if topology.count > all {
            return Err("Invalid CPU topology: maxcpus must be equal to or greater than smp".to_owned());
        }
        Ok(topology)
    }
    /// Places for processors.
    pub const fn most(&self) -> u32 {
        self.sockets.saturating_mul(self.dies).saturating_mul(self.cores).saturating_mul(self.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_follows() {
        let some = |n: u32| (n != 0).then_some(n);
        // count, most, sockets, dies, cores, threads => sockets, dies, cores, threads
        for (given, expected) in [
            ([4, 0, 0, 0, 0, 0], [1, 1, 4, 1]),
            ([4, 0, 2, 0, 0, 0], [2, 1, 2, 1]),
            ([0, 0, 2, 0, 2, 2], [2, 1, 2, 2]),
            ([8, 0, 0, 0, 2, 2], [2, 1, 2, 2]),
            ([2, 8, 2, 2, 0, 0], [2, 2, 2, 1]),
            ([8, 0, 2, 1, 2, 0], [2, 1, 2, 2]),
        ] {
            let [a, b, c, d, e, f] = given.map(some);
            let made = Topology::new(a, b, c, d, e, f).unwrap();
            assert_eq!([made.sockets, made.dies, made.cores, made.threads], expected, "{given:?}");
        }
        assert!(Topology::new(Some(5), Some(4), None, None, None, None).is_err());
        assert!(Topology::new(Some(3), None, Some(2), None, None, None).is_err());
        assert!(Topology::new(None, None, Some(70_000), None, Some(70_000), None).is_err());
    }
}

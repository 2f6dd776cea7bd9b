//! Memory maps as text, in the form of QEMU's `info mtree`.

use crate::access::AddressSpace;
use crate::flat::{FlatRange, Target};
use crate::region::{Content, Region, RegionId, Tree};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The last address of a range, for printing.
fn last(start: u64, len: u128) -> u64 {
    start.wrapping_add(len.saturating_sub(1) as u64)
}

fn kind(region: &Region) -> &'static str {
    match &region.content {
        Content::Container | Content::Io(..) => "i/o",
        Content::Ram(_) if region.readonly => "rom",
        Content::Ram(_) => "ram",
        Content::RomDevice { direct: true, .. } => "romd",
        Content::RomDevice { .. } => "i/o",
        Content::Alias(..) => "alias",
    }
}

/// `info mtree`: each space with the regions below its root.
pub(crate) fn tree(tree: &Tree, spaces: &[(&str, RegionId)]) -> String {
    let mut out = String::new();
    let mut aliased = BTreeSet::new();
    for (name, root) in spaces {
        let _ = writeln!(out, "address-space: {name}");
        region(&mut out, tree, *root, 0, 1, &mut aliased);
        out.push('\n');
    }
    let shown: BTreeSet<_> = spaces.iter().map(|(_, root)| *root).collect();
    for id in aliased.clone() {
        if tree.region(id).parent.is_none() && !shown.contains(&id) {
            let _ = writeln!(out, "memory-region: {}", tree.region(id).name);
            region(&mut out, tree, id, 0, 1, &mut aliased);
            out.push('\n');
        }
    }
    out
}

fn region(out: &mut String, tree: &Tree, id: RegionId, base: u64, depth: usize, aliased: &mut BTreeSet<RegionId>) {
    let this = tree.region(id);
    let start = base.wrapping_add(this.offset);
    let indent = 2 * depth;
    let end = last(start, this.size);
    let (priority, name) = (this.priority, &this.name);
    let off = if this.enabled { "" } else { " [disabled]" };
    let _ = match &this.content {
        Content::Alias(of, offset) => {
            aliased.insert(*of);
            let (target, to) = (&tree.region(*of).name, last(*offset, this.size));
            let shown = match (&tree.region(*of).content, this.readonly) {
                (Content::Ram(_), true) => "rom",
                _ => kind(tree.region(*of)),
            };
            let range = format!("{start:016x}-{end:016x} (prio {priority}, {shown})");
            writeln!(out, "{:indent$}{range}: alias {name} @{target} {offset:016x}-{to:016x}{off}", "")
        }
        _ => writeln!(out, "{:indent$}{start:016x}-{end:016x} (prio {priority}, {}): {name}{off}", "", kind(this)),
    };
    let mut children = this.children.clone();
    children.sort_by_key(|child| (tree.region(*child).offset, -i64::from(tree.region(*child).priority)));
    for child in children {
        region(out, tree, child, start, depth + 1, aliased);
    }
}

/// `info mtree -f`: the flat views; spaces with the same root share one.
pub(crate) fn flat(tree: &Tree, spaces: &[&AddressSpace]) -> String {
    let mut out = String::new();
    let mut roots: Vec<RegionId> = Vec::new();
    for space in spaces {
        if roots.contains(&space.root()) {
            continue;
        }
        let _ = writeln!(out, "FlatView #{}", roots.len());
        roots.push(space.root());
        let root = &tree.region(space.root()).name;
        for other in spaces.iter().filter(|other| other.root() == space.root()) {
            let _ = writeln!(out, " AS \"{}\", root: {root}", other.name());
        }
        let _ = writeln!(out, " Root memory region: {root}");
        let view = space.view();
        if view.ranges().is_empty() {
            out.push_str("  No rendered FlatView\n");
        }
        for range in view.ranges() {
            let _ = writeln!(out, "  {}", range_line(tree, range));
        }
        out.push('\n');
    }
    out
}

fn range_line(tree: &Tree, range: &FlatRange) -> String {
    let region = tree.region(range.region);
    let kind = match &range.target {
        Target::Ram(_) if range.readonly => "rom",
        Target::Ram(_) => "ram",
        Target::RomDevice(..) => "romd",
        Target::Io(..) => "i/o",
    };
    let at = if range.offset == 0 { String::new() } else { format!(" @{:016x}", range.offset) };
    let (start, end) = (range.start, last(range.start, range.len));
    format!("{start:016x}-{end:016x} (prio {}, {kind}): {}{at}", region.priority, region.name)
}

//! The options of system mode: one row for each name that QEMU 10 has.
//!
//! An option has one dash or two. A row without an action is known and refused by its name.

// tidy: table

use super::settings::{Settings, Taken};
use super::values as v;

/// What an option does.
pub type Action = fn(&mut Settings, &str) -> Result<Taken, String>;

/// One option.
pub struct Row {
    /// Its name without dashes.
    pub name: &'static str,
    /// How help calls its value; none if it takes none.
    pub value: Option<&'static str>,
    /// What it does, one line.
    pub help: &'static str,
    /// Takes the value, empty for options without; none for an option that is missing here.
    pub action: Option<Action>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "-{}", self.name)
    }
}

macro_rules! rows {
    ($($name:literal $(<$value:literal>)? $(: $help:literal => $action:expr)?;)*) => {
        /// The options, in the order of the help text.
        // tidy: flat
        pub static OPTIONS: &[Row] = &[$(Row {
            name: $name,
            value: rows!(@some $($value)?),
            help: rows!(@text $($help)?),
            action: rows!(@some $($action)?),
        }),*];
    };
    (@some) => { None };
    (@some $value:expr) => { Some($value) };
    (@text) => { "" };
    (@text $text:expr) => { $text };
}

fn done() -> Result<Taken, String> {
    Ok(Taken::Setting)
}

rows! {
    "h": "print this help" => |_, _| Ok(Taken::Help);
    "help": "the same" => |_, _| Ok(Taken::Help);
    "version": "print the version" => |_, _| Ok(Taken::Version);
    "machine" <"[type=]name[,prop=value]">: "the machine; 'help' lists them" => v::machine;
    "M" <"name">: "the same" => v::machine;
    "cpu" <"model[,+feature,-feature]">: "the processor; 'help' lists the models" => v::cpu;
    "accel" <"name[,prop=value]">: "jit (or tcg), interp, kvm; several are tried in order; 'help' lists them" => v::accel;
    "smp" <"[cpus=]n[,maxcpus=n][,sockets=n][,dies=n][,cores=n][,threads=n]">: "processors" => v::smp;
    "numa" <"node">;
    "add-fd" <"fd=n,set=n">;
    "set" <"group.id.arg=value">;
    "global" <"driver.prop=value">: "a property of every device of a kind" => v::global;
    "boot" <"[order=drives][,once=drives][,menu=on|off]">: "what the firmware boots from" => v::boot;
    "m" <"[size=]megs">: "memory; suffixes K, M, G" => v::memory;
    "mem-path" <"file">: "memory in a file" => |s, t| { s.mem_path = Some(t.into()); done() };
    "mem-prealloc": "accepted" => |_, _| done();
    "k" <"language">;
    "audio" <"driver">: "accepted: none" => v::only_none;
    "audiodev" <"driver">: "accepted: none" => v::only_none;
    "device" <"driver[,prop=value]">: "add a device; 'help' lists them" => v::device;
    "name" <"name">: "name of the machine" => v::name;
    "uuid" <"uuid">: "its UUID" => v::uuid;
    "fda" <"file">;
    "fdb" <"file">;
    "hda" <"file">: "image of the first disk" => |s, t| s.add_disk(0, t);
    "hdb" <"file">: "of the second" => |s, t| s.add_disk(1, t);
    "hdc" <"file">: "of the third" => |s, t| s.add_disk(2, t);
    "hdd" <"file">: "of the fourth" => |s, t| s.add_disk(3, t);
    "cdrom" <"file">: "image of a CD" => |s, t| s.add_cd(t);
    "blockdev" <"driver=driver,node-name=name">;
    "drive" <"file=file[,if=type][,index=n][,media=disk|cdrom][,format=raw|qcow2]">: "a drive" => |s, t| s.add_drive(t);
    "mtdblock" <"file">;
    "sd" <"file">;
    "snapshot": "write to temporary files instead of the images" => |s, _| { s.snapshot = true; done() };
    "fsdev" <"driver,id=id">;
    "virtfs" <"driver,mount_tag=tag">;
    "iscsi" <"user=user">;
    "usb";
    "usbdevice" <"name">;
    "display" <"none">: "accepted: none" => v::only_none;
    "nographic": "no display; the serial line is standard input and output" => |s, _| { s.nographic = true; done() };
    "spice" <"port=n">;
    "vga" <"std|none">: "the display adapter" => v::vga;
    "full-screen";
    "g" <"WxH">;
    "vnc" <"none">: "accepted: none" => v::only_none;
    "win2k-hack";
    "no-fd-bootchk": "the firmware boots floppies without a signature" => |s, _| { s.no_floppy_check = true; done() };
    "acpitable" <"file=file">;
    "smbios" <"type=n">;
    "netdev" <"type,id=id">;
    "nic" <"none">: "accepted: none" => v::only_none;
    "net" <"none">: "accepted: none" => v::only_none;
    "chardev" <"backend,id=id">: "a character back end" => |s, t| { s.chardevs.push(t.into()); done() };
    "tpmdev" <"type,id=id">;
    "bios" <"file">: "the firmware; none: a kernel is entered without" => |s, t| { s.bios = Some(t.into()); done() };
    "pflash" <"file">;
    "kernel" <"file">: "a Linux kernel, or an ELF file" => |s, t| { s.kernel = Some(t.into()); done() };
    "shim" <"file">;
    "append" <"text">: "the kernel's command line" => |s, t| { s.append = Some(t.into()); done() };
    "initrd" <"file">: "its initial RAM disk" => |s, t| { s.initrd = Some(t.into()); done() };
    "dtb" <"file">;
    "compat" <"policy">;
    "fw_cfg" <"[name=]name,file=file|string=text">: "a file for the firmware and the guest" => v::firmware_file;
    "serial" <"device">: "where a serial line leads to" => |s, t| { s.serials.push(t.into()); done() };
    "parallel" <"none">: "accepted: none" => v::only_none;
    "monitor" <"device">: "where the monitor is" => |s, t| { s.monitors.push(t.into()); done() };
    "qmp" <"device">: "a monitor for programs" => |s, t| { s.qmps.push((t.into(), false)); done() };
    "qmp-pretty" <"device">: "the same, with line breaks" => |s, t| { s.qmps.push((t.into(), true)); done() };
    "mon" <"[chardev=]id[,mode=readline|control]">: "a monitor on a character back end" => v::mon;
    "debugcon" <"device">: "where port 0xe9 leads to" => |s, t| { s.debugcon = Some(t.into()); done() };
    "pidfile" <"file">: "write the process id there" => |s, t| { s.pidfile = Some(t.into()); done() };
    "preconfig";
    "S": "do not start the processors" => |s, _| { s.stopped = true; done() };
    "overcommit" <"mem-lock=off">: "accepted: mem-lock=off, cpu-pm=off" => v::overcommit;
    "gdb" <"device">: "wait for gdb there" => |s, t| { s.gdb = Some(t.into()); done() };
    "s": "-gdb tcp::1234" => |s, _| { s.gdb = Some("tcp::1234".into()); done() };
    "d" <"items">: "what to log; 'help' lists the items" => v::log;
    "D" <"file">: "where the log goes" => |s, t| { s.log_file = Some(t.into()); done() };
    "dfilter" <"range,..">: "log only code in these addresses" => v::log_filter;
    "seed" <"number">: "accepted" => v::seed;
    "L" <"directory">: "where firmware is looked for first" => |s, t| { s.directories.push(t.into()); done() };
    "enable-kvm": "-accel kvm" => |s, _| v::accel(s, "kvm");
    "xen-domid" <"id">;
    "xen-attach";
    "xen-domid-restrict";
    "no-reboot": "end instead of rebooting" => |s, _| { s.actions.reset_on_reboot = false; done() };
    "no-shutdown": "stop instead of ending" => |s, _| { s.actions.end_on_shutdown = false; done() };
    "action" <"event=action">: "what a reboot, a shutdown or a crash of the guest leads to" => v::action;
    "loadvm" <"tag">;
    "daemonize";
    "option-rom" <"file">: "an expansion ROM that the firmware runs" => |s, t| { s.option_roms.push(t.into()); done() };
    "rtc" <"[base=utc|localtime|date][,clock=host|rt|vm]">: "the guest's clock" => v::rtc;
    "icount" <"shift=n">;
    "watchdog-action" <"action">;
    "echr" <"character">: "the escape character of the terminal instead of Ctrl-a" => v::escape;
    "incoming" <"address">;
    "only-migratable";
    "nodefaults": "no default devices" => |s, _| { s.nodefaults = true; done() };
    "prom-env" <"variable=value">;
    "semihosting";
    "semihosting-config" <"...">;
    "old-param";
    "sandbox" <"off">: "accepted: off" => v::only_off;
    "readconfig" <"file">;
    "no-user-config": "accepted: none is read" => |_, _| done();
    "trace" <"pattern">;
    "plugin" <"file">;
    "qtest" <"device">;
    "qtest-log" <"file">;
    "run-with" <"...">;
    "msg" <"timestamp=on|off">: "accepted" => v::msg;
    "dump-vmstate" <"file">;
    "enable-sync-profile";
    "perfmap": "write /tmp/perf-PID.map" => |s, _| { s.perf_map = true; done() };
    "jitdump";
    "object" <"type,prop=value">;
}

/// The row of an option by its name without dashes.
pub fn find(name: &str) -> Option<&'static Row> {
    OPTIONS.iter().find(|row| row.name == name)
}

/// The help text's list.
pub fn help() -> String {
    let mut text = String::new();
    for row in OPTIONS.iter().filter(|row| row.action.is_some()) {
        let left = format!("-{}{}", row.name, row.value.map_or(String::new(), |value| format!(" {value}")));
        text.push_str(&format!("{left:<34} {}\n", row.help));
    }
    text
}

/// The list as documentation shows it.
pub fn markdown() -> String {
    let mut text = String::from("| option | what it does |\n|---|---|\n");
    for row in OPTIONS {
        let value = row.value.map_or(String::new(), |value| format!(" {}", value.replace('|', "\\|")));
        let help = if row.action.is_some() { row.help.replace('|', "\\|") } else { "refused by name".to_owned() };
        text.push_str(&format!("| `-{}{value}` | {help} |\n", row.name));
    }
    text
}

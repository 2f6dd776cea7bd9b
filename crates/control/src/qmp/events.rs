//! What a client is told without having asked.

use isamorph_machines::Event;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The events that something is; usually one.
pub fn of(event: Event) -> Vec<Value> {
    let reason = |cause: isamorph_machines::Cause| json!({"guest": cause.is_guest(), "reason": cause.name()});
    match event {
        Event::Stopped(_) => vec![named("STOP", None)],
        Event::Resumed => vec![named("RESUME", None)],
        Event::Reset(cause) => vec![named("RESET", Some(reason(cause)))],
        Event::Shutdown(cause) => vec![named("SHUTDOWN", Some(reason(cause)))],
        Event::PowerDown => vec![named("POWERDOWN", None)],
        Event::Suspended => vec![named("SUSPEND", None)],
        Event::WokeUp => vec![named("WAKEUP", None)],
        Event::Panicked => vec![named("GUEST_PANICKED", Some(json!({"action": "pause"})))],
        Event::Breakpoint(_) => Vec::new(),
    }
}

/// Names of all events.
pub const NAMES: [&str; 8] =
    ["STOP", "RESUME", "RESET", "SHUTDOWN", "POWERDOWN", "SUSPEND", "WAKEUP", "GUEST_PANICKED"];

fn named(name: &str, data: Option<Value>) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = json!({"seconds": now.as_secs(), "microseconds": now.subsec_micros()});
    let mut event = json!({"timestamp": timestamp, "event": name});
    if let Some(data) = data {
        event["data"] = data;
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use isamorph_machines::Cause;

    #[test]
    fn events_have_the_fields_that_clients_read() {
        let all = of(Event::Shutdown(Cause::GuestShutdown));
        assert_eq!(all[0]["event"], "SHUTDOWN");
        assert_eq!(all[0]["data"], json!({"guest": true, "reason": "guest-shutdown"}));
        assert!(all[0]["timestamp"]["seconds"].is_u64());
        assert!(of(Event::Stopped(isamorph_machines::RunState::Paused))[0].get("data").is_none());
    }
}

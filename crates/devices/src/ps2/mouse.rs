//! The mouse: standard, with a wheel (IntelliMouse), or with a wheel and five buttons (Explorer). Software that knows
//! the later ones makes the mouse one of them by a sequence of sample rates.

use super::{ACKNOWLEDGE, PASSED, Queue, RESEND};
use isamorph_display::input::{Axis, Button, PointerEvent};

/// Commands.
mod command {
    pub const SCALE_1: u8 = 0xe6;
    pub const SCALE_2: u8 = 0xe7;
    pub const SET_RESOLUTION: u8 = 0xe8;
    pub const STATUS: u8 = 0xe9;
    pub const STREAM: u8 = 0xea;
    pub const POLL: u8 = 0xeb;
    pub const END_WRAP: u8 = 0xec;
    pub const WRAP: u8 = 0xee;
    pub const REMOTE: u8 = 0xf0;
    pub const IDENTIFY: u8 = 0xf2;
    pub const SET_RATE: u8 = 0xf3;
    pub const ENABLE: u8 = 0xf4;
    pub const DISABLE: u8 = 0xf5;
    pub const DEFAULTS: u8 = 0xf6;
    pub const RESEND: u8 = 0xfe;
    pub const RESET: u8 = 0xff;
}

/// What the mouse says that it is.
mod identity {
    pub const STANDARD: u8 = 0;
    pub const WHEEL: u8 = 3;
    pub const EXPLORER: u8 = 4;
}

/// Sample rates in a row that make it another mouse.
const KNOCKS: [([u8; 3], u8); 2] = [([200, 100, 80], identity::WHEEL), ([200, 200, 80], identity::EXPLORER)];
/// Most that a packet can say of a movement.
const FARTHEST: i32 = 127;
/// And that it can be behind: what nobody reads is no movement any more.
const BACKLOG: i32 = 1 << 16;

/// A mouse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mouse {
    queue: Queue,
    identity: u8,
    rate: u8,
    /// The last rates that were set.
    rates: [u8; 3],
    resolution: u8,
    doubled: bool,
    /// It sends only when it is polled.
    remote: bool,
    /// It sends back what it gets.
    wraps: bool,
    reports: bool,
    expects: Option<u8>,
    /// Movement that has not been reported: to the right, upwards, and of the wheel towards the user.
    moved: [i32; 3],
    /// Left, right, middle, and the two on the sides, from bit 0 on.
    buttons: u8,
    reported_buttons: u8,
}

impl Default for Mouse {
    fn default() -> Self {
        Mouse {
            queue: Queue::default(),
            identity: identity::STANDARD,
            rate: 100,
            rates: [0; 3],
            resolution: 2,
            doubled: false,
            remote: false,
            wraps: false,
            reports: false,
            expects: None,
            moved: [0; 3],
            buttons: 0,
            reported_buttons: 0,
        }
    }
}

/// A movement with scaling 2:1.
fn double(step: i32) -> i32 {
    let scaled = match step.abs() {
        small @ 0..=1 => small,
        2 => 1,
        3 => 3,
        4 => 6,
        5 => 9,
        far => 2 * far,
    };
    (scaled * step.signum()).clamp(-FARTHEST, FARTHEST)
}

impl Mouse {
    /// A byte for the controller, if there is one.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.queue.take()?;
        self.report();
        Some(byte)
    }
    /// The controller sends a byte.
    pub fn write(&mut self, byte: u8) {
        if self.wraps && !matches!(byte, command::END_WRAP | command::RESET) {
            return self.queue.answer(&[byte]);
        }
        match self.expects.take() {
            Some(command) => self.parameter(command, byte),
            None => self.command(byte),
        }
    }
    fn command(&mut self, byte: u8) {
        match byte {
            command::SCALE_1 | command::SCALE_2 => self.doubled = byte == command::SCALE_2,
            command::SET_RESOLUTION | command::SET_RATE => self.expects = Some(byte),
            command::STATUS => {
                let status = self.status();
                return self.queue.answer(&[ACKNOWLEDGE, status, self.resolution, self.rate]);
            }
            command::STREAM | command::REMOTE => self.remote = byte == command::REMOTE,
            command::POLL => {
                let packet = [vec![ACKNOWLEDGE], self.packet()].concat();
                return self.queue.answer(&packet);
            }
            command::WRAP | command::END_WRAP => self.wraps = byte == command::WRAP,
            command::IDENTIFY => return self.queue.answer(&[ACKNOWLEDGE, self.identity]),
            command::ENABLE => self.reports = true,
            command::DISABLE => self.reports = false,
            command::DEFAULTS => {
                let Mouse { identity, rates, buttons, .. } = *self;
                *self = Mouse { identity, rates, buttons, ..Mouse::default() };
            }
            command::RESEND => return self.queue.repeat(),
            command::RESET => {
                *self = Mouse { buttons: self.buttons, ..Mouse::default() };
                return self.queue.answer(&[ACKNOWLEDGE, PASSED, identity::STANDARD]);
            }
            _ => return self.queue.answer(&[RESEND]),
        }
        self.queue.answer(&[ACKNOWLEDGE]);
    }
    fn parameter(&mut self, command: u8, byte: u8) {
        if command == command::SET_RESOLUTION {
            self.resolution = byte & 3;
        } else {
            self.rate = byte;
            self.rates = [self.rates[1], self.rates[2], byte];
            if let Some((_, identity)) = KNOCKS.iter().find(|(rates, _)| *rates == self.rates) {
                self.identity = *identity;
            }
        }
        self.queue.answer(&[ACKNOWLEDGE]);
    }
    fn status(&self) -> u8 {
        let buttons = (self.buttons & 1) << 2 | self.buttons >> 1 & 1 | self.buttons >> 1 & 2;
        let flags = [(self.doubled, 0x10), (self.reports, 0x20), (self.remote, 0x40)];
        flags.iter().filter(|(on, _)| *on).fold(buttons, |status, (_, bit)| status | bit)
    }
    /// The next packet; what it says has been reported.
    fn packet(&mut self) -> Vec<u8> {
        let wheel_limit = if self.identity == identity::EXPLORER { 7 } else { FARTHEST };
        let limits = [FARTHEST, FARTHEST, wheel_limit];
        let steps: [i32; 3] = std::array::from_fn(|axis| self.moved[axis].clamp(-limits[axis], limits[axis]));
        self.moved = std::array::from_fn(|axis| self.moved[axis] - steps[axis]);
        self.reported_buttons = self.buttons;
        let scale = |step: i32| if self.doubled && !self.remote { double(step) } else { step };
        let [x, y, wheel] = [scale(steps[0]), scale(steps[1]), steps[2]];
        let signs = u8::from(x < 0) << 4 | u8::from(y < 0) << 5;
        let mut packet = vec![8 | signs | self.buttons & 7, x as u8, y as u8];
        match self.identity {
            identity::WHEEL => packet.push(wheel as u8),
            identity::EXPLORER => packet.push(wheel as u8 & 15 | (self.buttons & 0x18) << 1),
            _ => self.moved[2] = 0,
        }
        packet
    }
    /// Sends packets while there is something to report and room.
    fn report(&mut self) {
        while self.reports && !self.remote && !self.wraps {
            let nothing = self.moved == [0; 3] && self.buttons == self.reported_buttons;
            if nothing || self.queue.bytes.len() + 4 > super::QUEUE {
                return;
            }
            let packet = self.packet();
            self.queue.add(&packet);
        }
    }
    /// Things that the user does with it.
    pub fn pointer(&mut self, events: &[PointerEvent]) {
        for event in events {
            match *event {
                PointerEvent::Move(Axis::X, step) => self.step(0, step),
                // The mouse counts upwards.
                PointerEvent::Move(Axis::Y, step) => self.step(1, step.saturating_neg()),
                PointerEvent::Button(Button::WheelUp, true) => self.step(2, -1),
                PointerEvent::Button(Button::WheelDown, true) => self.step(2, 1),
                PointerEvent::Button(button, down) => self.button(button, down),
                PointerEvent::At(..) => {}
            }
        }
        if !self.reports && !self.remote {
            // Nobody will ask.
            self.moved = [0; 3];
        }
        self.report();
    }
    fn step(&mut self, axis: usize, step: i32) {
        self.moved[axis] = self.moved[axis].saturating_add(step).clamp(-BACKLOG, BACKLOG);
    }
    fn button(&mut self, button: Button, down: bool) {
        let place = match button {
            Button::Left => 0,
            Button::Right => 1,
            Button::Middle => 2,
            Button::Side => 3,
            Button::Extra => 4,
            Button::WheelUp | Button::WheelDown | Button::WheelLeft | Button::WheelRight => return,
        };
        self.buttons = self.buttons & !(1 << place) | u8::from(down) << place;
    }
    /// Whether a mouse can be in this state.
    pub(crate) fn is_good(&self) -> bool {
        let identities = [identity::STANDARD, identity::WHEEL, identity::EXPLORER];
        let moved = self.moved.iter().all(|step| step.abs() <= BACKLOG);
        self.queue.is_good() && identities.contains(&self.identity) && self.buttons < 32 && moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(mouse: &mut Mouse) -> Vec<u8> {
        std::iter::from_fn(|| mouse.take()).collect()
    }

    fn answer(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        bytes.iter().for_each(|byte| mouse.write(*byte));
        drain(mouse)
    }

    fn reporting(knock: &[u8]) -> Mouse {
        let mut mouse = Mouse::default();
        knock.iter().for_each(|rate| assert_eq!(answer(&mut mouse, &[0xf3, *rate]), [0xfa, 0xfa]));
        answer(&mut mouse, &[0xf4]);
        mouse
    }

    #[test]
    fn movements_and_buttons_are_reported() {
        let mut mouse = reporting(&[]);
        mouse.pointer(&[PointerEvent::Move(Axis::X, 5), PointerEvent::Move(Axis::Y, 3)]);
        assert_eq!(drain(&mut mouse), [0x28, 5, 0xfd], "upwards is positive");
        mouse.pointer(&[PointerEvent::Button(Button::Left, true), PointerEvent::Button(Button::Middle, true)]);
        assert_eq!(drain(&mut mouse), [0x0d, 0, 0]);
        mouse.pointer(&[PointerEvent::Button(Button::WheelUp, true)]);
        assert_eq!(drain(&mut mouse), [0x0d, 0, 0], "it has no wheel");
        mouse.pointer(&[PointerEvent::Move(Axis::X, -300)]);
        assert_eq!(drain(&mut mouse), [0x1d, 0x81, 0, 0x1d, 0x81, 0, 0x1d, 0xd2, 0]);
    }

    #[test]
    fn later_mice_have_wheels_and_more_buttons() {
        let mut mouse = reporting(&[200, 100, 80]);
        assert_eq!(answer(&mut mouse, &[0xf2]), [0xfa, 3]);
        mouse.pointer(&[PointerEvent::Button(Button::WheelUp, true)]);
        assert_eq!(drain(&mut mouse), [8, 0, 0, 0xff]);
        let mut mouse = reporting(&[200, 200, 80]);
        assert_eq!(answer(&mut mouse, &[0xf2]), [0xfa, 4]);
        mouse.pointer(&[PointerEvent::Button(Button::WheelDown, true), PointerEvent::Button(Button::Extra, true)]);
        assert_eq!(drain(&mut mouse), [8, 0, 0, 0x21]);
    }

    #[test]
    fn commands_are_answered() {
        let mut mouse = reporting(&[]);
        mouse.pointer(&[PointerEvent::Button(Button::Right, true)]);
        drain(&mut mouse);
        assert_eq!(answer(&mut mouse, &[0xe7, 0xe8, 3, 0xf3, 40]), [0xfa; 5]);
        assert_eq!(answer(&mut mouse, &[0xe9]), [0xfa, 0x31, 3, 40]);
        assert_eq!(answer(&mut mouse, &[0xf0]), [0xfa]);
        mouse.pointer(&[PointerEvent::Move(Axis::X, 7)]);
        assert!(drain(&mut mouse).is_empty(), "remote");
        assert_eq!(answer(&mut mouse, &[0xeb]), [0xfa, 0x0a, 7, 0]);
        assert_eq!(answer(&mut mouse, &[0xee, 0x55, 0xec]), [0xfa, 0x55, 0xfa]);
        assert_eq!(answer(&mut mouse, &[0x12]), [0xfe]);
        assert_eq!(answer(&mut mouse, &[0xff]), [0xfa, 0xaa, 0]);
        mouse.pointer(&[PointerEvent::Move(Axis::X, 1)]);
        assert!(drain(&mut mouse).is_empty(), "it does not report after a reset");
    }

    #[test]
    fn scaling_doubles_fast_movements() {
        let mut mouse = reporting(&[]);
        answer(&mut mouse, &[0xe7]);
        mouse.pointer(&[PointerEvent::Move(Axis::X, 5), PointerEvent::Move(Axis::Y, 10)]);
        assert_eq!(drain(&mut mouse), [0x28, 9, 0xec]);
    }

    #[test]
    fn what_has_no_room_is_reported_later() {
        let mut mouse = reporting(&[]);
        mouse.pointer(&[PointerEvent::Move(Axis::X, 127 * 10)]);
        assert_eq!(drain(&mut mouse).len(), 30);
    }
}

// SPDX-License-Identifier: GPL-2.0

//! Human input: the synthetic keyboard and the synthetic mouse, of which a machine has one each, and the commands by
//! which somebody sits at them.

pub mod keyboard;
pub mod mouse;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::vmbus::Offer;
use keyboard::text;
use keyboard::{Action, Key, Keyboard};
use mouse::{Mouse, Position};

/// How long a command waits for the guest's driver.
const DRIVER_WAIT: Duration = Duration::from_secs(10);

/// What of it the machine has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Offer a synthetic keyboard; the device is called keyboard.
    #[arg(long)]
    pub keyboard: bool,
    /// Offer a synthetic mouse, an absolute pointer with five buttons and a wheel; the device is called mouse.
    #[arg(long)]
    pub mouse: bool,
}

/// What somebody does who sits at the machine.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Keyboard and mouse: what was agreed with the guest, what it told, and how much was sent.
    Input,
    /// Press keys and let go of them, one after the other.
    Key {
        /// Scan codes of set 1: 0x1e for A, 0xe048 for one behind the prefix E0 (here cursor up), 0xe1… behind E1.
        #[arg(required = true, value_parser = keyboard::parse_key)]
        keys: Vec<Key>,
        /// Only press them.
        #[arg(long, conflicts_with = "up")]
        down: bool,
        /// Only let go of them.
        #[arg(long)]
        up: bool,
    },
    /// Type a text on a keyboard with the US layout.
    Type {
        /// The text: printable ASCII.
        text: String,
        /// How many times.
        #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
        /// Send characters (in UTF-16) instead of the scan codes of keys.
        #[arg(long)]
        unicode: bool,
    },
    /// Send one report of the mouse.
    Mouse {
        /// Where the pointer is, from 0 at the left to 32767 at the right.
        #[arg(value_parser = clap::value_parser!(u16).range(..=i64::from(mouse::MAX)))]
        x: u16,
        /// From 0 at the top to 32767 at the bottom.
        #[arg(value_parser = clap::value_parser!(u16).range(..=i64::from(mouse::MAX)))]
        y: u16,
        /// Buttons that are held: left, right, middle, side, extra with + between, or none.
        #[arg(default_value = "none", value_parser = mouse::parse_buttons)]
        buttons: u8,
        /// By how many notches the wheel is turned, positive away from the user.
        #[arg(default_value_t = 0, allow_negative_numbers = true,
            value_parser = clap::value_parser!(i16).range(-i64::from(mouse::MAX)..=i64::from(mouse::MAX)))]
        wheel: i16,
    },
    /// Move the pointer in a straight line from where it is, without a button held, as fast as reports can be sent.
    MouseLine {
        /// Where to.
        #[arg(value_parser = clap::value_parser!(u16).range(..=i64::from(mouse::MAX)))]
        x: u16,
        /// Where to.
        #[arg(value_parser = clap::value_parser!(u16).range(..=i64::from(mouse::MAX)))]
        y: u16,
        /// In how many reports.
        #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
        reports: u16,
    },
}

/// Keyboard and mouse of a machine, as far as it has them.
pub struct Input {
    keyboard: Option<Arc<Keyboard>>,
    mouse: Option<Arc<Mouse>>,
}

impl Input {
    /// What was asked for.
    pub fn new(options: &Options) -> Self {
        Self {
            keyboard: options.keyboard.then(Keyboard::new),
            mouse: options.mouse.then(Mouse::new),
        }
    }

    /// The offers for the bus.
    pub fn offers(&self) -> impl Iterator<Item = Offer> + '_ {
        let keyboard = self.keyboard.iter().map(Keyboard::offer);
        keyboard.chain(self.mouse.iter().map(Mouse::offer))
    }

    /// The keyboard, once the guest's driver has agreed to the protocol.
    fn keyboard(&self) -> Result<&Keyboard> {
        let keyboard = self.keyboard.as_deref();
        let keyboard = keyboard.context("the host was started without --keyboard")?;
        keyboard.wait_ready(DRIVER_WAIT)?;
        Ok(keyboard)
    }

    /// The mouse, once the guest's driver knows it.
    fn mouse(&self) -> Result<&Mouse> {
        let mouse = self.mouse.as_deref();
        let mouse = mouse.context("the host was started without --mouse")?;
        mouse.wait_ready(DRIVER_WAIT)?;
        Ok(mouse)
    }

    /// Carries out a command. Returns the lines of the answer.
    pub fn execute(&self, command: Command) -> Result<Vec<String>> {
        match command {
            Command::Input => {
                let keyboard = self.keyboard.as_ref().map(|k| k.describe());
                let mouse = self.mouse.as_ref().map(|m| m.describe());
                return Ok(keyboard.into_iter().chain(mouse).collect());
            }
            Command::Key { keys, down, up } => {
                let actions: &[Action] = match (down, up) {
                    (true, _) => &[Action::Make],
                    (_, true) => &[Action::Break],
                    _ => &[Action::Make, Action::Break],
                };
                let strokes = keys
                    .iter()
                    .flat_map(|key| actions.iter().map(|action| key.stroke(*action)));
                self.keyboard()?.send(strokes)?;
            }
            Command::Type {
                text,
                count,
                unicode,
            } => {
                let strokes = if unicode {
                    text::unicode(&text)
                } else {
                    text::strokes(&text)?
                };
                let keyboard = self.keyboard()?;
                keyboard.send((0..count).flat_map(|_| strokes.iter().copied()))?;
            }
            Command::Mouse {
                x,
                y,
                buttons,
                wheel,
            } => self.mouse()?.report(Position { x, y }, buttons, wheel)?,
            Command::MouseLine { x, y, reports } => {
                self.mouse()?.line(Position { x, y }, reports)?;
            }
        }
        Ok(Vec::new())
    }
}

/// A protocol version as it stands in a line for people.
fn shown(version: Option<u32>) -> String {
    // The minor version is in the lower half, the major in the upper.
    version.map_or_else(
        || "none".into(),
        |version| format!("{}.{}", version >> 16, version & 0xFFFF),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn what_the_machine_does_not_have_cannot_be_used() {
        let input = Input::new(&Options::default());
        assert_eq!(input.offers().count(), 0);
        assert_eq!(input.execute(Command::Input).unwrap(), [""; 0]);
        for line in ["key 0x1e", "type a", "mouse 1 1", "mouse-line 1 1 1"] {
            let Line { command } = Line::try_parse_from(line.split(' ')).expect(line);
            let error = input.execute(command).unwrap_err().to_string();
            assert!(error.contains("without --"), "{error}");
        }
        let both = Input::new(&Options {
            keyboard: true,
            mouse: true,
        });
        let names: Vec<String> = both.offers().map(|o| o.name).collect();
        assert_eq!(names, ["keyboard", "mouse"]);
        assert_eq!(both.execute(Command::Input).unwrap().len(), 2);
    }
}

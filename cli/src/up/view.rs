//! The live view: offered against processed rate, what each stage does with its time, and why it was changed.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use millstream_operator::control::Report;
use ratatui::Terminal;
use ratatui::backend::Backend;
use tokio::sync::{mpsc, watch};

use super::model::Model;

mod draw;
pub mod text;

pub use draw::draw;

/// How long the key reader waits before it looks whether the view is over.
const KEY_POLL: Duration = Duration::from_millis(100);

/// Puts the terminal back whatever way the view ends; a panic is covered by ratatui's own hook.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What a key means.
enum Key {
    Stop,
    Redraw,
}

/// Shows reports until they end. `q` or Ctrl-C sets `stop` once, and the view goes on until the loop has stopped; pressed again
/// it ends the view at once. Answers what it showed.
pub async fn show(
    mut model: Model,
    reports: &mut mpsc::Receiver<Report>,
    stop: &watch::Sender<bool>,
) -> io::Result<Model> {
    let mut terminal = ratatui::try_init()?;
    let _restore = Restore;
    let over = Arc::new(AtomicBool::new(false));
    let mut keys = read_keys(Arc::clone(&over));
    let shown = watch_reports(&mut terminal, &mut model, reports, &mut keys, stop).await;
    over.store(true, Ordering::Relaxed);
    shown.map(|()| model)
}

async fn watch_reports<B: Backend>(
    terminal: &mut Terminal<B>,
    model: &mut Model,
    reports: &mut mpsc::Receiver<Report>,
    keys: &mut mpsc::Receiver<Key>,
    stop: &watch::Sender<bool>,
) -> io::Result<()>
where
    B::Error: Send + Sync + 'static,
{
    loop {
        terminal.draw(|frame| draw(frame, model)).map_err(io::Error::other)?;
        tokio::select! {
            report = reports.recv() => match report {
                Some(report) => model.update(&report),
                None => return Ok(()),
            },
            Some(key) = keys.recv() => match key {
                Key::Stop if model.stopping => return Ok(()),
                Key::Stop => {
                    model.stopping = true;
                    stop.send_replace(true);
                }
                Key::Redraw => {}
            },
        }
        if model.ended {
            terminal.draw(|frame| draw(frame, model)).map_err(io::Error::other)?;
            return Ok(());
        }
    }
}

/// Reads keys on a thread of its own, since crossterm's reads block. It ends within [`KEY_POLL`] of the view.
fn read_keys(over: Arc<AtomicBool>) -> mpsc::Receiver<Key> {
    let (sender, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) && !sender.is_closed() {
            let key = match event::poll(KEY_POLL) {
                Ok(false) => continue,
                Ok(true) => event::read().ok().and_then(|event| meaning(&event)),
                Err(_) => return,
            };
            if let Some(key) = key {
                // A full queue: somebody leans on the keyboard; what counts is in it already.
                let _ = sender.try_send(key);
            }
        }
    });
    keys
}

fn meaning(event: &event::Event) -> Option<Key> {
    match event {
        event::Event::Resize(..) => Some(Key::Redraw),
        event::Event::Key(key) if key.kind == KeyEventKind::Press => {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('c') if control => Some(Key::Stop),
                KeyCode::Char('q') | KeyCode::Esc => Some(Key::Stop),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! The status page, for people beside the machine, and what monitors ask.
//!
//! | path | what |
//! |---|---|
//! | `/` | how many studies are where, the newest of each, latency, disk |
//! | `/study/NAME` | one study, with pictures |
//! | `/preview/NAME/FILE` | a picture of a result |
//! | `/metrics` | the numbers, in Prometheus' text form |
//! | `/healthz` | `ok`, or what is wrong with status 503 |
//!
//! The page only shows: what changes something is the command's (`monet queue`). It needs nothing
//! from elsewhere and runs no script. What peers and files say is escaped.

mod chart;
mod guard;
mod html;
mod http;
mod metrics;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;

pub use html::escape;
pub use http::{Head, parse};

use crate::case;
use crate::config::Page;
use crate::folders::Stage;
use crate::log::Log;
use crate::service::Shown;
use crate::status::{self, Entry};
use http::{Reply, Server};

/// Longest picture that is shown.
const MAX_PICTURE: u64 = 8 << 20;

/// Serves the page.
#[derive(Debug)]
pub(crate) struct Site {
    server: Server,
    shown: Arc<Shown>,
}

impl Site {
    /// Takes the address and reads the password.
    ///
    /// # Errors
    /// What the system says; an empty password.
    pub(crate) fn bind(page: &Page, shown: Arc<Shown>, log: Log) -> io::Result<Self> {
        let read = |path: &std::path::PathBuf| {
            fs::read_to_string(path).map_err(|error| {
                io::Error::new(error.kind(), format!("password file {}: {error}", path.display()))
            })
        };
        let password = page.password_file.as_ref().map(read).transpose()?;
        let password = password.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        if password.as_ref().is_some_and(String::is_empty) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the password is empty"));
        }
        let socket = TcpListener::bind(page.address)?;
        Ok(Self { server: Server::new(socket, password.as_deref(), log)?, shown })
    }

    /// Answers requests until it is told to stop.
    pub(crate) fn serve(self: &Arc<Self>, go_on: &dyn Fn() -> bool) {
        let own = self.clone();
        self.server.serve(Arc::new(move |path: &str| own.answer(path)), go_on);
    }

    fn answer(&self, path: &str) -> Reply {
        let answered = match path.split('/').collect::<Vec<_>>()[..] {
            ["", ""] => html::overview(&self.shown).map(Reply::html),
            ["", "healthz"] => Ok(self.health()),
            ["", "metrics"] => metrics::text(&self.shown).map(Reply::text),
            ["", "study", name] => self.study(name),
            ["", "preview", name, file] => self.picture(name, file),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        match answered {
            Ok(reply) => reply,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Reply::not_found(),
            Err(error) => {
                self.shown.log.error("page not shown", &[("error", &error)]);
                Reply::failed()
            }
        }
    }

    fn health(&self) -> Reply {
        let wrong = self
            .shown
            .stuck()
            .map(|what| format!("{what} shows no sign of life"))
            .or_else(|| self.shown.gate.full().map(|full| full.to_string()));
        wrong.map_or_else(|| Reply::text("ok\n".into()), Reply::unwell)
    }

    /// A study by a name that a peer of this page gives: one that is there.
    fn stage(&self, name: &str) -> io::Result<Stage> {
        status::find(&self.shown.folders, name)
    }

    fn entry(&self, stage: Stage, name: &str) -> io::Result<Entry> {
        status::entry(&self.shown.folders, &self.shown.config.destination, stage, name)
    }

    fn study(&self, name: &str) -> io::Result<Reply> {
        let entry = self.entry(self.stage(name)?, name)?;
        Ok(Reply::html(html::study(&entry)))
    }

    /// A picture that a study's summary names.
    fn picture(&self, name: &str, file: &str) -> io::Result<Reply> {
        let stage = self.stage(name)?;
        let entry = self.entry(stage, name)?;
        let made = entry.summary.iter().flat_map(|summary| &summary.results);
        let named = made.flat_map(|made| &made.preview).any(|preview| preview == file);
        let path = self.shown.folders.stage(stage).join(name).join(case::RESULTS).join(file);
        if !named || fs::metadata(&path)?.len() > MAX_PICTURE {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Reply::png(fs::read(path)?))
    }
}

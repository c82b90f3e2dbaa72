//! The service: its threads, their life and death.
//!
//! ```text
//! watch folders ┐                           ┌ worker 1..n ┐            ┌ sender per destination
//! listener      ┴─▶ inbox ─▶ collector ─────┴─────────────┴────────────┴─▶ done, failed ─ keeper
//! ```

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crate::arrive::{Gate, Inbox, Listener, Watcher};
use crate::bell::Bell;
use crate::check::Finding;
use crate::collect::Collector;
use crate::commit::Commitments;
use crate::config::Config;
use crate::depart::{self, Sender};
use crate::folders::{Folders, named};
use crate::hours::Hours;
use crate::keep::Keeper;
use crate::log::Log;
use crate::owner::Owner;
use crate::page::Site;
use crate::sort::Sorter;
use crate::tls;
use crate::work::Work;

/// How long a thread rests that has nothing to do and is not woken.
const REST: Duration = Duration::from_secs(1);
/// How often what is kept is looked at.
const TIDY: Duration = Duration::from_secs(10);
/// How often certificates are looked at.
const DAILY: Duration = Duration::from_secs(86_400);
/// How long a thread may show no sign of life.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program that the service is part of.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its version.
    pub version: &'static str,
    /// Program and arguments that call [`crate::sort::answer`] for the folder `incoming`.
    pub sort: Vec<String>,
    /// Program and arguments that make results; a study's folder and the folder of its results come
    /// behind, and the configuration as JSON on standard input.
    pub process: Vec<String>,
}

/// What a thread does again and again, with a question whether to go on.
type Task<'a> = Box<dyn FnMut(&dyn Fn() -> bool) + Send + 'a>;

/// All that the threads share.
#[derive(Debug)]
pub struct Service {
    config: Arc<Config>,
    folders: Arc<Folders>,
    log: Log,
    inbox: Inbox,
    gate: Arc<Gate>,
    listener: Option<Arc<Listener>>,
    commitments: Commitments,
    work: Arc<Work>,
    program: Program,
    page: Option<Arc<Site>>,
    moved: Bell,
    hours: Arc<Hours>,
    lives: Arc<Lives>,
    stop: Arc<AtomicBool>,
}

/// The threads, as they were started.
type Lives = Mutex<Vec<Arc<Life>>>;

/// A thread's signs of life.
#[derive(Debug)]
struct Life {
    what: String,
    begun: Instant,
    /// Milliseconds from `begun` to the last sign.
    sign: AtomicU64,
}

/// What the status page shows of a service.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) folders: Arc<Folders>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) log: Log,
    pub(crate) version: &'static str,
    pub(crate) config: Arc<Config>,
    work: Arc<Work>,
    listener: Option<Arc<Listener>>,
    lives: Arc<Lives>,
}

impl Shown {
    /// Names of the studies that are being worked on.
    pub(crate) fn running(&self) -> Vec<String> {
        self.work.running()
    }

    /// Open associations.
    pub(crate) fn associations(&self) -> usize {
        self.listener.as_ref().map_or(0, |listener| listener.open())
    }

    /// The thread that shows no sign of life any more.
    pub(crate) fn stuck(&self) -> Option<String> {
        stuck(&self.lives)
    }
}

impl Life {
    fn new(what: String) -> Self {
        Self { what, begun: Instant::now(), sign: AtomicU64::new(0) }
    }

    fn give(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.sign.store(since, Ordering::Relaxed);
    }

    fn is_late(&self) -> bool {
        let sign = Duration::from_millis(self.sign.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(sign) > PATIENCE
    }
}

impl Service {
    /// Takes the folders and the listener's address. It ends when `stop` is set.
    ///
    /// # Errors
    /// The folders cannot be made, or another service has them; the address is taken; a certificate
    /// is of no use.
    pub fn new(
        config: Config,
        program: Program,
        log: Log,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let folders = Arc::new(Folders::take(&config.folder)?);
        for stray in folders.strays() {
            let fields: [(&str, &dyn ToString); 2] =
                [("path", &stray.path.display()), ("why", &stray.why)];
            log.warning("left alone", &fields);
        }
        let config = Arc::new(config);
        let hours = Arc::new(Hours::of(&folders));
        let command = program.process.clone();
        let work = Work::new(folders.clone(), config.clone(), log.clone(), hours.clone(), command);
        let inbox = Inbox::new(folders.clone());
        let gate = Arc::new(Gate::new(folders.clone(), config.keep.clone()));
        let commitments = Commitments::new(folders.clone());
        let bind = |listen| {
            Listener::bind(listen, inbox.clone(), gate.clone(), commitments.clone(), log.clone())
                .map_err(|error| named(format!("listener {}", listen.address), &error))
        };
        let listener = config.listen.as_ref().map(bind).transpose()?.map(Arc::new);
        let work = Arc::new(work);
        let lives = Arc::<Lives>::default();
        let shown = Arc::new(Shown {
            folders: folders.clone(),
            gate: gate.clone(),
            log: log.clone(),
            version: program.version,
            config: config.clone(),
            work: work.clone(),
            listener: listener.clone(),
            lives: lives.clone(),
        });
        let page = config.page.as_ref().map(|page| {
            Site::bind(page, shown, log.clone())
                .map_err(|error| named(format!("status page {}", page.address), &error))
        });
        let page = page.transpose()?.map(Arc::new);
        let addresses = [config.listen.as_ref().map(|l| l.address), config.page_address()];
        // Without it `monet doctor` cannot tell this service's ports: no reason not to start.
        if let Err(error) = folders.say(&Owner::this(addresses.into_iter().flatten().collect())) {
            log.warning("addresses not kept", &[("error", &error)]);
        }
        Ok(Self {
            inbox,
            gate,
            listener,
            commitments,
            hours,
            lives,
            config,
            folders,
            log,
            work,
            program,
            page,
            moved: Bell::default(),
            stop,
        })
    }

    /// The thread that shows no sign of life any more, if there is one.
    #[must_use]
    pub fn stuck(&self) -> Option<String> {
        stuck(&self.lives)
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// What is left of an earlier process cannot be read.
    pub fn run(&self) -> io::Result<()> {
        let mut collector = Collector::new(
            self.folders.clone(),
            self.log.clone(),
            self.config.study.clone(),
            self.config.jobs.clone(),
            Sorter::new(self.program.sort.clone()),
        )?;
        depart::settle(&self.folders, &self.config.destination, &self.log);
        self.tell_of_destinations()?;
        thread::scope(|scope| {
            let thread = |what: String, work| self.spawn(scope, what, work);
            let mut heard = 0;
            thread(
                "collector".to_owned(),
                Box::new(move |go_on| heard = self.collect(&mut collector, heard, go_on)),
            );
            let keeper =
                Keeper::new(self.folders.clone(), self.config.keep.clone(), self.log.clone());
            let mut looked = None;
            thread(
                "keeper".to_owned(),
                Box::new(move |go_on| {
                    self.look_at_certificates(&mut looked);
                    self.tidy(&keeper, go_on);
                }),
            );
            for n in 1..=self.config.jobs.parallel {
                let mut heard = 0;
                thread(
                    format!("worker {n}"),
                    Box::new(move |go_on| heard = self.step(heard, go_on)),
                );
            }
            for to in &self.config.destination {
                let mut sender = Sender::new(
                    self.folders.clone(),
                    self.config.clone(),
                    self.log.clone(),
                    self.hours.clone(),
                    to.clone(),
                    &self.commitments,
                );
                let mut heard = 0;
                thread(
                    format!("sender {}", to.name),
                    Box::new(move |go_on| heard = self.send(&mut sender, heard, go_on)),
                );
            }
            for watch in &self.config.watch {
                let mut watcher = Watcher::new(watch.clone());
                thread(
                    format!("watch {}", watch.name.as_str()),
                    Box::new(move |go_on| self.watch(&mut watcher, go_on)),
                );
            }
            if let Some(listener) = &self.listener {
                thread("listener".to_owned(), Box::new(move |go_on| listener.serve(go_on)));
            }
            if let Some(page) = &self.page {
                thread("page".to_owned(), Box::new(move |go_on| page.serve(go_on)));
            }
        });
        self.tell("time not kept", self.hours.keep(true));
        Ok(())
    }

    /// Names what waits for destinations that the configuration does not know any more.
    fn tell_of_destinations(&self) -> io::Result<()> {
        let all = depart::tally(&self.folders, &self.config.destination)?;
        for (to, tally) in all.iter().filter(|(_, tally)| !tally.known) {
            let fields: [(&str, &dyn ToString); 3] =
                [("to", to), ("studies", &tally.waiting), ("what", &depart::gone(to))];
            self.log.warning("a destination is gone", &fields);
        }
        Ok(())
    }

    /// Does a thread's work again and again. The thread that panics ends the service, which its
    /// supervisor starts anew: a service without one of its threads would look alive and not be.
    fn spawn<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        what: String,
        mut work: Task<'scope>,
    ) {
        struct EndAll<'a>(&'a AtomicBool);
        impl Drop for EndAll<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let life = Arc::new(Life::new(what));
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).push(life.clone());
        scope.spawn(move || {
            let _end = EndAll(&self.stop);
            let go_on = || {
                life.give();
                !self.stop.load(Ordering::Relaxed)
            };
            while go_on() {
                work(&go_on);
            }
        });
    }

    fn collect(&self, collector: &mut Collector, heard: u64, go_on: &dyn Fn() -> bool) -> u64 {
        let heard = self.inbox.wait(heard, collector.pause());
        if self.tell("instances not collected", collector.collect(go_on)).is_none() {
            rest(REST, go_on);
        }
        if collector.complete() > 0 {
            self.moved.ring();
        }
        heard
    }

    /// Names, once a day, what of TLS is over or soon will be.
    fn look_at_certificates(&self, looked: &mut Option<Instant>) {
        if looked.is_some_and(|at| at.elapsed() < DAILY) {
            return;
        }
        *looked = Some(Instant::now());
        for Finding { what, found, .. } in tls::findings(&self.config).iter().filter(|f| !f.good) {
            self.log.warning("certificate", &[("what", what), ("found", found)]);
        }
    }

    fn tidy(&self, keeper: &Keeper, go_on: &dyn Fn() -> bool) {
        self.tell("not tidied", keeper.tidy(go_on));
        self.tell("time not kept", self.hours.keep(false));
        rest(TIDY, go_on);
    }

    fn step(&self, heard: u64, go_on: &dyn Fn() -> bool) -> u64 {
        match self.tell("studies not worked on", self.work.next(go_on)) {
            Some(true) => {
                self.moved.ring();
                heard
            }
            Some(false) => self.moved.wait(heard, REST),
            None => {
                rest(REST, go_on);
                heard
            }
        }
    }

    fn send(&self, sender: &mut Sender, heard: u64, go_on: &dyn Fn() -> bool) -> u64 {
        match self.tell("results not delivered", sender.round(go_on)) {
            Some(true) => heard,
            _ => self.moved.wait(heard, REST),
        }
    }

    fn watch(&self, watcher: &mut Watcher, go_on: &dyn Fn() -> bool) {
        if self.gate.full().is_none() {
            watcher.look(&self.inbox, &self.log, go_on);
        }
        rest(watcher.pause(), go_on);
    }

    /// Says what went wrong; the thread goes on.
    fn tell<T>(&self, what: &str, result: io::Result<T>) -> Option<T> {
        result.inspect_err(|error| self.log.error(what, &[("error", error)])).ok()
    }
}

/// The thread that shows no sign of life any more.
fn stuck(lives: &Lives) -> Option<String> {
    let lives = lives.lock().unwrap_or_else(PoisonError::into_inner);
    lives.iter().find(|life| life.is_late()).map(|life| life.what.clone())
}

/// Rests for that long, with an ear for the end.
fn rest(time: Duration, go_on: &dyn Fn() -> bool) {
    let end = Instant::now() + time;
    while go_on() && Instant::now() < end {
        thread::sleep(Duration::from_millis(200).min(time));
    }
}

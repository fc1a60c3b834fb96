//! A machine that runs one store: the catalogue and the journals, started as the program starts them, on
//! simulated disks, with the tasks that drive them.

use super::plan::Plan;
use super::sabotage::Sabotaged;
use ringtail::log::catalogue::{self, Catalogue, CatalogueError, Named};
use ringtail::log::format::StoreId;
use ringtail::log::journal::{
    self, AppendError, Committer, Journal, Pace, Preparer, StartError, Step,
};
use ringtail::log::mirror::{Member, Mirror, State, Tender};
use ringtail::log::reconcile::{Permissions, ReconcileError, Reconciled, reconcile};
use ringtail::log::recover::Identity;
use ringtail::log::simulated::{Executor, pause};
use ringtail::log::store::{CATALOGUE, StoreError, journal_folder, open_volumes};
use ringtail::log::wake::Receipt;
use ringtail::unit::{JournalId, Micros, TopicId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// The volumes as the log sees them.
pub type Volumes = Mirror<Sabotaged>;

/// Why a store does not start.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    #[error("{0}")]
    Reconcile(#[from] ReconcileError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("could not delete topics: {0}")]
    Bury(#[from] AppendError),
}

impl Refusal {
    /// What it says, by the words that an operator would see.
    pub fn kind(&self) -> &'static str {
        let text = self.to_string();
        let kinds = [
            ("could not", "disk"),
            ("disk is full", "disk"),
            ("had been durable", "damaged frame"),
            ("no other copy is whole", "damaged frame"),
            ("segments are missing", "missing segment"),
            ("frames are still needed", "damaged header"),
            ("copies of the superblock are bad", "superblock"),
            ("bytes long", "size"),
            ("cannot be read by this program", "unknown format"),
            ("is absent", "absent volume"),
            ("log.min_volumes is", "too few volumes"),
            ("has not been copied", "not copied"),
        ];
        let found = kinds.iter().find(|(words, _)| text.contains(words));
        found.map_or("another reason", |(_, kind)| kind)
    }
}

/// What the journals told of their commits, and how the tasks stand.
#[derive(Default)]
pub struct News {
    pub steps: RefCell<Vec<(usize, Step)>>,
    pub catalogue_failed: Cell<bool>,
    /// What was staged has been discarded.
    pub short: Cell<bool>,
    pub stopping: Cell<bool>,
    /// Journals, by number, on whose volumes one was missing, until it is recorded as back.
    pub lacking: RefCell<BTreeSet<u32>>,
    pub rebuilt: Cell<u64>,
    pub rebuild_failed: Cell<u64>,
    pub scrubbed: Cell<u64>,
    pub notes: RefCell<Vec<String>>,
}

/// A running store.
pub struct Machine {
    pub catalogue: Catalogue<Volumes>,
    pub journals: Vec<Journal<Volumes>>,
    pub topics: Vec<Named>,
    pub news: Rc<News>,
    /// Deleted topics, with what tells that each journal has a tombstone of its own.
    buried: Vec<(Vec<TopicId>, Vec<Rc<Receipt>>)>,
}

/// What is still to be spawned.
pub struct Tasks {
    catalogue: catalogue::Driver<Volumes>,
    journals: Vec<(Committer<Volumes>, Preparer<Volumes>)>,
    tenders: Vec<Tender<Sabotaged>>,
    members: Vec<Member<Sabotaged>>,
}

fn clock(time: &Rc<Cell<u64>>) -> Rc<dyn Fn() -> Micros> {
    let time = Rc::clone(time);
    Rc::new(move || {
        time.set(time.get() + 7);
        Micros(time.get())
    })
}

struct Start {
    plan: Plan,
    permissions: Permissions,
    store: StoreId,
    members: Vec<Member<Sabotaged>>,
    news: Rc<News>,
    tenders: Vec<Tender<Sabotaged>>,
}

impl Start {
    async fn reconcile(
        &mut self,
        folder: &str,
        settings: &journal::Settings,
    ) -> Result<Reconciled<Sabotaged>, Refusal> {
        let identity = Identity {
            store: self.store,
            journal: settings.journal,
            segment_bytes: settings.segment_bytes,
        };
        let (members, rules) = (self.members.clone(), self.plan.rules());
        let done = reconcile(members, folder, identity, rules, &self.permissions).await?;
        self.news
            .notes
            .borrow_mut()
            .extend(done.notes.iter().cloned());
        Ok(done)
    }
}

/// Starts the store on these volumes, as the program does.
pub async fn start(
    places: Vec<(Rc<str>, Sabotaged)>,
    plan: Plan,
    store_id: u128,
    time: Rc<Cell<u64>>,
    without: Vec<u32>,
) -> Result<(Machine, Tasks), Refusal> {
    let opened = open_volumes(places, plan.journals, plan.segment_bytes, || store_id).await?;
    let permissions = Permissions {
        without,
        ..Permissions::default()
    };
    let mut start = Start {
        plan,
        permissions,
        store: opened.superblock.store,
        members: opened.members,
        news: Rc::default(),
        tenders: Vec::new(),
    };
    let settings = journal::Settings {
        segment_bytes: plan.catalogue_bytes,
        frame_bytes_max: (plan.catalogue_bytes / 4) as usize,
        ..catalogue::settings(start.store)
    };
    let found = start.reconcile(CATALOGUE, &settings).await?;
    start.tenders.push(found.tender);
    let taken = Catalogue::take_up(found.mirror, settings, found.recovered, clock(&time)).await?;
    let (catalogue, driver, topics) = taken;
    let (mut journals, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..opened.superblock.journals {
        let settings = plan.settings(start.store, JournalId(number));
        let folder = journal_folder(settings.journal);
        let found = start.reconcile(&folder, &settings).await?;
        start.tenders.push(found.tender);
        let (table, clock) = (topics.iter().cloned(), clock(&time));
        let (mirror, recovered) = (found.mirror, found.recovered);
        let started = Journal::start(mirror, folder, settings, recovered, table, clock).await;
        let (journal, committer, preparer) = started?;
        journals.push(journal);
        tasks.push((committer, preparer));
    }
    let mut machine = Machine {
        catalogue,
        journals,
        topics,
        news: start.news,
        buried: Vec::new(),
    };
    // What was deleted while a journal was not told.
    let removed = machine.catalogue.removed();
    if !removed.is_empty() {
        machine.bury(removed)?;
    }
    let tasks = Tasks {
        catalogue: driver,
        journals: tasks,
        tenders: start.tenders,
        members: start.members,
    };
    Ok((machine, tasks))
}

impl Machine {
    /// Has every journal remember that these topics were deleted.
    pub fn bury(&mut self, topics: Vec<TopicId>) -> Result<(), AppendError> {
        let journals = self.journals.iter();
        let receipts = journals.map(|journal| journal.bury(&topics)).collect();
        let receipts: Result<Vec<_>, AppendError> = receipts;
        self.buried.push((topics, receipts?));
        Ok(())
    }

    /// Has the catalogue forget those that every journal remembers durably; gives how many.
    pub fn release_buried(&mut self) -> u64 {
        let mut released = 0;
        self.buried.retain(|(topics, receipts)| {
            let kept = receipts.iter().all(|one| one.given() == Some(true));
            if kept {
                self.catalogue.release(topics);
                released += topics.len() as u64;
            }
            !kept
        });
        released
    }

    fn all(&self) -> impl Iterator<Item = &Journal<Volumes>> {
        self.journals.iter().chain([self.catalogue.journal()])
    }

    /// Segments that were rewritten, in this life.
    pub fn rewritten(&self) -> u64 {
        let sizes = self.journals.iter().map(Journal::size);
        sizes.map(|size| size.tidied.repacked).sum()
    }

    /// How the volumes stand that are not in service, with the reasons.
    pub fn standing(&self) -> String {
        let mut text = String::new();
        for journal in self.all() {
            let standing = journal.mirror().standing();
            let out = standing.iter().filter(|one| one.state != State::InService);
            for one in out {
                text.extend(["; ", &one.name, ": ", &format!("{:?}", one.state)]);
            }
        }
        text
    }

    /// Whether every journal has this volume in service.
    pub fn is_on(&self, volume: usize) -> bool {
        let name = format!("/v{volume}");
        self.all().all(|journal| {
            let mut standing = journal.mirror().standing().into_iter();
            standing.any(|one| *one.name == name && one.state == State::InService)
        })
    }

    /// Whether every journal is on so many volumes.
    pub fn is_whole(&self, volumes: usize) -> bool {
        let mut all = self.all();
        let whole = all.all(|journal| journal.mirror().members().len() == volumes);
        whole && self.news.lacking.borrow().is_empty()
    }
}

impl Tasks {
    /// Sets everything to work that a running store has beside its clients.
    pub fn spawn(self, executor: &mut Executor, machine: &Machine) {
        let news = &machine.news;
        let (driver, hears) = (self.catalogue, Rc::clone(news));
        executor.spawn(async move {
            let ended = driver.run().await;
            hears.catalogue_failed.set(ended.is_err());
        });
        for tender in self.tenders {
            executor.spawn(tender.run());
        }
        for (number, (committer, mut preparer)) in self.journals.into_iter().enumerate() {
            executor.spawn(commit(number, committer, Rc::clone(news)));
            executor.spawn(async move { preparer.run().await });
        }
        for journal in &machine.journals {
            let mut tidier = journal.tidier(Rc::new(|bytes| Box::pin(pause(bytes >> 12))));
            executor.spawn(async move { tidier.run().await });
        }
        if 1 < self.members.len() {
            for journal in machine.all() {
                let (journal, members) = (journal.clone(), self.members.clone());
                executor.spawn(keep_volumes(journal, members, Rc::clone(news)));
            }
        }
    }
}

/// Brings back volumes that are out of service, and scrubs, until the store is stopped.
async fn keep_volumes(journal: Journal<Volumes>, members: Vec<Member<Sabotaged>>, news: Rc<News>) {
    let pace: Pace = Rc::new(|bytes| Box::pin(pause(bytes >> 16)));
    let count = |what: &Cell<u64>| what.set(what.get() + 1);
    while !news.stopping.get() {
        pause(150).await;
        for member in &members {
            if journal.mirror().members().contains(&member.volume) {
                continue;
            }
            let number = journal.settings().journal.0;
            news.lacking.borrow_mut().insert(number);
            match journal.rebuild(member, &pace).await {
                Ok(()) => {
                    news.lacking.borrow_mut().remove(&number);
                    count(&news.rebuilt);
                }
                Err(_) => count(&news.rebuild_failed),
            }
        }
        if !news.stopping.get() {
            journal.repair_suspects(&pace).await;
            journal.scrub(&pace).await;
            count(&news.scrubbed);
        }
    }
}

async fn commit(number: usize, mut committer: Committer<Volumes>, news: Rc<News>) {
    loop {
        let step = committer.step().await;
        let ended = matches!(step, Step::Stopped | Step::Failed(_));
        news.steps.borrow_mut().push((number, step));
        if ended {
            return;
        }
    }
}

//! Turns host names into addresses without a resolver of our own.
//!
//! Owns: one OS thread for `getaddrinfo`, started when there is something to ask and gone after ten idle
//! seconds, and the last good answers, used when the system has none or takes too long.
//! Leaves out: which address to connect to first (`race`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// After this long an old answer, if there is one, is better than waiting.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the thread waits for the next question.
const IDLE: Duration = Duration::from_secs(10);
/// Questions that may wait for the thread.
const MAX_QUEUE: usize = 16;
/// Names whose last good answer is kept; the oldest goes first.
const MAX_NAMES: usize = 64;
/// Addresses kept of one answer.
const MAX_ADDRS: usize = 8;
/// libc keeps its packet buffers on the stack (about 20 KB in musl).
const STACK: usize = 256 << 10;

/// How the system is asked; tests put their own in.
pub(crate) type Ask = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;
type Answer = io::Result<Vec<IpAddr>>;

struct Question {
    name: String,
    reply: oneshot::Sender<Answer>,
}

/// What the thread is to answer. The standard library's channel would bring the code of all of its kinds.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Question>,
    /// The thread has gone, or is to go.
    over: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question; `None` if there is none for a while, and then there will be none.
    fn next(&self) -> Option<Question> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.over;
        let waited = self.more.wait_timeout_while(self.state(), IDLE, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let next = state.waiting.pop_front();
        state.over |= next.is_none();
        next
    }
}

/// The resolver of one dialler.
pub struct Lookup {
    ask: Ask,
    thread: RefCell<Option<Arc<Queue>>>,
    /// Each with whether it was told that it is used for want of a better one.
    known: RefCell<VecDeque<(String, Vec<IpAddr>, bool)>>,
    /// Questions whose askers lost patience; their answers still refresh `known`.
    late: RefCell<VecDeque<(String, oneshot::Receiver<Answer>)>>,
}

impl Lookup {
    pub(crate) fn new(ask: Ask) -> Self {
        Self { ask, thread: RefCell::default(), known: RefCell::default(), late: RefCell::default() }
    }

    /// The system's resolver.
    pub fn system() -> Self {
        Self::new(Arc::new(|name| Ok((name, 0).to_socket_addrs()?.map(|addr| addr.ip()).collect())))
    }

    /// The addresses of `name`, never empty. Waits without a limit if nothing is known yet.
    pub async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.collect_late();
        let mut reply = self.question(name)?;
        let answer = match self.known(name) {
            None => (&mut reply).await,
            Some(_) => match tokio::time::timeout(PATIENCE, &mut reply).await {
                Ok(answer) => answer,
                Err(_) => {
                    let mut late = self.late.borrow_mut();
                    late.push_back((name.to_owned(), reply));
                    while late.len() > MAX_QUEUE {
                        late.pop_front();
                    }
                    Ok(Err(io::Error::from(io::ErrorKind::TimedOut)))
                }
            },
        };
        let answer = answer.unwrap_or_else(|_| Err(io::Error::other("lookup thread ended")));
        // Somebody else may have learned more meanwhile.
        match (answer, self.known(name)) {
            (Ok(addrs), _) if !addrs.is_empty() => {
                let addrs = first_few(addrs);
                self.learn(name, &addrs, false);
                Ok(addrs)
            }
            (_, Some((addrs, told))) => {
                if !told {
                    log::info!("using last known address of {name}");
                    self.learn(name, &addrs, true);
                }
                Ok(addrs)
            }
            (answer, None) => {
                let reason = answer.map_or_else(|e| e.to_string(), |_| "no address".to_owned());
                let kind = io::ErrorKind::NotFound;
                Err(io::Error::new(kind, format!("cannot resolve {name}: {reason}; check DNS")))
            }
        }
    }

    /// Hands the question to the thread, starting one if none runs.
    fn question(&self, name: &str) -> io::Result<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        let question = Question { name: name.to_owned(), reply };
        let mut thread = self.thread.borrow_mut();
        if let Some(queue) = thread.as_ref() {
            let mut state = queue.state();
            if !state.over {
                if state.waiting.len() >= MAX_QUEUE {
                    return Err(io::Error::other(format!(
                        "cannot resolve {name}: DNS does not answer; check DNS"
                    )));
                }
                state.waiting.push_back(question);
                queue.more.notify_one();
                return Ok(answer);
            }
        }
        let queue = Arc::new(Queue::default());
        queue.state().waiting.push_back(question);
        let (questions, ask) = (Arc::clone(&queue), Arc::clone(&self.ask));
        std::thread::Builder::new()
            .name("lookup".to_owned())
            .stack_size(STACK)
            .spawn(move || serve(&questions, &ask))
            .map_err(|e| io::Error::other(format!("cannot resolve {name}: no thread for it: {e}")))?;
        *thread = Some(queue);
        Ok(answer)
    }

    fn known(&self, name: &str) -> Option<(Vec<IpAddr>, bool)> {
        let known = self.known.borrow();
        known.iter().find(|(known, ..)| known == name).map(|(_, addrs, told)| (addrs.clone(), *told))
    }

    fn learn(&self, name: &str, addrs: &[IpAddr], told: bool) {
        let mut known = self.known.borrow_mut();
        known.retain(|(old, ..)| old != name);
        known.push_back((name.to_owned(), addrs.to_vec(), told));
        while known.len() > MAX_NAMES {
            known.pop_front();
        }
    }

    fn collect_late(&self) {
        let mut learned = Vec::new();
        self.late.borrow_mut().retain_mut(|(name, reply)| match reply.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Err(oneshot::error::TryRecvError::Closed) => false,
            Ok(answer) => {
                learned.extend(answer.ok().filter(|a| !a.is_empty()).map(|a| (std::mem::take(name), a)));
                false
            }
        });
        for (name, addrs) in learned {
            self.learn(&name, &first_few(addrs), false);
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(queue) = self.thread.get_mut() {
            queue.state().over = true;
            queue.more.notify_one();
        }
    }
}

/// The thread: answers until nobody has asked for a while.
fn serve(questions: &Queue, ask: &Ask) {
    while let Some(Question { name, reply }) = questions.next() {
        if !reply.is_closed() {
            let _ = reply.send(ask(&name));
        }
    }
}

fn first_few(mut addrs: Vec<IpAddr>) -> Vec<IpAddr> {
    addrs.truncate(MAX_ADDRS);
    addrs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn addr(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// A system that gives `answers` one by one and then fails.
    fn scripted(answers: Vec<Answer>) -> Lookup {
        let answers = Mutex::new(answers.into_iter());
        Lookup::new(Arc::new(move |_| {
            answers.lock().expect("lock").next().unwrap_or_else(|| Err(io::Error::other("no more answers")))
        }))
    }

    #[tokio::test]
    async fn remembers_the_last_good_answer() {
        let lookup = scripted(vec![Ok(vec![addr(1)]), Err(io::Error::other("down")), Ok(vec![])]);
        assert_eq!(lookup.resolve("a").await.expect("fresh"), [addr(1)]);
        assert_eq!(lookup.resolve("a").await.expect("known"), [addr(1)]);
        assert_eq!(lookup.resolve("a").await.expect("known"), [addr(1)]);
        let error = lookup.resolve("b").await.expect_err("never known").to_string();
        assert_eq!(error, "cannot resolve b: no more answers; check DNS");
    }

    /// Keeps what this thread logs.
    struct Lines;

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    impl log::Log for Lines {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
        }
        fn flush(&self) {}
    }

    #[tokio::test]
    async fn that_an_old_answer_is_used_is_told_once_for_each_name() {
        assert!(log::set_logger(&Lines).is_ok());
        log::set_max_level(log::LevelFilter::Info);
        let lookup = scripted(vec![Ok(vec![addr(1)]), Ok(vec![addr(2)])]);
        for name in ["a", "b"] {
            lookup.resolve(name).await.expect("fresh");
        }
        assert!(LINES.take().is_empty());
        for _ in 0..5 {
            assert_eq!(lookup.resolve("a").await.expect("known"), [addr(1)]);
            assert_eq!(lookup.resolve("b").await.expect("known"), [addr(2)]);
        }
        let lines = ["a", "b"].map(|name| format!("using last known address of {name}"));
        assert_eq!(LINES.take(), lines);
        // After a good answer it is news again.
        lookup.learn("a", &[addr(3)], false);
        assert_eq!(lookup.resolve("a").await.expect("known"), [addr(3)]);
        assert_eq!(LINES.take(), lines[..1]);
    }

    #[tokio::test]
    async fn a_slow_system_is_not_waited_for_and_still_heard() {
        let (gate, wait) = sync_channel::<()>(1);
        let (wait, calls) = (Mutex::new(wait), Mutex::new(0u8));
        let lookup = Lookup::new(Arc::new(move |_| {
            let mut calls = calls.lock().expect("lock");
            *calls += 1;
            if *calls == 2 {
                wait.lock().expect("lock").recv().expect("gate");
            }
            if *calls == 3 { Err(io::Error::other("down")) } else { Ok(vec![addr(*calls)]) }
        }));
        assert_eq!(lookup.resolve("a").await.expect("fresh"), [addr(1)]);
        tokio::time::pause();
        assert_eq!(lookup.resolve("a").await.expect("known"), [addr(1)]);
        tokio::time::resume();
        gate.send(()).expect("gate");
        while lookup.known("a") != Some((vec![addr(2)], false)) {
            lookup.collect_late();
            tokio::task::yield_now().await;
        }
        assert_eq!(lookup.resolve("a").await.expect("late answer"), [addr(2)]);
    }

    #[test]
    fn memory_is_bounded() {
        let lookup = scripted(vec![]);
        for i in 0..200 {
            lookup.learn(&format!("host{i}"), &[addr(1)], false);
        }
        assert_eq!(lookup.known.borrow().len(), MAX_NAMES);
        assert_eq!(lookup.known("host0"), None);
        assert!(lookup.known("host199").is_some());
    }
}

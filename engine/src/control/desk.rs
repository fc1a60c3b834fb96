//! Where the shards' answers to one question come together.
//!
//! Core:    the control core's; nothing here crosses threads.
//! Always:  a ticket's number is used once; an answer to a ticket that is gone is dropped.
//! Cancel:  dropping a ticket forgets its question.
//! Full:    `open` gives `None` when too many questions are open.

use crate::limit;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Questions whose answers are of one type.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Question<T>>>,
}

#[derive(Debug)]
struct Question<T> {
    missing: usize,
    answers: Vec<T>,
    waker: Option<Waker>,
}

/// One open question. Resolves when every answer is there.
#[derive(Debug)]
pub(crate) struct Ticket<T> {
    desk: Rc<Desk<T>>,
    number: u64,
}

impl<T> Desk<T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            next: Cell::new(1),
            open: RefCell::new(HashMap::new()),
        })
    }

    /// Opens a question that waits for this many answers.
    pub(crate) fn open(self: &Rc<Self>, answers: usize) -> Option<Ticket<T>> {
        let mut open = self.open.borrow_mut();
        if limit::TICKETS_MAX <= open.len() {
            return None;
        }
        let number = self.next.replace(self.next.get() + 1);
        let question = Question {
            missing: answers,
            answers: Vec::with_capacity(answers),
            waker: None,
        };
        open.insert(number, question);
        Some(Ticket {
            desk: Rc::clone(self),
            number,
        })
    }

    /// Takes one shard's answer.
    pub(crate) fn settle(&self, number: u64, answer: T) {
        self.count(number, Some(answer));
    }

    fn count(&self, number: u64, answer: Option<T>) {
        let mut open = self.open.borrow_mut();
        let question = open.get_mut(&number);
        let Some(question) = question.filter(|question| 0 < question.missing) else {
            return;
        };
        question.missing -= 1;
        question.answers.extend(answer);
        if question.missing == 0
            && let Some(waker) = question.waker.take()
        {
            waker.wake();
        }
    }
}

impl<T> Ticket<T> {
    /// What the question is known by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// One answer less is waited for.
    pub(crate) fn forgo(&self) {
        self.desk.count(self.number, None);
    }

    /// The answers that are there, in the order in which they came.
    pub(crate) fn take(self) -> Vec<T> {
        let mut open = self.desk.open.borrow_mut();
        let question = open.get_mut(&self.number);
        question.map_or_else(Vec::new, |question| mem::take(&mut question.answers))
    }
}

impl<T> Future for Ticket<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut open = self.desk.open.borrow_mut();
        match open.get_mut(&self.number) {
            Some(question) if 0 < question.missing => {
                question.waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.desk.open.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_ticket_resolves_with_its_last_answer() {
        let desk = Desk::new();
        let mut ticket = desk.open(2).unwrap();
        desk.settle(ticket.number(), 'a');
        assert_eq!((&mut ticket).now_or_never(), None);
        desk.settle(ticket.number(), 'b');
        assert_eq!((&mut ticket).now_or_never(), Some(()));
        assert_eq!(ticket.take(), ['a', 'b']);
        assert!(desk.open.borrow().is_empty());
    }

    #[test]
    fn answers_go_to_their_own_question() {
        let desk = Desk::new();
        let (one, other) = (desk.open(1).unwrap(), desk.open(1).unwrap());
        desk.settle(other.number(), 2);
        desk.settle(one.number(), 1);
        desk.settle(one.number(), 3);
        assert_eq!((one.take(), other.take()), (vec![1], vec![2]));
    }

    #[test]
    fn what_came_in_time_is_kept_when_the_rest_is_late() {
        let desk = Desk::new();
        let ticket = desk.open(2).unwrap();
        let number = ticket.number();
        desk.settle(number, 'a');
        assert_eq!(ticket.take(), ['a']);
        desk.settle(number, 'b');
        assert!(desk.open.borrow().is_empty());
    }

    #[test]
    fn an_answer_that_will_not_come_is_not_waited_for() {
        let desk = Desk::new();
        let mut ticket = desk.open(2).unwrap();
        ticket.forgo();
        desk.settle(ticket.number(), 'a');
        assert_eq!((&mut ticket).now_or_never(), Some(()));
        assert_eq!(ticket.take(), ['a']);
    }

    #[test]
    fn questions_are_bounded() {
        let desk: Rc<Desk<()>> = Desk::new();
        let open: Vec<_> = std::iter::from_fn(|| desk.open(1)).collect();
        assert_eq!(open.len(), limit::TICKETS_MAX);
        drop(open);
        assert!(desk.open(0).unwrap().now_or_never().is_some());
    }
}

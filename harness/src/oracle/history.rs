//! The record as judges read it: operations with their outcomes, faults, and whether the record is whole.

use std::collections::BTreeMap;

use super::verdict::{Code, Reason, some_of};
use crate::fault::Fault;
use crate::record::{Event, Micros, Operation, Outcome, Service, What};

/// One operation of a client, from its beginning to its end.
#[derive(Debug, Clone)]
pub(super) struct Op<'a> {
    pub operation: &'a Operation,
    pub begun: Micros,
    /// `None` if the record ends before the operation did.
    pub end: Option<(Micros, &'a Outcome)>,
    /// Position in the record of its last event.
    last: usize,
}

impl<'a> Op<'a> {
    /// The last moment at which the operation could still do something, as far as the record tells.
    pub fn last_moment(&self) -> Micros {
        self.end.map_or(self.begun, |(at, _)| at)
    }

    /// When it succeeded, if it did.
    pub fn succeeded(&self) -> Option<Micros> {
        match self.end {
            Some((at, Outcome::Ok { .. })) => Some(at),
            _ => None,
        }
    }

    /// True if its client was left without success.
    pub fn missed(&self) -> bool {
        matches!(self.end, Some((_, Outcome::Fail { .. } | Outcome::Unknown { .. })))
    }

    /// The node that it was addressed to.
    pub fn node(&self) -> Option<&'a str> {
        match self.operation {
            Operation::ImapList { node, .. } | Operation::SqlInsert { node, .. } => Some(node),
            Operation::SendMail { .. } | Operation::WebmailLogin { .. } | Operation::MailProgram { .. } => None,
        }
    }

    /// The node that served it, if it succeeded and that is known.
    pub fn served_by(&self) -> Option<&'a str> {
        match self.end {
            Some((_, Outcome::Ok { served_by })) => served_by.as_deref().or(self.node()),
            _ => None,
        }
    }
}

/// A fault that took hold.
#[derive(Debug, Clone)]
pub(super) struct Hit<'a> {
    pub fault: &'a Fault,
    /// When it was asked for.
    pub asked: Micros,
    /// When the evidence was there.
    pub held: Micros,
}

/// A record, read once for all judges.
#[derive(Debug, Default)]
pub(super) struct History<'a> {
    pub events: &'a [Event],
    /// Mark of the run; empty if the record has no beginning.
    pub run: &'a str,
    /// Number of planned steps.
    pub steps: usize,
    /// Operations in the order of their beginnings.
    pub ops: Vec<Op<'a>>,
    /// Faults in the order in which they took hold.
    pub hits: Vec<Hit<'a>>,
    /// When background traffic was told to stop.
    pub traffic_end: Option<Micros>,
    /// Doubts about the record itself.
    pub doubts: Vec<Reason>,
}

impl<'a> History<'a> {
    pub fn of(events: &'a [Event]) -> History<'a> {
        let mut history = History {
            events,
            ..History::default()
        };
        history.check_frame();
        history.gather();
        history
    }

    /// Operations of one service.
    pub fn of_service(&self, service: Service) -> impl Iterator<Item = &Op<'a>> {
        self.ops.iter().filter(move |op| op.operation.service() == service)
    }

    /// What was recorded after the last operation of these services: looks taken earlier do not show the end.
    pub fn after_last(&self, services: &[Service]) -> impl Iterator<Item = &'a What> {
        let ops = self.ops.iter().filter(|op| services.contains(&op.operation.service()));
        let from = ops.map(|op| op.last + 1).max().unwrap_or(0);
        self.events.iter().skip(from).map(|event| &event.what)
    }

    /// True for ids of this run.
    pub fn is_ours(&self, id: &str) -> bool {
        id.strip_prefix(self.run).is_some_and(|rest| rest.starts_with('-'))
    }

    /// A whole record begins once, ends once, and its clock never goes back.
    fn check_frame(&mut self) {
        let events = self.events;
        match events.first().map(|event| &event.what) {
            Some(What::Begin { run, steps, .. }) => {
                self.run = run;
                self.steps = *steps;
            }
            Some(_) => self.doubt(Code::RecordMalformed, "the record does not begin with `begin`"),
            None => self.doubt(Code::RecordUnfinished, "the record is empty"),
        }
        if !events.is_empty() && !matches!(events.last(), Some(Event { what: What::End, .. })) {
            self.doubt(Code::RecordUnfinished, "the record has no end: the run was cut short");
        }
        let count = |wanted: fn(&What) -> bool| events.iter().filter(|event| wanted(&event.what)).count();
        if count(|what| matches!(what, What::Begin { .. })) > 1 || count(|what| matches!(what, What::End)) > 1 {
            self.doubt(Code::RecordMalformed, "the record begins or ends more than once");
        }
        if self.run.is_empty() && !events.is_empty() {
            self.doubt(
                Code::RecordMalformed,
                "the run has no mark, so its mails and rows cannot be told from others",
            );
        }
        if !events.is_sorted_by_key(|event| event.at) {
            self.doubt(Code::RecordMalformed, "the clock of the record goes back");
        }
    }

    fn gather(&mut self) {
        let mut places: BTreeMap<u64, usize> = BTreeMap::new();
        let mut asked: Vec<(&Fault, Micros)> = Vec::new();
        let mut flaws = Vec::new();
        for (place, event) in self.events.iter().enumerate() {
            match &event.what {
                What::Invoke { id, operation } => {
                    if places.insert(*id, self.ops.len()).is_some() {
                        flaws.push(format!("operation {id} begins twice"));
                    }
                    self.ops.push(Op {
                        operation,
                        begun: event.at,
                        end: None,
                        last: place,
                    });
                }
                What::Done { id, outcome } => match places.get(id).and_then(|op| self.ops.get_mut(*op)) {
                    Some(op) if op.end.is_none() => (op.end, op.last) = (Some((event.at, outcome)), place),
                    Some(_) => flaws.push(format!("operation {id} ends twice")),
                    None => flaws.push(format!("operation {id} ends but never began")),
                },
                What::Inject { fault } => asked.push((fault, event.at)),
                What::Injected { fault, .. } => {
                    let request = asked.iter().position(|(waiting, _)| *waiting == fault);
                    let asked = request.map_or(event.at, |request| asked.remove(request).1);
                    self.hits.push(Hit {
                        fault,
                        asked,
                        held: event.at,
                    });
                }
                What::TrafficEnd => self.traffic_end = self.traffic_end.or(Some(event.at)),
                _ => {}
            }
        }
        if !flaws.is_empty() {
            self.doubt(Code::RecordMalformed, &some_of(&flaws));
        }
    }

    fn doubt(&mut self, code: Code, detail: &str) {
        self.doubts.push(Reason::new(code, detail));
    }
}

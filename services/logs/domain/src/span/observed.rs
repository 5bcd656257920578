//! Runs that exist only as spans: which run a span belongs to when it names none, what their agent is called, and when
//! they are over.

use std::time::Duration;

use runspine_types::Micros;

use super::Span;

/// How long a run without a root may be silent before it counts as over.
pub const ROOT_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// The age at which a run is ended. Just below the longest running time that a run can have, so that it ends by what its
/// spans say.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60 - 60);
/// How often a run that goes on is looked after: three times within its lease.
pub const LOOK_EVERY: Duration = Duration::from_secs(100);

/// The longest name of an agent, in characters.
const MAX_AGENT: usize = 128;
/// What an agent is called that nobody names.
const UNKNOWN: &str = "unknown";

/// What is known of an observed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// When it was started here.
    pub started_at: Micros,
    /// When its newest span was stored; its start when it has none.
    pub last_span_at: Micros,
    /// Whether its root came.
    pub rooted: bool,
}

/// Why a run counts as over. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// Its root came, and then nothing more.
    Root = 1,
    /// No root came, and nothing more.
    RootMissing = 2,
    /// It is as old as a run can be.
    TooOld = 3,
}

impl Quiet {
    /// The cause that was stored; `None`: the run goes on.
    #[must_use]
    pub fn of_number(number: i32) -> Option<Self> {
        [Self::Root, Self::RootMissing, Self::TooOld].into_iter().find(|quiet| *quiet as i32 == number)
    }
}

/// How long a run may be silent before it counts as over.
#[must_use]
pub fn patience(rooted: bool, quiet: Duration) -> Duration {
    if rooted { quiet } else { ROOT_PATIENCE }
}

impl Observed {
    /// When it will count as over, unless another span comes.
    #[must_use]
    pub fn over_at(&self, quiet: Duration) -> Micros {
        self.silent_at(quiet).min(self.started_at + MAX_AGE)
    }

    /// Why it is over at `now`; `None`: it goes on.
    #[must_use]
    pub fn over(&self, quiet: Duration, now: Micros) -> Option<Quiet> {
        if now < self.over_at(quiet) {
            return None;
        }
        Some(match self.rooted {
            _ if self.silent_at(quiet) > now => Quiet::TooOld,
            true => Quiet::Root,
            false => Quiet::RootMissing,
        })
    }

    fn silent_at(&self, quiet: Duration) -> Micros {
        self.last_span_at + patience(self.rooted, quiet)
    }

    /// When a run that goes on at `now` is looked after next.
    #[must_use]
    pub fn look_at(&self, quiet: Duration, now: Micros) -> Micros {
        self.over_at(quiet).min(now + LOOK_EVERY)
    }
}

/// What the spans of a run call its agent: the first name of the order that any of them has, in their own order.
#[must_use]
pub fn agent_of<'a>(spans: impl Iterator<Item = &'a Span> + Clone) -> String {
    let names = ["gen_ai.agent.id", "gen_ai.agent.name", "agent.name", "service.name"];
    let named = names.iter().find_map(|name| {
        let said =
            |span: &'a Span| span.attributes.text(name).or_else(|| span.resource.text(name)).map(plain);
        spans.clone().filter_map(said).find(|text| !text.is_empty())
    });
    named.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A name as ids have it.
fn plain(text: &str) -> String {
    let seen = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let text: String = seen.take(MAX_AGENT).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Value;

    const START: Micros = Micros(1_000_000_000_000);
    const QUIET: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Micros {
        START + Duration::from_secs(seconds)
    }

    fn run(last: u64, rooted: bool) -> Observed {
        Observed { started_at: START, last_span_at: at(last), rooted }
    }

    #[test]
    fn a_run_is_over_when_it_is_quiet_or_old() {
        let cases = [
            (run(100, true), 159, None),
            (run(100, true), 160, Some(Quiet::Root)),
            (run(100, false), 160, None),
            (run(100, false), 999, None),
            (run(100, false), 1_000, Some(Quiet::RootMissing)),
            (run(86_330, true), 86_339, None),
            (run(86_330, true), 86_340, Some(Quiet::TooOld)),
            (run(86_330, false), 86_340, Some(Quiet::TooOld)),
            (run(86_000, true), 86_340, Some(Quiet::Root)),
        ];
        for (run, now, expected) in cases {
            assert_eq!(run.over(QUIET, at(now)), expected, "{run:?} at {now}");
            assert_eq!(run.over_at(QUIET) <= at(now), expected.is_some());
        }
    }

    #[test]
    fn it_is_looked_after_within_its_lease_and_when_it_may_be_over() {
        assert_eq!(run(0, false).look_at(QUIET, START), at(100));
        assert_eq!(run(0, true).look_at(QUIET, START), at(60));
        assert_eq!(run(0, false).look_at(QUIET, at(850)), at(900));
    }

    #[test]
    fn the_agent_has_the_first_name_of_the_order() {
        let span = |own: &[(&str, &str)], resource: &[(&str, &str)]| {
            let of = |pairs: &[(&str, &str)]| {
                pairs.iter().map(|(n, v)| ((*n).to_owned(), Value::Text((*v).to_owned()))).collect()
            };
            Span { attributes: of(own), resource: std::sync::Arc::new(of(resource)), ..Span::default() }
        };
        let spans = [
            span(&[("agent.name", "a")], &[("service.name", "s")]),
            span(&[("gen_ai.agent.name", "g")], &[("service.name", "t")]),
        ];
        assert_eq!(agent_of(spans.iter()), "g");
        assert_eq!(agent_of(spans[..1].iter()), "a");
        assert_eq!(agent_of([span(&[], &[("service.name", " s\n")])].iter()), "s");
        assert_eq!(agent_of([span(&[("agent.name", "\t")], &[])].iter()), "unknown");
        assert_eq!(agent_of([span(&[("agent.name", &"x".repeat(200))], &[])].iter()).len(), 128);
    }
}

//! What of the queues of a file can be said without their engine.

use std::collections::BTreeMap;

use intertie_gateway::config::{Problem, nearest};
use intertie_messaging::queue::QueueSpec;
use intertie_messaging::{Durability, Name};

/// The queues by name, those first to which the dead letters of others go, so that each can be declared in turn.
///
/// # Errors
/// What is wrong with them.
pub(super) fn in_order(queues: &BTreeMap<String, QueueSpec>) -> Result<Vec<(Name, QueueSpec)>, Vec<Problem>> {
    let (mut problems, mut named) = (Vec::new(), BTreeMap::new());
    for (text, spec) in queues {
        let at = |key: &str| {
            let keys = ["queue", text].into_iter().chain(key.split('.').filter(|key| !key.is_empty()));
            keys.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut wrong = |key: &str, message: String| {
            let mut problem = Problem::error(["queue"], message);
            problem.at = at(key);
            problems.push(problem);
        };
        match text.parse::<Name>() {
            Ok(name) => {
                if let Err(invalid) = spec.check() {
                    wrong(invalid.field, invalid.to_string());
                }
                if !Durability::SYNCED.satisfies(spec.durability) {
                    let message = "the embedded engine keeps one copy, in one directory";
                    wrong("durability", format!("durability is {}; {message}", spec.durability));
                }
                if let Err((problem, help)) = dead_letters(&name, spec, queues) {
                    wrong("dead_letter", problem);
                    if let (Some(help), Some(last)) = (help, problems.last_mut()) {
                        last.help = Some(help);
                    }
                }
                named.insert(name, spec.clone());
            }
            Err(error) => wrong("", format!("`{text}` is no name of a queue: {error}")),
        }
    }
    if problems.is_empty() { Ok(sorted(named)) } else { Err(problems) }
}

/// Whether what dies in the queue `name` is kept, as far as the file tells.
fn dead_letters(
    name: &Name,
    spec: &QueueSpec,
    queues: &BTreeMap<String, QueueSpec>,
) -> Result<(), (String, Option<String>)> {
    let Some(target) = &spec.dead_letter else {
        let own = format!("{name}.dead").parse::<Name>();
        return own.map(|_| ()).map_err(|error| {
            (format!("`{name}.dead` is no name, so dead letters need another queue: {error}"), None)
        });
    };
    let Some(kept) = queues.get(target.as_str()) else {
        let help = nearest(target.as_str(), queues.keys().map(String::as_str));
        let help = help.map(|near| format!("did you mean `{near}`?"));
        return Err((format!("there is no queue `{target}`"), help.or(Some(format!("[queue.{target}]")))));
    };
    kept.takes_dead_of(spec)
        .map_err(|unfit| (format!("the dead letters of `{name}` can not go to `{target}`: {unfit}"), None))?;
    let mut through = vec![name.as_str()];
    let mut next = Some(target);
    while let Some(at) = next {
        if through.contains(&at.as_str()) {
            through.push(at.as_str());
            return Err((format!("dead letters would go in a circle: {}", through.join(" → ")), None));
        }
        through.push(at.as_str());
        next = queues.get(at.as_str()).and_then(|spec| spec.dead_letter.as_ref());
    }
    Ok(())
}

/// Targets before those that name them; there are no circles.
fn sorted(mut left: BTreeMap<Name, QueueSpec>) -> Vec<(Name, QueueSpec)> {
    let mut sorted = Vec::new();
    while let Some(first) = left.keys().next().cloned() {
        let mut chain = vec![first];
        while let Some(target) = chain.last().and_then(|name| left.get(name)?.dead_letter.clone())
            && left.contains_key(&target)
        {
            chain.push(target);
        }
        for name in chain.into_iter().rev() {
            let spec = left.remove(&name);
            sorted.extend(spec.map(|spec| (name, spec)));
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, QueueSpec> {
        let spec = |target: Option<&str>| QueueSpec {
            dead_letter: target.map(|target| target.parse().expect("a name")),
            ..QueueSpec::default()
        };
        pairs.iter().map(|(name, target)| ((*name).to_owned(), spec(*target))).collect()
    }

    #[test]
    fn queues_come_after_those_that_keep_their_dead_letters() {
        let file = queues(&[("a", Some("c")), ("b", Some("c")), ("c", Some("d")), ("d", None)]);
        let order = in_order(&file).expect("a good file");
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["d", "c", "a", "b"]);
    }

    #[test]
    fn a_circle_is_refused_for_each_queue_in_it_and_ends() {
        let file = queues(&[("a", Some("b")), ("b", Some("c")), ("c", Some("b"))]);
        let problems = in_order(&file).expect_err("a circle");
        let said: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[1].ends_with("b → c → b"), "{said:?}");
    }
}

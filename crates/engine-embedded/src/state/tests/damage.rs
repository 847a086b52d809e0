//! What can not be read keeps nothing else from going on, and is told by its name.

use super::bounds::{at, declare, kept, lease, leased, message, request, send};
use super::*;
use crate::damage::Damage;

fn three_messages() -> Kept {
    let mut kept = kept(|_| {});
    declare(&mut kept, "orders", &QueueSpec::default());
    for id in ["0", "1", "2"] {
        kept.commit(send("orders", message(id, 1)).into(), at(0)).expect("stored");
    }
    kept
}

fn positions(kept: &mut Kept, now: Timestamp) -> Vec<u64> {
    lease(kept, "orders", 10, now).into_iter().map(|leased| leased.token.position).collect()
}

fn told(kept: &Kept) -> Vec<(String, Option<u64>)> {
    kept.damages.first().into_iter().map(|Damage { queue, position, .. }| (queue, position)).collect()
}

#[test]
fn one_damaged_message_stops_no_other() {
    for damage in [
        "DELETE FROM message WHERE id & 0xff = 0",
        "UPDATE message SET stored = 'long ago' WHERE id & 0xff = 0",
        "UPDATE message SET content = 7 WHERE id & 0xff = 0",
        "UPDATE message SET member = x'ff', priority = 1000 WHERE id & 0xff = 0",
    ] {
        let mut kept = three_messages();
        kept.connection.execute(damage, []).expect("damaged");
        assert_eq!(positions(&mut kept, at(1)), [1, 2], "{damage}");
        assert_eq!(told(&kept), [("orders".to_owned(), Some(0))], "{damage}");
        let depth = kept.depth(&name("orders"), at(1)).expect("there");
        assert_eq!((depth.ready, depth.in_flight), (0, 2), "{damage}");
        assert_eq!(kept.browse(&name("orders"), at(1)).len(), 2, "{damage}");
        // It is told once, and what there is of it stays for whoever can mend it.
        kept.restart();
        assert_eq!(positions(&mut kept, at(1)), Vec::<u64>::new());
        assert_eq!(told(&kept).len(), 1);
    }
}

#[test]
fn one_damaged_message_of_a_group_lets_the_next_one_go() {
    let mut kept = kept(|_| {});
    declare(&mut kept, "orders", &QueueSpec { groups: true, ..QueueSpec::default() });
    for id in ["0", "1"] {
        let message = message(id, 1).with_partition_key("a").expect("a key");
        kept.commit(send("orders", message).into(), at(0)).expect("stored");
    }
    kept.connection.execute("UPDATE message SET due = 'soon' WHERE id & 0xff = 0", []).expect("damaged");
    assert_eq!(positions(&mut kept, at(1)), [1]);
}

#[test]
fn a_message_that_is_damaged_while_it_is_held_or_waits_for_its_moment_stops_nothing() {
    let mut kept = three_messages();
    let later = Message { due: Due::After(millis(500)), ..message("3", 1).into() };
    kept.commit(Operation::Send { queue: name("orders"), message: later }.into(), at(0)).expect("stored");
    let held = lease(&mut kept, "orders", 1, at(0)).remove(0);
    kept.connection.execute("DELETE FROM message WHERE id & 0xff IN (0, 3)", []).expect("damaged");
    let settlement = Settlement::DeadLetter { cause: Cause::Rejected, reason: String::new() };
    let settle = Operation::Settle { queue: name("orders"), lease: held.token.into(), settlement };
    kept.commit(settle.into(), at(1)).expect("settled");
    kept.pass(at(1000));
    assert_eq!(told(&kept), [("orders".to_owned(), Some(0)), ("orders".to_owned(), Some(3))]);
    assert_eq!(positions(&mut kept, at(1000)), [1, 2]);
    let depth = kept.depth(&name("orders"), at(1000)).expect("there");
    assert_eq!((depth.ready, depth.delayed, depth.in_flight), (0, 0, 2));
}

#[test]
fn a_lease_of_which_nobody_can_tell_whose_it_is_ends_by_itself() {
    let mut kept = three_messages();
    lease(&mut kept, "orders", 1, at(0));
    kept.connection.execute("UPDATE message_lease SET consumer = '?'", []).expect("damaged");
    kept.restart();
    kept.pass(at(40_000));
    assert_eq!(positions(&mut kept, at(40_000)), [0, 1, 2]);
}

#[test]
fn a_queue_that_can_not_be_read_is_refused_and_the_others_are_there() {
    let mut kept = three_messages();
    declare(&mut kept, "jobs", &QueueSpec::default());
    let later = Message { due: Due::After(millis(500)), ..message("3", 1).into() };
    kept.commit(Operation::Send { queue: name("orders"), message: later }.into(), at(0)).expect("stored");
    let whole: String = kept
        .connection
        .query_row("SELECT spec FROM queue WHERE name = 'orders'", [], |row| row.get(0))
        .expect("reads");
    let write = |kept: &Kept, spec: &str| {
        kept.connection.execute("UPDATE queue SET spec = ?1 WHERE name = 'orders'", [spec]).expect("written");
    };
    write(&kept, "{");
    kept.restart();
    assert_eq!(told(&kept), [("orders".to_owned(), None)]);
    kept.commit(send("jobs", message("1", 1)).into(), at(600)).expect("stored");
    assert_eq!(leased(kept.ask(request("jobs", "worker", 1), at(600))).0.len(), 1);
    let refused = |refusal: Result<Reply, Refusal>| match refusal {
        Err(Refusal::Engine(error) | Refusal::Declare(DeclareError::Engine(error))) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let spec = Box::<QueueSpec>::default();
    let own = Some(name("orders"));
    let to_orders = Box::new(QueueSpec { dead_letter: own, ..QueueSpec::default() });
    for command in [
        request("orders", "worker", 1),
        Command::Declare { name: name("orders"), spec },
        Command::Declare { name: name("jobs"), spec: to_orders },
    ] {
        let words = refused(kept.ask(command, at(600)));
        assert!(words.starts_with("the queue `orders` can not be read: "), "{words}");
    }
    // Its dead letters are still its own, and what waits for a moment waits.
    let in_use = kept.ask(Command::Delete { name: name("orders.dead") }, at(600));
    assert!(matches!(in_use, Err(Refusal::Engine(EngineError::InUse { .. }))), "{in_use:?}");
    write(&kept, &whole);
    kept.restart();
    kept.pass(at(700));
    assert_eq!(positions(&mut kept, at(700)), [0, 1, 2, 3]);
    // Who does not need it can remove it.
    write(&kept, "[]");
    kept.restart();
    kept.ask(Command::Delete { name: name("orders") }, at(800)).expect("deleted");
    kept.pass(at(801));
    declare(&mut kept, "orders", &QueueSpec::default());
    assert_eq!(positions(&mut kept, at(801)), Vec::<u64>::new());
}

#[test]
fn what_a_later_version_declared_is_left_to_it() {
    let kept = three_messages();
    let sql = "UPDATE queue SET spec = json_set(spec, '$.compressed', 'zstd') WHERE name = 'orders'";
    kept.connection.execute(sql, []).expect("written");
    let damages = Damages::new(1, Events::default());
    let error = Parts::load(&kept.connection, &kept.config, Waiting::new(1), damages.clone());
    let error = error.map(|_| ()).expect_err("refused");
    let words = error.to_string();
    assert!(
        words.contains("`orders` was declared by a later version: unknown field `compressed`"),
        "{words}"
    );
    assert_eq!(damages.first(), []);
}

//! What happens, and when.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use super::client::{Notes, Seen, crowd};
use super::process::Shop;
use super::report::{Act, Live, summary};
use super::scrape::{Numbers, health};

/// Ordinary customers: eight addresses with fifteen orders a second each.
const CUSTOMERS: u8 = 8;
const ORDERS_PER_CUSTOMER: f64 = 15.0;
/// The one customer who asks for more than anyone may.
const FLOOD_PER_SECOND: f64 = 800.0;

/// The scenes, in order, with their seconds.
const SCENES: [(Scene, f64); 7] = [
    (Scene::Calm, 4.0),
    (Scene::Killed, 8.0),
    (Scene::Slow, 8.0),
    (Scene::Unavailable, 8.0),
    (Scene::Reset, 8.0),
    (Scene::Flood, 6.0),
    (Scene::Recovered, 4.0),
];

/// The longest wait for the shop to be whole again after a fault.
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// Whether every endpoint is healthy and its breaker closed.
fn is_whole(health: &Value) -> bool {
    let services = health["services"].as_object().into_iter().flatten();
    let mut endpoints =
        services.flat_map(|(_, service)| service["endpoints"].as_array().into_iter().flatten());
    endpoints.all(|endpoint| {
        let state = &endpoint["circuit_breaker"]["state"];
        endpoint["healthy"] == true && (state == "closed" || state.is_null())
    })
}

/// What is wrong with the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Scene {
    /// Nothing yet.
    #[default]
    Calm,
    /// One orders service is killed with SIGKILL, and started again at the end.
    Killed,
    /// The other answers after three seconds.
    Slow,
    /// It answers 503 with Retry-After: 1.
    Unavailable,
    /// Inventory resets one connection in ten.
    Reset,
    /// One client asks 800 times a second.
    Flood,
    /// Nothing any more.
    Recovered,
}

/// Plays the scenes; at `pace` 1 a minute and the times that recovery takes.
pub(super) async fn run(pace: f64, terminal: bool) -> Result<()> {
    LocalSet::new().run_until(play(pace, terminal)).await
}

async fn play(pace: f64, terminal: bool) -> Result<()> {
    println!("opening the shop: two orders services, inventory, payments, and the gateway before them");
    let mut shop = Shop::open().await?;
    let (gateway, admin) = (shop.addresses.gateway, shop.addresses.admin);
    println!(
        "gateway on http://{gateway}, metrics on http://{admin}/metrics; 120 orders a second from 8 clients\n"
    );
    let customers: Notes = Rc::new(RefCell::new(Seen::default()));
    let flood: Notes = Rc::new(RefCell::new(Seen::default()));
    let mut crowds = JoinSet::new();
    for number in 0..CUSTOMERS {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1 + number));
        crowds.spawn_local(crowd(gateway, from, ORDERS_PER_CUSTOMER, Rc::clone(&customers)));
    }
    let mut live = Live::new(terminal, &shop.addresses);
    let mut acts = Vec::new();
    let started = Instant::now();
    for (scene, seconds) in SCENES {
        live.scene(scene);
        let before = Numbers::read(admin).await?;
        let mut act = Act { scene, started: started.elapsed(), before, ..Act::default() };
        let flooding = begin(scene, &mut shop, &flood).await?;
        let ends = Instant::now() + Duration::from_secs_f64(seconds * pace);
        while Instant::now() < ends {
            tokio::time::sleep_until((Instant::now() + Duration::from_secs(1)).min(ends)).await;
            let seen = std::mem::take(&mut *customers.borrow_mut());
            let flooded = std::mem::take(&mut *flood.borrow_mut());
            let health = health(admin).await?;
            live.second(started.elapsed(), &seen, &flooded, &health);
            act.customers.add(&seen);
            act.flood.add(&flooded);
        }
        drop(flooding);
        end(scene, &mut shop).await?;
        // The next fault waits until the shop is whole: health checks passed and breakers closed.
        let patience = Instant::now() + SETTLE_MAX;
        while !is_whole(&health(admin).await?) && Instant::now() < patience {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let seen = std::mem::take(&mut *customers.borrow_mut());
            live.second(started.elapsed(), &seen, &Seen::default(), &health(admin).await?);
            act.customers.add(&seen);
        }
        act.after = Numbers::read(admin).await?;
        act.ended = started.elapsed();
        acts.push(act);
    }
    drop(crowds);
    let health = health(admin).await?;
    print!("{}", summary(&acts, &health, &shop.addresses));
    Ok(())
}

/// Breaks what the scene is about. A flood lasts as long as what is returned.
async fn begin(scene: Scene, shop: &mut Shop, flood: &Notes) -> Result<JoinSet<()>> {
    let mut crowds = JoinSet::new();
    match scene {
        Scene::Calm | Scene::Recovered => {}
        Scene::Killed => shop.orders[0].kill().await?,
        Scene::Slow => shop.orders[1].tell("slow 3000").await?,
        Scene::Unavailable => shop.orders[1].tell("unavailable 1").await?,
        Scene::Reset => shop.inventory.tell("resetting 10").await?,
        Scene::Flood => {
            let from = IpAddr::V4(Ipv4Addr::new(127, 0, 6, 66));
            crowds.spawn_local(crowd(shop.addresses.gateway, from, FLOOD_PER_SECOND, Rc::clone(flood)));
        }
    }
    Ok(crowds)
}

/// Mends it.
async fn end(scene: Scene, shop: &mut Shop) -> Result<()> {
    match scene {
        Scene::Killed => shop.restart_orders().await,
        Scene::Slow | Scene::Unavailable => shop.orders[1].tell("well").await,
        Scene::Reset => shop.inventory.tell("well").await,
        Scene::Calm | Scene::Flood | Scene::Recovered => Ok(()),
    }
}

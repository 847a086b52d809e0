//! A call that fails twice and then succeeds, within a budget that all calls share.

use anyhow::{Result, bail, ensure};
use intertie_core::failure::Class;
use intertie_core::quantity::Ratio;
use intertie_resilience::deadline::Deadline;
use intertie_resilience::retry::Retry;
use intertie_resilience::{MonotonicClock, RetryBudget, RetryConfig};

pub(crate) async fn example() -> Result<()> {
    let config = RetryConfig::quick();
    config.validate()?;
    let budget = RetryBudget::new(config.budget_limits());
    let deadline = Deadline::new(MonotonicClock::now(), Some(std::time::Duration::from_secs(5)), None);
    let mut retry = Retry::new(&config);
    budget.deposit(MonotonicClock::now());
    loop {
        let status = if retry.attempts() < 3 { 503 } else { 200 };
        let class = Class::of_http_status(status);
        if class == Class::Success {
            println!("succeeded at attempt {}", retry.attempts());
            break;
        }
        let now = MonotonicClock::now();
        let Ok(wait) = retry.next(now, deadline, class, None, Ratio::from_percent(50)) else {
            bail!("out of attempts");
        };
        let Some(_repetition) = budget.withdraw(now) else {
            bail!("the budget is spent: whoever retries now multiplies the outage");
        };
        println!("{status}; again in {wait:?}");
        tokio::time::sleep(wait).await;
    }
    ensure!(retry.attempts() == 3);
    Ok(())
}

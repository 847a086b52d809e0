use std::io;

use tokio::runtime;

use crate::clock::simulated;

/// Runs `main` to its end in virtual time, on a thread of its own: tokio's clock stands still while anything
/// can go on and jumps to the next timer when nothing can. All chance that is drawn on the thread begins
/// with `seed`, so that the same `main` ends alike each time.
///
/// The calling thread waits: in asynchronous code call this from a thread that may block. A panic of `main`
/// is passed on.
///
/// # Errors
/// When the operating system gives it no thread.
pub fn in_virtual_time<T, F, Fut>(seed: u64, main: F) -> io::Result<T>
where
    F: FnOnce() -> Fut + Send,
    Fut: Future<Output = T>,
    T: Send,
{
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("simulation".to_owned());
        let running = thread.spawn_scoped(scope, || {
            let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
            Ok(runtime.block_on(async {
                simulated::begin();
                fastrand::seed(seed);
                main().await
            }))
        })?;
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

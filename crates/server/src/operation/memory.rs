/// Has the system give memory in small pages. The allocator asks for huge ones, 2 MiB each, which on every thread
/// hold little at first and are never given back: 10 MiB of a process that does nothing.
pub(crate) fn use_small_pages() {
    // Without it everything works as well.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}

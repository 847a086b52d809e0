//! The layer between SQLite and the VFS that it would use.
//!
//! SQLite hands out pointers to structs that it allocated for us and calls functions that it found in tables of
//! ours. What holds for all of them, by SQLite's contract: pointers are valid for the call, a file's functions are
//! called only between its `xOpen` and its `xClose`, and by one thread at a time.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{ptr, slice};

use rusqlite::ffi;

use crate::disk::{Shared, Verdict};

/// The disks that there are.
static DISKS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

/// The VFS that was the default before ours.
static REAL: OnceLock<Vfs> = OnceLock::new();

struct Vfs(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite's own VFS are static and made to be called by all threads; only their addresses are kept here.
unsafe impl Send for Vfs {}
// SAFETY: The same.
unsafe impl Sync for Vfs {}

/// A file on a simulated disk. SQLite allocates it, and behind it what the real VFS needs for the file.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    real: *mut ffi::sqlite3_file,
    place: *mut Place,
}

struct Place {
    disk: Arc<Shared>,
    name: String,
    path: PathBuf,
}

pub(crate) fn mount(disk: &Arc<Shared>) {
    REAL.get_or_init(register);
    disks().push(Arc::clone(disk));
}

pub(crate) fn unmount(disk: &Arc<Shared>) {
    disks().retain(|other| !Arc::ptr_eq(other, disk));
}

fn disks() -> MutexGuard<'static, Vec<Arc<Shared>>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn register() -> Vfs {
    // SAFETY: The default VFS is a static struct of SQLite's, read here before another can be registered, since
    // `REAL` runs this once. Ours is leaked, so it outlives all use.
    unsafe {
        ffi::sqlite3_initialize();
        let real = ffi::sqlite3_vfs_find(ptr::null());
        let mut vfs = ptr::read(real);
        vfs.zName = c"simulated-disk".as_ptr();
        vfs.pNext = ptr::null_mut();
        vfs.szOsFile += c_int::try_from(size_of::<File>()).expect("a small struct");
        vfs.xOpen = Some(open);
        vfs.xDelete = Some(delete);
        let registered = ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 1);
        assert_eq!(registered, ffi::SQLITE_OK, "SQLite takes another VFS");
        Vfs(real)
    }
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    REAL.get().expect("set before ours was registered").0
}

/// Where `path` is, if that is on a simulated disk.
fn place(path: *const c_char) -> Option<Place> {
    if path.is_null() {
        return None;
    }
    // SAFETY: SQLite's names end in a zero byte.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    disks().iter().find_map(|disk| {
        let name = disk.name(path)?;
        Some(Place { disk: Arc::clone(disk), name, path: path.to_owned() })
    })
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let real = real_vfs();
    // SAFETY: The real VFS always has this function.
    let real_open = unsafe { (*real).xOpen }.expect("each VFS opens files");
    let Some(place) = place(path) else {
        // SAFETY: SQLite allocated more than the real VFS asks for.
        return unsafe { real_open(real, path, file, flags, out) };
    };
    let file = file.cast::<File>();
    // SAFETY: `szOsFile` asked for room for `File` and, behind it, for the real VFS's own struct; both are
    // aligned to pointers.
    let opened = unsafe {
        let behind = file.add(1).cast::<ffi::sqlite3_file>();
        (*behind).pMethods = ptr::null();
        (*file).base.pMethods = ptr::null();
        (*file).real = behind;
        real_open(real, path, behind, flags, out)
    };
    if opened != ffi::SQLITE_OK {
        return opened;
    }
    let is_database = flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
    place.disk.opened(&place.name, &place.path, is_database).expect("a file that was just opened is there");
    // SAFETY: As above; with its methods set, SQLite closes the file, which frees the place.
    unsafe {
        (*file).place = Box::into_raw(Box::new(place));
        (*file).base.pMethods = &raw const METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync_directory: c_int) -> c_int {
    let real = real_vfs();
    let place = place(path);
    let sync_directory = if place.is_some() { 0 } else { sync_directory };
    // SAFETY: The real VFS always has this function, and gets what SQLite gave us.
    let deleted = unsafe { (*real).xDelete.expect("each VFS deletes files")(real, path, sync_directory) };
    if let (Some(place), ffi::SQLITE_OK) = (place, deleted) {
        place.disk.delete(&place.name);
    }
    deleted
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // The third version would map files into memory, past us.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Calls a method of the real file behind one of ours.
macro_rules! real {
    ($file:ident . $method:ident ( $($argument:expr),* )) => {{
        let real = (*$file.cast::<File>()).real;
        (*(*real).pMethods).$method.expect("the real VFS has all methods of version 2")(real $(, $argument)*)
    }};
}

/// # Safety
/// `file` is open.
unsafe fn place_of<'a>(file: *mut ffi::sqlite3_file) -> &'a Place {
    // SAFETY: Each open file of ours has one, until it is closed.
    unsafe { &*(*file.cast::<File>()).place }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: The place was boxed in `open`, and SQLite closes a file once.
    unsafe {
        drop(Box::from_raw((*file.cast::<File>()).place));
        real!(file.xClose())
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, bytes: *mut c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: See the module.
    unsafe {
        match place_of(file).disk.read() {
            Verdict::Done => real!(file.xRead(bytes, length, at)),
            Verdict::Failed | Verdict::Full => ffi::SQLITE_IOERR_READ,
        }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    // SAFETY: `bytes` has `length` bytes; for the rest see the module.
    unsafe {
        let place = place_of(file);
        let content = slice::from_raw_parts(bytes.cast::<u8>(), usize::try_from(length).unwrap_or(0));
        let offset = u64::try_from(at).expect("offsets are not negative");
        let error = match place.disk.write(&place.name, offset, content) {
            Verdict::Done => return real!(file.xWrite(bytes, length, at)),
            Verdict::Failed => ffi::SQLITE_IOERR_WRITE,
            Verdict::Full => ffi::SQLITE_FULL,
        };
        let half = real!(file.xWrite(bytes, length / 2, at));
        assert_eq!(half, ffi::SQLITE_OK, "the real disk takes what the simulated one took");
        error
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: See the module.
    unsafe {
        let place = place_of(file);
        match place.disk.truncate(&place.name, u64::try_from(size).expect("sizes are not negative")) {
            Verdict::Failed => ffi::SQLITE_IOERR_TRUNCATE,
            // To give room back needs none.
            Verdict::Done | Verdict::Full => real!(file.xTruncate(size)),
        }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: See the module.
    let place = unsafe { place_of(file) };
    match place.disk.sync(&place.name) {
        Verdict::Done => ffi::SQLITE_OK,
        Verdict::Failed | Verdict::Full => ffi::SQLITE_IOERR_FSYNC,
    }
}

/// Methods that change nothing on a disk.
macro_rules! passed_on {
    ($($name:ident => $method:ident ( $($argument:ident : $type:ty),* ) $(-> $result:ty)? ;)*) => {$(
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) $(-> $result)? {
            // SAFETY: The real file gets what SQLite gave us; for the rest see the module.
            unsafe { real!(file.$method($($argument),*)) }
        }
    )*};
}

passed_on! {
    file_size => xFileSize(size: *mut i64) -> c_int;
    lock => xLock(level: c_int) -> c_int;
    unlock => xUnlock(level: c_int) -> c_int;
    check_reserved_lock => xCheckReservedLock(out: *mut c_int) -> c_int;
    file_control => xFileControl(operation: c_int, argument: *mut c_void) -> c_int;
    sector_size => xSectorSize() -> c_int;
    device_characteristics => xDeviceCharacteristics() -> c_int;
    shm_map => xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int;
    shm_lock => xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier => xShmBarrier();
    shm_unmap => xShmUnmap(delete: c_int) -> c_int;
}

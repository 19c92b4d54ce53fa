//! Bytes of heap in use, and the most of them since a moment.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Live;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// The one way to see what is held; it hands everything on unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Live {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(live, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Live = Live;

pub(crate) fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// From now on, the most is counted anew.
pub(crate) fn begin() -> usize {
    let live = live();
    MOST.store(live, Ordering::Relaxed);
    live
}

pub(crate) fn most() -> usize {
    MOST.load(Ordering::Relaxed)
}

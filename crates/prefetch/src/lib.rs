//! The CPU's prefetch instruction behind a safe function.
//!
//! A batch of pipelined commands touches memory that is in no cache: index buckets, then records. A plain
//! read ahead of use does not help where a lock is taken for each key, because a locked instruction waits
//! for all loads before it; a prefetch is only a hint and is not waited for.
//!
//! What it does not know: what lies at the address. On other processors than x86-64 it does nothing.
//!
//! This crate exists because the workspace forbids `unsafe` and the instruction is reached only through
//! it; the standard library's own safe function is not stable yet.

/// Asks for the cache line that holds the first byte of `target`, for reading soon. No effect but on
/// speed.
#[inline(always)]
pub fn prefetch<T>(target: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let address = std::ptr::from_ref(target).cast::<i8>();
        // SAFETY: PREFETCHT0 is part of SSE, which every x86-64 has; it accesses nothing, faults on no
        // address, and this address is a live reference's.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = target;
}

/// Asks for the cache line that holds `slice[index]`; nothing if there is no such element.
#[inline(always)]
pub fn prefetch_slice<T>(slice: &[T], index: usize) {
    if let Some(target) = slice.get(index) {
        prefetch(target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A hint that changed or touched what it points at would not be one.
    #[test]
    fn hints_have_no_effect() {
        let slice = [1u64, 2, 3];
        prefetch(&slice[0]);
        prefetch_slice(&slice, 2);
        prefetch_slice(&slice, 3);
        prefetch_slice::<u8>(&[], 0);
        assert_eq!(slice, [1, 2, 3]);
    }
}

//! The C allocator's settings: keep freed memory for the next tensor.

/// Has glibc keep large blocks instead of returning each to the system. A step frees and allocates
/// gigabytes of tensors, and without this about a quarter of its time goes into mapping and
/// clearing the same pages anew.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets the allocator's options; it is called before any other thread
    // exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}

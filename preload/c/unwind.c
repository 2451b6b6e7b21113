/* The personality routine for the frames of this library: they have nothing to clean up, so the unwinder continues.
 *
 * A thread that is cancelled inside libc's connect(2) or getaddrinfo(3) unwinds through the hook that called it
 * (pthreads(7)). Rust's own personality routine aborts the process in that case, and a reference to it would link the
 * standard library's panic machinery into this library. The linker replaces it by this one (`--wrap`, see build.rs).
 */
#include <unwind.h>

_Unwind_Reason_Code __wrap_rust_eh_personality(void);

_Unwind_Reason_Code __wrap_rust_eh_personality(void)
{
    return _URC_CONTINUE_UNWIND;
}

/* What an unwinder is told when it comes to a frame of this library: there is nothing to clean up here, go on.
 *
 * A thread that is cancelled inside libc's connect(2) or getaddrinfo(3) unwinds through the hook that called it
 * (pthreads(7)). Rust's own personality routine ends the process in that case, and naming it would bring all of the
 * standard library's panic machinery into this one. The linker replaces it by this routine (`--wrap`, see build.rs).
 */
#include <unwind.h>

_Unwind_Reason_Code __wrap_rust_eh_personality(void);

_Unwind_Reason_Code __wrap_rust_eh_personality(void)
{
    return _URC_CONTINUE_UNWIND;
}

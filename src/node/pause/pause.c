/* The process that holds a pod's namespaces: waits for SIGTERM or SIGINT, and reaps what its namespace orphans. No C
 * library: the image is a few hundred bytes of code and a pause process costs one page of stack. */
#if defined(__x86_64__)
#define NR_WAIT4 61
#define NR_EXIT 231 /* exit_group */
#define NR_SIGPROCMASK 14
#define NR_SIGTIMEDWAIT 128
static long call4(long nr, long a, long b, long c, long d)
{
	long ret;
	register long r10 __asm__("r10") = d;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
#define NR_WAIT4 260
#define NR_EXIT 94
#define NR_SIGPROCMASK 135
#define NR_SIGTIMEDWAIT 137
static long call4(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#else
#error "pause knows no system calls of this machine"
#endif

#define SIGINT 2
#define SIGTERM 15
#define SIGCHLD 17
#define SIG_BLOCK 0
#define WNOHANG 1
#define BIT(sig) (1UL << ((sig)-1))

__attribute__((noreturn, used)) void _start(void)
{
	/* Blocked signals are kept for us even as process 1, whose default dispositions would drop them. */
	unsigned long mask = BIT(SIGINT) | BIT(SIGTERM) | BIT(SIGCHLD);

	call4(NR_SIGPROCMASK, SIG_BLOCK, (long)&mask, 0, sizeof(mask));
	for (;;) {
		long sig = call4(NR_SIGTIMEDWAIT, (long)&mask, 0, 0, sizeof(mask));
		if (sig == SIGINT || sig == SIGTERM)
			call4(NR_EXIT, 0, 0, 0, 0);
		while (call4(NR_WAIT4, -1, 0, WNOHANG, 0) > 0)
			;
	}
}
